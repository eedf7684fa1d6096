//! What an agent does around a task driver, for tests and benches: task directories, log pipes, control groups, the task's environment;
//! and after it a look for what is left.
//!
//! The same rows are for any driver. [`Subject`] says which one is under test: the python driver of this workspace in both of its
//! modes, with `YURT_DRIVER_FLAVOUR=yurt_exec` its exec driver, with `yurt_raw_exec` its raw_exec driver, or with `YURT_DRIVER` (a file) and `YURT_DRIVER_FLAVOUR` (`python`, `raw_exec`,
//! `exec`) another binary, such as Nomad's own drivers, which `tests/agent/build.sh drivers` builds.

mod cgroup;
mod chroot;
mod logs;
mod node;
mod processes;
mod row;
mod script;
mod site;
mod subject;
mod task;
mod traces;

pub use cgroup::{Cgroups, Hierarchy};
pub use logs::Log;
pub use node::{Node, refused};
pub use processes::{children, exists, namespace, status_field};
pub(crate) use row::{EXCUSES, IN_EVERY_MODE, excuse};
pub use row::{each, in_a_root, in_the_hosts_files, of_python, of_yurt, of_yurt_exec, of_yurt_raw_exec, with};
pub use script::put_program;
pub use site::{Request, Site};
pub use subject::{Flavour, Isolation, Program, Subject, quoted};
pub use task::Task;
pub use traces::{processes_of, traces_of};

use std::time::{Duration, Instant};

use crate::patience;

/// How long anything may take before a test fails: far more than it should, on machines that do other things, too. To be
/// multiplied by [`patience`].
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something to hold, and fails with its description if it does not in [`PATIENCE`].
pub async fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(within(PATIENCE, holds).await, "not in {:?}: {what}", patience(PATIENCE));
}

/// Whether something comes to hold in this time, or as much longer as the machine is slower.
pub async fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let time = patience(time);
    let began = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if began.elapsed() > time {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The answer, or a failed test after [`PATIENCE`].
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let time = patience(PATIENCE);
    tokio::time::timeout(time, future).await.unwrap_or_else(|_| panic!("no answer in {time:?}"))
}
