job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        module   = "app/main.py"
        work_dir = "srv"
      }

      resources {
        device "usb" {}
      }
    }

    task "proxy" {
      driver = "docker"

      config {
        image = "nginx"
        ports = ["http"]
      }
    }
  }

  group "jobs" {
    task "nightly" {
      driver = "python"

      config {
        scripts = "nightly.py"
        args    = "-u"
      }
    }

    task "shell" {
      driver = "exec"

      config {
        command = "/bin/true"
      }
    }
  }
}
