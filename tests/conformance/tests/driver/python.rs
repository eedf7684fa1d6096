//! StartTask: what only a driver for Python knows.

use std::fs;
use std::time::{Duration, SystemTime};

use yurt_conformance::driver::{Program, Request, of_python, quoted};
use yurt_conformance::patience;
use yurt_nomad::driver::ExitResult;

#[tokio::test]
async fn s38_a_venv_stays_a_venv() {
    of_python("S38", "it knows no interpreters", async |node| {
        let site = node.site(false);
        site.put("local/venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
        fs::create_dir(site.task_dir().join("local/venv/bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", site.task_dir().join("local/venv/bin/python")).unwrap();
        let venv = site.local_path("venv");
        let code = "import os, sys; print(sys.prefix, os.environ.get('VIRTUAL_ENV'), sys.base_prefix, sep='\\n')";
        let program = Program::config(format!("venv = {}\ncode = {}", quoted(&venv), quoted(code)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        task.stdout().says(&format!("{venv}\n{venv}\n/usr\n")).await;
    })
    .await;
}

#[tokio::test]
async fn s39_a_line_is_in_the_log_as_soon_as_it_is_printed() {
    of_python("S39", "it knows nothing of Python's buffers", async |node| {
        let code = "import time\nprint(time.time())\ntime.sleep(600)";
        let task = node.run(Program::python(code)).await;
        task.stdout().says("\n").await;
        let age = task.stdout().first_at().unwrap().elapsed();
        let arrived = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - age;
        let printed = Duration::from_secs_f64(task.stdout().text().trim().parse().unwrap());
        let took = arrived.saturating_sub(printed);
        assert!(took < patience(Duration::from_millis(200)), "{took:?}");
    })
    .await;
}
