variables {
  package = "app"
}

locals {
  arguments = ["--name", "${var.package}", 8000]
}

job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        module      = "${var.package}.main"
        script_args = local.arguments
        work_dir    = "/srv/${var.package}"
        unbuffered  = "false"
      }
    }
  }
}
