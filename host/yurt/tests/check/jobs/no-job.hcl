group "web" {
  task "server" {
    driver = "python"
  }
}
