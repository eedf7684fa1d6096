job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        interpreter = "python3.11"
      }
    }
  }
}
