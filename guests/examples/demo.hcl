# What an operator writes for this plugin; yurt demo --guest reads it.
vendor_name = "lab"
rule {
  vendor = "0x12f7"
  group  = "stick"
}
rule {
  vendor  = "0x10c4"
  product = "0xea60"
  group   = "console"
}
rule {
  vendor = "0x1050"
  group  = "key"
}
