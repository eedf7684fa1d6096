job "demo" {
  [[ if .prod ]]
  datacenters = ["dc1"]
  [[ end ]]
}
