job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script      = "server.py"
        interpreter = "python3"
        venv        = "local/venv"
      }
    }
  }
}
