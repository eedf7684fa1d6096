job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script = "server.py
        args   = ["-u"]
      }
    }
  }
}
