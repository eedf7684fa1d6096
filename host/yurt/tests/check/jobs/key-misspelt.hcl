job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        scirpt = "server.py"
        args   = ["-u"]
      }
    }
  }
}
