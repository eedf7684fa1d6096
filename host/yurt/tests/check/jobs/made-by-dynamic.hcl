job "demo" {
  dynamic "group" {
    for_each = ["a", "b"]
    labels   = [group.value]

    content {
      dynamic "task" {
        for_each = ["x", "y"]
        labels   = [task.value]

        content {
          driver = "python"

          config {
            script   = "${task.value}.py"
            work_dir = "srv"
          }
        }
      }
    }
  }
}
