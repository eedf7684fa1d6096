job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script = "server.py"
        module = <<EOT
        app
        main
        EOT
      }
    }
  }
}
