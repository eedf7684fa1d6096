job "größe" {
	group "straße" {
		task "läufer" {
			driver = "python"
			config {
				script = "ä.py"
				work_dir = "übungen"
			}
		}
	}
}
