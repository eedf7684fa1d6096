variable "script" {
  default = "server.py"
}

job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script = var.scirpt
      }
    }
  }
}
