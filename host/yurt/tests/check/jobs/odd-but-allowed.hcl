job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script = "8000"
        args   = ["-m", "http.server"]
      }
    }
  }
}
