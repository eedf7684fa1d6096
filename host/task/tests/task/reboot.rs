//! A reboot, a real one: `just vm reboot` runs the first half, resets the machine under running tasks, and runs the second half in the next
//! boot, with the same disk. The runtime directory is on it, which is worse than what a node has, where the boot clears it.

use std::fs;
use std::path::PathBuf;

use yurt_task::{Handle, RecoverError, Tasks};

use crate::recycled::stranger;
use crate::rig::{Rig, end, entries_in, is_alive, keeper_of};

const COUNT: usize = 5;

/// A directory that outlives the machine.
fn lasting() -> PathBuf {
    std::env::var_os("YURT_LASTING").map(PathBuf::from).expect("YURT_LASTING says what outlives the machine")
}

fn room() -> Tasks {
    Tasks::open(lasting().join("run")).unwrap()
}

#[tokio::test]
#[ignore = "in the VM, twice: just vm reboot"]
async fn before() {
    let tasks = room();
    let mut told = String::new();
    for number in 0..COUNT {
        let rig = Rig::new();
        let mut launch = if number == 0 { rig.shell("exit 3") } else { rig.launch(&["sleep", "100000"]) };
        launch.id = format!("task-{number}");
        let task = tasks.start(launch).await.unwrap();
        if number == 0 {
            assert_eq!(task.wait().await.code, 3);
        }
        let bytes: String = task.handle().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        told.push_str(&format!("{bytes} {}\n", task.pid()));
        // The machine ends under it.
        std::mem::forget(rig);
    }
    fs::write(lasting().join("handles"), told).unwrap();
    rustix::fs::sync();
    fs::write("/proc/sysrq-trigger", "b").unwrap();
    panic!("the machine goes on");
}

#[tokio::test]
#[ignore = "in the VM, twice: just vm reboot"]
async fn after() {
    let told = fs::read_to_string(lasting().join("handles")).expect("the first half wrote it");
    let entries = || entries_in(&lasting().join("run")).len();
    assert_eq!((told.lines().count(), entries()), (COUNT, COUNT), "both outlived the machine");
    let tasks = room();
    for line in told.lines() {
        let (handle, pid) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..handle.len() / 2).map(|at| u8::from_str_radix(&handle[2 * at..2 * at + 2], 16).unwrap()).collect();
        let handle = Handle::from_bytes(&bytes).unwrap();
        let pid: u32 = pid.parse().unwrap();
        // Whoever has the number now is nobody's task.
        let stranger = (!is_alive(pid)).then(|| stranger(pid));
        assert!(matches!(tasks.recover(&handle).await, Err(RecoverError::OtherBoot)));
        assert!(is_alive(pid), "process {pid} of this boot was killed");
        drop(stranger);
    }
    assert!(tasks.sweep(|_| false).await.left.is_empty());
    // The agent starts them anew, under ids of its own or the same.
    for number in 0..COUNT {
        let rig = Rig::new();
        let mut launch = rig.launch(&["sleep", "1000"]);
        launch.id = format!("task-{number}");
        let task = rig.tasks().start(launch.clone()).await.unwrap();
        assert!(is_alive(keeper_of(&rig)));
        task.kill(crate::rig::patience(std::time::Duration::from_secs(10))).await.unwrap();
        end(&task).await;
        let task = tasks.start(launch).await.unwrap();
        task.kill(crate::rig::patience(std::time::Duration::from_secs(10))).await.unwrap();
        end(&task).await;
        rig.nothing_is_left();
    }
    assert_eq!(entries(), 0, "nothing of the last boot is left");
}
