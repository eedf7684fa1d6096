job "demo" {
  group "web" {
    task "proxy" {
      driver = "docker"

      config {
        image = "nginx"
      }
    }

    task "later" {
      driver = var.driver

      config {
        anything = "goes"
      }
    }
  }
}

variable "driver" {
  type = string
}
