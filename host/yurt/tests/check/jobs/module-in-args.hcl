job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        module = "app"
        args   = ["-m", "http.server"]
      }
    }
  }
}
