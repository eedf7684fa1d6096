# The agent file of the demo "Extending Nomad with Plugins" as today's Nomad reads it:
#
#   nomad agent -dev -plugin-dir=/opt/nomad/plugins -config=agent.hcl
#
# where example-device and python-driver in /opt/nomad/plugins are links to the yurt binary (`ln -s`, or
# `yurt install --plugin-dir /opt/nomad/plugins --name example-device`).
log_level = "INFO"

plugin "example-device" {
  config {
    # A memory stick, 12f7:1e23, in decimal.
    target_vendor_id  = "4855"
    target_product_id = "7715"
  }
}

# The task driver had no stanza in the demo; Nomad since 1.10 does not touch a plugin without one.
plugin "python-driver" {}
