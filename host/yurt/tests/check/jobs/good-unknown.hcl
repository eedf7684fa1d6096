variable "debug" {
  type = bool
}

variable "prod" {
  type    = bool
  default = true
}

locals {
  dir = "${NOMAD_TASK_DIR}/www"
}

job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script      = "${NOMAD_TASK_DIR}/server.py"
        script_args = ["--port", "${NOMAD_PORT_http}", "--rack=${meta.rack}", env["HOME"]]
        interpreter = "python${attr.driver.python.version}"
        work_dir    = local.dir
        unbuffered  = var.debug
        isolated    = var.prod ? true : false
        args        = split(" ", "-W ignore")
      }
    }
  }
}
