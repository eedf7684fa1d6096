//! A task driver and a made-up node on which nothing is found.

use crate::driver::{Finding, Next, Port, TaskView, Trouble};
use crate::error::GuestError;
use crate::logic::DriverLogic;

/// What a task driver's guest is tried with.
#[derive(Debug, Clone, Copy)]
pub struct DriverTrial<'a> {
    /// The configuration: JSON text, every key of the guest's schema present, as it is where the operator wrote nothing.
    pub config: &'a str,
    /// A job's `config` block: JSON text, every key of the task schema present, as it is where the job's author wrote nothing. None:
    /// what judges and plans a task is not tried.
    pub task: Option<&'a str>,
}

impl Default for DriverTrial<'_> {
    /// Empty objects: for guests without schemas.
    fn default() -> Self {
        DriverTrial { config: "{}", task: Some("{}") }
    }
}

/// Fails where a call fails. What the guest decides about a node and a task that do not exist is its own business.
pub(crate) fn run(driver: &DriverLogic, trial: &DriverTrial<'_>) -> Result<(), GuestError> {
    driver.check_config(trial.config)?;
    let nothing = |probes: Vec<crate::driver::Probe>| {
        let why = || Trouble::Absent("this is a trial: nothing is looked at".into());
        probes.into_iter().map(move |probe| Finding { id: probe.id, outcome: Err(why()) })
    };
    let mut findings: Vec<Finding> = nothing(driver.probes(trial.config)?).collect();
    driver.judge(trial.config, &findings)?;

    let Some(task) = trial.task else { return Ok(()) };
    driver.check_task(trial.config, task, &[])?;
    let view = view();
    if let Ok(Next::LookInside(probes)) = driver.plan(trial.config, task, &view, &findings)? {
        findings.extend(nothing(probes));
        drop(driver.plan(trial.config, task, &view, &findings)?);
    }
    Ok(())
}

fn view() -> TaskView {
    TaskView {
        id: "00000000-0000-4000-8000-000000000000/trial/00000000".into(),
        alloc_id: "00000000-0000-4000-8000-000000000000".into(),
        task_name: "trial".into(),
        group_name: "trial".into(),
        job_name: "trial".into(),
        job_id: "trial".into(),
        namespace: "default".into(),
        node_name: "trial".into(),
        node_id: "00000000-0000-4000-8000-000000000001".into(),
        user: String::new(),
        env_names: ["NOMAD_ALLOC_DIR", "NOMAD_SECRETS_DIR", "NOMAD_TASK_DIR", "PATH"].map(str::to_owned).to_vec(),
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 128,
        memory_max_mb: None,
        cpu_shares: 512,
        cores: Vec::new(),
        ports: vec![Port { name: "http".into(), value: 20_000, to: 0 }],
        devices: Vec::new(),
    }
}
