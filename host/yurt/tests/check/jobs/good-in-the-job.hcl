job "demo" {
  task "server" {
    driver = "python"
    config { code = "print('hello')" }

    template {
      destination = "local/app.yml"
      data        = <<EOF
a: b
x == y: [ - - [ - - [ - - [ - - [ - - [ - - [
{{ range service "db" }}{{ .Address }}{{ end }}
EOF
    }
  }
}
