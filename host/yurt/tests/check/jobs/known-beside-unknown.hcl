job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script      = "${NOMAD_TASK_DIR}/server.py"
        script_args = ["--port", "${NOMAD_PORT_http}", 1, []]
        module      = "a/b"
        work_dir    = "www"
      }
    }
  }
}
