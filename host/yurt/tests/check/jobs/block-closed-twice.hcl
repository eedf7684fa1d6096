job "demo" {
  group "web" {
  }
}
}
