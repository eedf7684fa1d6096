//! The records of `driver.wit`, and what makes them short to write.

use std::collections::BTreeMap;

pub use crate::bindings::driver::exports::yurt::plugin::driver::{
    Capabilities, CgroupWish, ComponentRun, Directory, DriverDescription, DriverHealth, EnvEdit, EnvSource, ExitNote,
    FileText, Finding, Fingerprint, Found, IdRange, Isolation, LaunchPlan, Limit, Look, MountWish, Next, PathHead,
    PathKind, PathStatus, PlanError, Port, Probe, Program, ProgramOutput, RunStep, Sharing, SignalAction, SignalRule,
    Step, StopStep, TaskView, Trouble, Wishes,
};

/// What the host saw, by the ids of the probes. Each look answers in its own way; a finding of another way counts as none.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a>(pub &'a [Finding]);

impl<'a> Findings<'a> {
    /// What came of a probe; none: it was not made, or not yet.
    pub fn of(self, id: &str) -> Option<Result<&'a Found, &'a Trouble>> {
        self.0.iter().find(|finding| finding.id == id).map(|finding| finding.outcome.as_ref())
    }

    /// What a program said: of [`Look::Run`].
    pub fn output(self, id: &str) -> Option<Result<&'a ProgramOutput, &'a Trouble>> {
        self.only(id, |found| if let Found::Output(output) = found { Some(output) } else { None })
    }

    /// Programs by their paths: of [`Look::Programs`].
    pub fn programs(self, id: &str) -> Option<Result<&'a [String], &'a Trouble>> {
        self.only(id, |found| if let Found::Paths(paths) = found { Some(paths.as_slice()) } else { None })
    }

    /// A file's text: of [`Look::Read`].
    pub fn content(self, id: &str) -> Option<Result<&'a str, &'a Trouble>> {
        self.only(id, |found| if let Found::Content(content) = found { Some(content.as_str()) } else { None })
    }

    /// What stands at a path: of [`Look::Stat`].
    pub fn status(self, id: &str) -> Option<Result<&'a PathStatus, &'a Trouble>> {
        self.only(id, |found| if let Found::Status(status) = found { Some(status) } else { None })
    }

