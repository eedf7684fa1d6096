job "demo" {
  group "web" {
    task "server" {
      user   = "nobody"

      config {
        script = "server.py"
      }
    }
  }
}
