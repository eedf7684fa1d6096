job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script   = "server.py"
        work_dir = "srv/www"
      }
    }
  }
}