    fn only<T: ?Sized>(
        self,
        id: &str,
        way: impl FnOnce(&'a Found) -> Option<&'a T>,
    ) -> Option<Result<&'a T, &'a Trouble>> {
        match self.of(id)? {
            Ok(found) => way(found).map(Ok),
            Err(trouble) => Some(Err(trouble)),
        }
    }
}

impl Trouble {
    /// The clause for people.
    pub fn why(&self) -> &str {
        match self {
            Self::Absent(why) | Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

impl Probe {
    /// Run a program with these arguments.
    pub fn run(id: &str, command: &[&str]) -> Self {
        Self { id: id.into(), look: Look::Run(command.iter().map(|word| (*word).to_owned()).collect()) }
    }

    /// Find programs in the fixed path.
    pub fn programs(id: &str, glob: &str) -> Self {
        Self { id: id.into(), look: Look::Programs(glob.into()) }
    }

    /// Read a small file.
    pub fn read(id: &str, path: &str) -> Self {
        Self { id: id.into(), look: Look::Read(path.into()) }
    }

    /// See what stands at a path.
    pub fn stat(id: &str, path: &str) -> Self {
        Self { id: id.into(), look: Look::Stat(path.into()) }
    }
}

impl PlanError {
    /// A sentence for the task's events. Trying again will not help, unless [`PlanError::or_try_again`] says so.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), path: None, recoverable: false }
    }

    /// About this key of the job's `config` block.
    pub fn at(self, path: &str) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// Trying again may help: Nomad restarts the task by its restart policy.
    pub fn or_try_again(self) -> Self {
        Self { recoverable: true, ..self }
    }
}

impl Capabilities {
    /// A root directory for each task, signals, commands, volumes, and the network of the host or of the group.
    pub fn in_a_root() -> Self {
        Self {
            isolation: Isolation::Chroot,
            signals: true,
            exec: true,
            host_network: true,
            group_network: true,
            mounts: true,
            dynamic_users: false,
        }
    }
}

impl TaskView {
    /// The directory in which `local` lies; empty where that is the task's root.
    pub fn own_dir(&self) -> &str {
        self.local_dir.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// Whether the task has a root directory of its own; else it sees the host's files.
    pub fn has_a_root(&self) -> bool {
        self.own_dir().is_empty()
    }

    /// Whether the task sees some of the host's files only, by rules in the kernel: an agent then has all of its directories at one place.
    pub fn is_unveiled(&self) -> bool {
        !self.has_a_root() && self.alloc_dir.strip_prefix(self.own_dir()) == Some("/alloc")
    }
}

impl LaunchPlan {
    /// Runs this command and changes nothing else: the job's user and signals, namespaces of its own, no init.
    pub fn of(command: Vec<String>) -> Self {
        Self {
            program: Program::Native(command),
            env: Vec::new(),
            env_drop: Vec::new(),
            work_dir: None,
            user: None,
            prepare: Vec::new(),
            wishes: Wishes::none(),
            signals: Vec::new(),
            stop: Vec::new(),
            exec_prefix: Vec::new(),
            exit_notes: Vec::new(),
            note: None,
        }
    }
}

impl Wishes {
    /// Process ids and shared memory of its own, the host's name, users, control groups and clocks, and nothing asked for.
    pub fn none() -> Self {
        Self {
            pid: Sharing::Private,
            ipc: Sharing::Private,
            uts: Sharing::Host,
            user: Sharing::Host,
            cgroup: Sharing::Host,
            time: Sharing::Host,
            init: false,
            caps_add: Vec::new(),
            caps_drop: Vec::new(),
            limits: Vec::new(),
            seccomp: None,
            read_only_root: false,
            mounts: Vec::new(),
            cgroups: Vec::new(),
            deny_uids: Vec::new(),
            deny_gids: Vec::new(),
        }
    }
}

impl Limit {
    /// All of a job's key `limits = { nofile = "1024:4096", "pids.max" = "100" }`, which counts as a list of one. The host knows the names.
    pub fn all(wanted: Option<&[BTreeMap<String, String>]>) -> Vec<Self> {
        let limit = |(name, value): (&String, &String)| Self { name: name.clone(), value: value.clone() };
        wanted.into_iter().flatten().flatten().map(limit).collect()
    }
}

impl EnvEdit {
    /// Sets a variable to a text.
    pub fn text(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.into(), value: EnvSource::Text(text.into()) }
    }

    /// Puts a directory before those that a variable lists: `PATH`.
    pub fn before(name: &str, directory: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: EnvSource::Before(PathHead { directory: directory.into(), name: name.into() }),
        }
    }
}

/// Paths of a job's `config` block whose values are known only at run time.
#[derive(Debug, Clone, Copy)]
pub struct Unknown<'a>(pub &'a [String]);

impl Unknown<'_> {
    /// Whether the value at this path is not known, wholly or in part: `args` where `args[1]` is unknown, and the reverse.
    pub fn has(self, path: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.iter().any(|unknown| unknown.is_empty() || within(unknown, path) || within(path, unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_unknown_where_one_of_its_entries_is() {
        let paths = ["args[1]".to_owned(), "script".to_owned()];
        let unknown = Unknown(&paths);
        for (path, want) in [
            ("args", true),
            ("args[1]", true),
            ("args[0]", false),
            ("arg", false),
            ("script", true),
            ("script.x", true),
        ] {
            assert_eq!(unknown.has(path), want, "{path}");
        }
        assert!(!Unknown(&[]).has("script"));
    }

    #[test]
    fn a_finding_of_another_look_counts_as_none() {
        let findings = [Finding { id: "a".into(), outcome: Ok(Found::Paths(vec!["/bin/sh".into()])) }];
        let findings = Findings(&findings);
        assert_eq!(findings.programs("a"), Some(Ok(&["/bin/sh".to_owned()][..])));
        assert!(findings.status("a").is_none() && findings.of("b").is_none());
    }
}
