# The exec driver beside Nomad's own; yurt-exec in /opt/nomad/plugins is a link to the yurt binary:
#
#   yurt install --plugin-dir /opt/nomad/plugins --name yurt-exec
#   nomad agent -dev -plugin-dir=/opt/nomad/plugins -config=agent.hcl
plugin "yurt-exec" {
  config {
    allow_caps = ["chown", "kill", "net_bind_service", "setgid", "setuid"]
  }
}

client {
  options = {
    # Root may not run tasks, as with Nomad's own.
    "user.checked_drivers" = "exec,qemu,java,yurt-exec"
  }
}
