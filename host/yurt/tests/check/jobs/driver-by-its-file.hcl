job "demo" {
  group "web" {
    task "server" {
      driver = "python-driver"

      config {
        script = "server.py"
      }
    }
  }
}
