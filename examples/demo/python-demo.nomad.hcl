# Serves a page, by a program that the job brings along:
#
#   nomad job run python-demo.nomad.hcl
#
# The demo's own server.py was written for Python 2, and its network block stood in the task.
job "python-demo" {
  datacenters = ["dc1"]
  type        = "service"

  group "server" {
    network {
      port "http" {}
    }

    task "python-server" {
      driver = "python"

      config {
        script = "server.py"
      }

      template {
        destination = "server.py"
        data        = <<EOF
import http.server
import os

address = os.environ["NOMAD_IP_http"], int(os.environ["NOMAD_PORT_http"])
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "www"))
server = http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler)
print("serving at http://%s:%d/" % address)
server.serve_forever()
EOF
      }

      template {
        destination = "www/index.html"
        data        = <<EOF
<!DOCTYPE html>
<title>HashiTalks 2020</title>
<h1>Extending Nomad with Plugins</h1>
<p><a href="https://github.com/cgbaker/hashitalk-2020-nomad-plugins">The demo</a></p>
EOF
      }

      resources {
        cpu    = 512
        memory = 128
      }
    }
  }
}
