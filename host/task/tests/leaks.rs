//! Descriptors and threads of this process: alone in its process, so that they can be counted.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(dead_code, reason = "the rig is for the other tests, too")]

#[path = "task/rig.rs"]
mod rig;

use std::fs;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use yurt_task::ExecOptions;

use crate::rig::{Rig, end, eventually};

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

fn children() -> String {
    let all = fs::read_dir("/proc/self/task").unwrap().flatten();
    all.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default()).collect()
}

#[tokio::test]
async fn starts_failures_commands_and_ends_leave_no_descriptor_and_no_child() {
    let rig = Rig::new();
    let tasks = rig.tasks();
    let mut after = Vec::new();
    for round in 0..8 {
        for argv in [&["/no/such/program"][..], &["no-such-program"], &[]] {
            tasks.start(rig.launch(argv)).await.unwrap_err();
        }
        let mut launch = rig.launch(&["true"]);
        launch.stdout = rig.dir.path().join("none");
        tasks.start(launch).await.unwrap_err();

        let task = tasks.start(rig.launch(&["sleep", "1000"])).await.unwrap();
        for _ in 0..3 {
            let argv = ["sh", "-c", "echo hello; sleep 1000"].map(str::to_owned).to_vec();
            let mut command = task
                .exec(ExecOptions { argv, tty: (round % 2 == 0).then_some((1, 1)), ..ExecOptions::default() })
                .await
                .unwrap();
            command.stdout.take().unwrap().read_u8().await.unwrap();
        }
        let found = tasks.recover(&task.handle()).await.unwrap();
        task.kill(Duration::from_secs(10)).await.unwrap();
        found.wait().await;
        end(&task).await;
        drop((task, found));
        rig.nothing_is_left();
        assert!(eventually(|| children().is_empty()).await, "{}", children());
        after.push(count("fd"));
    }
    // Watchers end a moment after what they watch.
    assert!(eventually(|| count("fd") <= after[0]).await, "{after:?}, now {}", count("fd"));
    assert!(count("task") < 20, "{} threads", count("task"));
}
