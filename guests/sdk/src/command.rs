//! Where a job's `command` is, in the order of Nomad's exec drivers: in the task's `local`, in its directory, in the path. An absolute one is
//! taken as it is said, since what a volume holds can only be seen once it is mounted. And where it works.

use crate::Said;
use crate::driver::{Findings, PathKind, PlanError, Probe, TaskView};

/// What [`found`] goes by.
pub fn looks(command: &str, view: &TaskView) -> Vec<Probe> {
    places(command, view).iter().map(|(id, path)| Probe::stat(id, path)).collect()
}

/// The program to start; none: it takes a look first.
pub fn found(command: &str, view: &TaskView, findings: Findings<'_>) -> Result<Option<String>, PlanError> {
    if command.starts_with('/') {
        return Ok(Some(command.into()));
    }
    let wrong = |why: &str| Err(PlanError::new(format!("command = {command:?}: {why}")).at("command"));
    for (id, path) in places(command, view) {
        match findings.status(id) {
            None => return Ok(None),
            Some(Err(trouble)) => return wrong(trouble.why()),
            Some(Ok(status)) if status.kind != PathKind::File => {}
            Some(Ok(status)) if status.executable => return Ok(Some(path)),
            Some(Ok(_)) => return wrong(&format!("{path} is not executable: its template has to say perms = \"755\"")),
        }
    }
    if command.contains('/') {
        let root = if view.has_a_root() { "/" } else { view.own_dir() };
        return wrong(&format!("file {command} not found under path {root}: of a volume say the absolute path"));
    }
    // The launch looks a name up in the task's PATH.
    Ok(Some(command.into()))
}

/// What is wrong with a job's `work_dir`, in the words of Nomad's exec and raw_exec. An empty one says nothing.
pub fn check_work_dir(directory: &str, said: &mut Said) {
    if !directory.is_empty() && !directory.starts_with('/') {
        let message = format!("work_dir must be absolute but got relative path {directory:?}");
        said.error("work_dir", message, Some("for example \"${NOMAD_TASK_DIR}\""));
    }
}

fn places(command: &str, view: &TaskView) -> [(&'static str, String); 2] {
    let within = |directory: &str| format!("{directory}/{command}");
    [("inside:local", within(&view.local_dir)), ("inside:own", within(view.own_dir()))]
}
