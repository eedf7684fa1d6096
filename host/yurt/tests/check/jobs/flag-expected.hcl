job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script     = "server.py"
        unbuffered = "maybe"
        work_dir   = "srv"
      }
    }
  }
}
