job "demo" {
  group {
    task {
      driver = "python"

      config {
        script = "server.py"
      }
    }
  }
}
