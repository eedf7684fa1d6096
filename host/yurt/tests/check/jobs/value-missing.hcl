job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script =
        args   = ["-u"]
      }
    }
  }
}
