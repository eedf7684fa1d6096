job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        module = "app/main.py"
      }
    }
  }
}
