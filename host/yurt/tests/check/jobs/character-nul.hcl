job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script      = "server.py"
        script_args = ["ok", "a\u0000b"]
      }
    }
  }
}
