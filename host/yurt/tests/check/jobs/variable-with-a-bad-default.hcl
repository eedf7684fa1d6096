variable "script" {
  default = "-server.py"
}

variable "dir" {
  default = "srv"
}

job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script   = var.script
        work_dir = "${var.dir}/www"
      }
    }
  }
}
