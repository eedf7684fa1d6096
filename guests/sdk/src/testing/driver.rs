//! A test double for task drivers: machines from a builder, looked at as the host does, and the driver called as the host calls it.

use std::collections::BTreeMap;

use crate::bindings::driver::exports::yurt::plugin::driver::Guest;
use crate::driver::{
    Finding, Fingerprint, Found, LaunchPlan, Look, Next, PathKind, PathStatus, PlanError, Probe, ProgramOutput,
    TaskView, Trouble,
};
use crate::{Diagnostic, DriverAdapter, TaskDriver};

/// Where programs are looked up.
const FIXED_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// `check-config` as the host calls it.
pub fn check_config<D: TaskDriver>(config: &str) -> Vec<Diagnostic> {
    DriverAdapter::<D>::check_config(config.into())
}

/// `check-task` as the host calls it.
pub fn check_task<D: TaskDriver>(config: &str, task: &str, unknown: &[&str]) -> Vec<Diagnostic> {
    let unknown = unknown.iter().map(|path| (*path).to_owned()).collect();
    DriverAdapter::<D>::check_task(config.into(), task.into(), unknown)
}

/// `judge` as the host calls it, with what `probes` asked for and this node answers.
pub fn judge<D: TaskDriver>(config: &str, node: &Machine) -> Fingerprint {
    DriverAdapter::<D>::judge(config.into(), node.look(DriverAdapter::<D>::probes(config.into())))
}

/// `plan` as the host calls it: with this node's findings, and once more with those of the task's root if it asks for them.
/// A second wish to look inside is an error, as it is for the host.
pub fn plan<D: TaskDriver>(
    config: &str,
    task: &str,
    view: &TaskView,
    node: &Machine,
    root: &Machine,
) -> Result<LaunchPlan, PlanError> {
    let call =
        |findings: &[Finding]| DriverAdapter::<D>::plan(config.into(), task.into(), view.clone(), findings.to_vec());
    let mut findings = node.look(DriverAdapter::<D>::probes(config.into()));
    let probes = match call(&findings)? {
        Next::Launch(plan) => return Ok(plan),
        Next::LookInside(probes) => probes,
    };
    findings.extend(root.look(probes));
    match call(&findings)? {
        Next::Launch(plan) => Ok(plan),
        Next::LookInside(_) => Err(PlanError::new("it asked to look inside twice")),
    }
}

/// A task of a job without a user, with a root of its own: `/local`, `/alloc`, `/secrets`.
pub fn view() -> TaskView {
    TaskView {
        id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a/server/5f0c7d1e".into(),
        alloc_id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a".into(),
        task_name: "server".into(),
        group_name: "demo".into(),
        job_name: "demo".into(),
        job_id: "demo".into(),
        namespace: "default".into(),
        node_name: "node".into(),
        node_id: "5b7f0d6c-93a9-4f6f-9c3b-6e1a4c9f1c11".into(),
        user: String::new(),
        env_names: ["NOMAD_ALLOC_DIR", "NOMAD_SECRETS_DIR", "NOMAD_TASK_DIR", "PATH"].map(str::to_owned).to_vec(),
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 128,
        memory_max_mb: None,
        cpu_shares: 512,
        cores: Vec::new(),
        ports: Vec::new(),
        devices: Vec::new(),
    }
}

/// The same task with isolation `none`: it sees the host's paths, its own directory at `/srv/alloc/8d1bc1b2/server`.
pub fn view_of_the_host() -> TaskView {
    TaskView {
        alloc_dir: "/srv/alloc/8d1bc1b2/alloc".into(),
        local_dir: "/srv/alloc/8d1bc1b2/server/local".into(),
        secrets_dir: "/srv/alloc/8d1bc1b2/server/secrets".into(),
        ..view()
    }
}

