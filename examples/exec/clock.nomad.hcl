# Tells the time every few seconds. A job of Nomad's exec with another driver:
#
#   nomad job run clock.nomad.hcl
job "clock" {
  datacenters = ["dc1"]
  type        = "service"

  group "clock" {
    task "clock" {
      driver = "yurt-exec"

      config {
        command  = "clock.sh"
        args     = ["5"]
        cap_drop = ["all"]
        work_dir = "/local"
      }

      template {
        destination = "local/clock.sh"
        perms       = "755"
        data        = <<EOT
#!/bin/sh
trap 'exit 0' INT TERM
while :; do
  date
  sleep "$1" & wait $!
done
EOT
      }

      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
