# The agent file of the demo "Extending Nomad with Plugins" as today's Nomad reads it:
#
#   nomad agent -dev -plugin-dir=/opt/nomad/plugins -config=agent.hcl
#
# where /opt/nomad/plugins/example-device is a link to the yurt binary
# (`yurt install --plugin-dir /opt/nomad/plugins --name example-device`, or `ln -s`).
log_level = "INFO"

plugin "example-device" {
  config {
    # A memory stick, 12f7:1e23, in decimal.
    target_vendor_id  = "4855"
    target_product_id = "7715"
  }
}
