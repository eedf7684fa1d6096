job "demo" {
  group "web" {
    task "server" {
      driver = "python"

      config {
        script_args = ["--option-0", "--option-1", "--option-2", "--option-3", "--option-4", "--option-5", "--option-6", "--option-7", "--option-8", "--option-9", "--option-10", "--option-11", "--option-12", "--option-13", "--option-14", "--option-15", "--option-16", "--option-17", "--option-18", "--option-19", "--option-20", "--option-21", "--option-22", "--option-23", "--option-24", "--option-25", "--option-26", "--option-27", "--option-28", "--option-29", "--option-30", "--option-31", "--option-32", "--option-33", "--option-34", "--option-35", "--option-36", "--option-37", "--option-38", "--option-39", [], "--last"]
      }
    }
  }
}
