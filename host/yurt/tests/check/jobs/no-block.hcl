job "demo" {
  group "web" {
    task "server" {
      driver = "python"
    }
  }
}