/// A machine, or a task's root: files by their absolute paths.
#[derive(Debug, Clone, Default)]
pub struct Machine(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
enum Entry {
    Directory,
    File(String),
    Link(String),
    Program(Vec<(Vec<String>, Said)>),
}

#[derive(Debug, Clone)]
enum Said {
    Output { exit_code: i32, stdout: String, stderr: String },
    Nothing,
}

impl Machine {
    /// With a file of this text.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), Entry::File(text.into()));
        self
    }

    /// With a directory.
    pub fn directory(mut self, path: &str) -> Self {
        self.0.insert(path.into(), Entry::Directory);
        self
    }

    /// With a symbolic link; a relative target counts from the link's directory.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.into(), Entry::Link(target.into()));
        self
    }

    /// With a program that ends with 0 and says nothing, unless [`Machine::says`] tells more.
    pub fn program(mut self, path: &str) -> Self {
        self.0.insert(path.into(), Entry::Program(Vec::new()));
        self
    }

    /// The program at this path says so if it is run with arguments that begin like these; the first that fits counts.
    pub fn says(self, path: &str, arguments: &[&str], exit_code: i32, stdout: &str, stderr: &str) -> Self {
        self.answers(path, arguments, Said::Output { exit_code, stdout: stdout.into(), stderr: stderr.into() })
    }

    /// The program at this path never ends.
    pub fn hangs(self, path: &str) -> Self {
        self.answers(path, &[], Said::Nothing)
    }

    fn answers(mut self, path: &str, arguments: &[&str], said: Said) -> Self {
        let entry = self.0.entry(path.to_owned()).or_insert_with(|| Entry::Program(Vec::new()));
        if let Entry::Program(answers) = entry {
            answers.push((arguments.iter().map(|word| (*word).to_owned()).collect(), said));
        }
        self
    }

    /// What the host would find.
    pub fn look(&self, probes: Vec<Probe>) -> Vec<Finding> {
        let outcome = |look| match look {
            Look::Run(command) => self.run(&command),
            Look::Programs(glob) => Ok(Found::Paths(self.programs(&glob))),
            Look::Read(path) => match self.at(&path) {
                Some((_, Entry::File(text))) => Ok(Found::Content(text.clone())),
                _ => Err(Trouble::Absent(format!("there is no file {path}"))),
            },
            Look::Stat(path) => Ok(Found::Status(self.status(&path))),
        };
        probes.into_iter().map(|probe| Finding { id: probe.id, outcome: outcome(probe.look) }).collect()
    }

    fn run(&self, command: &[String]) -> Result<Found, Trouble> {
        let (name, arguments) = command.split_first().ok_or_else(|| Trouble::Failed("no program is named".into()))?;
        let path = if name.starts_with('/') {
            self.at(name).map(|_| name.clone()).ok_or_else(|| Trouble::Absent(format!("there is no {name}")))?
        } else {
            let absent = || Trouble::Absent(format!("not found in {}", FIXED_PATH.join(":")));
            self.programs(name).into_iter().next().ok_or_else(absent)?
        };
        let Some((resolved, Entry::Program(answers))) = self.at(&path) else {
            return Err(Trouble::Failed(format!("{path}: Permission denied")));
        };
        let said = answers.iter().find(|(these, _)| arguments.starts_with(these)).map(|(_, said)| said);
        let (exit_code, stdout, stderr) = match said {
            None => (0, String::new(), String::new()),
            Some(Said::Nothing) => return Err(Trouble::Failed(format!("{path} did not end within 5 s"))),
            Some(Said::Output { exit_code, stdout, stderr }) => (*exit_code, stdout.clone(), stderr.clone()),
        };
        Ok(Found::Output(ProgramOutput { resolved, exit_code, stdout, stderr }))
    }

    /// Only `*` at the end of a glob.
    fn programs(&self, glob: &str) -> Vec<String> {
        let fits = |name: &str| match glob.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == glob,
        };
        let within = |directory: &'static str| {
            self.0.keys().filter(move |path| {
                path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')).is_some_and(&fits)
            })
        };
        let paths = FIXED_PATH.into_iter().flat_map(within);
        paths.filter(|path| matches!(self.at(path), Some((_, Entry::Program(_))))).cloned().collect()
    }

    fn status(&self, path: &str) -> PathStatus {
        let Some((real, entry)) = self.at(path) else {
            return match self.0.get(path) {
                Some(Entry::Link(target)) => {
                    PathStatus { kind: PathKind::Link, executable: false, target: Some(target.clone()) }
                }
                _ => PathStatus { kind: PathKind::Absent, executable: false, target: None },
            };
        };
        let kind = if matches!(entry, Entry::Directory) { PathKind::Directory } else { PathKind::File };
        let executable = matches!(entry, Entry::Program(_));
        PathStatus { kind, executable, target: (real != path).then_some(real) }
    }

    /// What stands at a path and where it really is, links followed in the path's last part.
    fn at(&self, path: &str) -> Option<(String, &Entry)> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match self.0.get(&path)? {
                Entry::Link(target) if target.starts_with('/') => path = target.clone(),
                Entry::Link(target) => path = format!("{}/{target}", path.rsplit_once('/')?.0),
                entry => return Some((path, entry)),
            }
        }
        None
    }
}
