job "demo" {
  # café
}
