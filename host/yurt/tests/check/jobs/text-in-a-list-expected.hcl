job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script = "server.py"
        script_args = [
          "--port",
          ["8000", "8001"],
        ]
      }
    }
  }
}
