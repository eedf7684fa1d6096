//! Namespaces and capabilities by the keys that Nomad's exec and java drivers have in common, with those drivers' sums and words, and the
//! namespaces that those do not know. An empty text says nothing, as there.

use crate::Said;
use crate::driver::{PlanError, Sharing, TaskView, Wishes};

/// What the operator says for all tasks.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// `private` or `host`: of a job that does not say.
    pub default_pid_mode: &'a str,
    /// The same for shared memory.
    pub default_ipc_mode: &'a str,
    /// The most that a task may have.
    pub allow_caps: &'a [String],
}

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `private` or `host`: whose processes the task sees.
    pub pid_mode: &'a str,
    /// The same for shared memory.
    pub ipc_mode: &'a str,
    /// Capabilities beyond the default ones.
    pub cap_add: &'a [String],
    /// Those of the default ones that it can do without.
    pub cap_drop: &'a [String],
    /// A profile of system calls by its name.
    pub seccomp: &'a str,
}

impl Terms<'_> {
    /// What is wrong with the operator's keys.
    pub fn check(&self, said: &mut Said) {
        check_mode(said, "default_pid_mode", self.default_pid_mode);
        check_mode(said, "default_ipc_mode", self.default_ipc_mode);
        check_caps(said, "allow_caps", self.allow_caps);
    }
}

impl Asked<'_> {
    /// What is wrong with a job's keys.
    pub fn check(&self, terms: &Terms<'_>, said: &mut Said) {
        for (key, mode) in self.modes() {
            check_mode(said, key, if mode.is_empty() { "private" } else { mode });
        }
        check_caps(said, "cap_add", self.cap_add);
        check_caps(said, "cap_drop", self.cap_drop);
        let beyond = capabilities(|name| names(self.cap_add, name) && !names(terms.allow_caps, name));
        if !beyond.is_empty() {
            let message = format!("driver does not allow the following capabilities: {}", beyond.join(", "));
            said.error("cap_add", message, Some("allow_caps in the driver's configuration names those that it does"));
        }
    }

    /// What a plan asks the host for. `user`: who the task runs as where the job does not say. Nomad's sum – its default capabilities
    /// within `allow_caps`, less `cap_drop`, and `cap_add` – is told by what differs from the default ones.
    ///
    /// Refuses what the host would not do: capabilities of a user that is not root, and private namespaces beside the host's files.
    pub fn wishes(&self, terms: &Terms<'_>, user: &str, view: &TaskView) -> Result<Wishes, PlanError> {
        let user = if view.user.is_empty() { user } else { &view.user };
        if !self.cap_add.is_empty() && !["root", "0"].contains(&user) {
            let message = format!(
                "cap_add = {:?}: only root has capabilities, and this task's user is {user}: leave it out, or say user = \"root\"",
                self.cap_add
            );
            return Err(PlanError::new(message).at("cap_add"));
        }
        not_beside_the_host(self.modes(), view)?;
        let sharing = |mode: &str, default: &str| match (mode, default) {
            ("host", _) | ("", "host") => Sharing::Host,
            _ => Sharing::Private,
        };
        Ok(Wishes {
            pid: sharing(self.pid_mode, terms.default_pid_mode),
            ipc: sharing(self.ipc_mode, terms.default_ipc_mode),
            caps_add: capabilities(|name| names(self.cap_add, name)),
            caps_drop: capabilities(|name| names(self.cap_drop, name) || !names(terms.allow_caps, name)),
            seccomp: Some(self.seccomp.to_owned()).filter(|name| !name.is_empty()),
            ..Wishes::none()
        })
    }

    fn modes(&self) -> [(&'static str, &str); 2] {
        [("pid_mode", self.pid_mode), ("ipc_mode", self.ipc_mode)]
    }
}

/// Namespaces that a task has of its own only where its job says so, by the names that container engines have for them. Each takes away
/// from what a task is or sees, so that no operator has to grant it.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// `private` or `host`: whether its capabilities count beyond what is its own.
    pub userns_mode: &'a str,
    /// Whether it sees its control groups as roots.
    pub cgroupns_mode: &'a str,
    /// Whether the clocks that count from the machine's start count from its own.
    pub timens_mode: &'a str,
}

impl Own<'_> {
    /// What is wrong with a job's keys.
    pub fn check(&self, said: &mut Said) {
        for (key, mode) in self.modes() {
            check_mode(said, key, if mode.is_empty() { "host" } else { mode });
        }
    }

    /// Asks for them beside what else a plan asks for. Refuses private ones beside the host's files.
    pub fn added_to(&self, wishes: Wishes, view: &TaskView) -> Result<Wishes, PlanError> {
        not_beside_the_host(self.modes(), view)?;
        let sharing = |mode: &str| if mode == "private" { Sharing::Private } else { Sharing::Host };
        Ok(Wishes {
            user: sharing(self.userns_mode),
            cgroup: sharing(self.cgroupns_mode),
            time: sharing(self.timens_mode),
            ..wishes
        })
    }

    fn modes(&self) -> [(&'static str, &str); 3] {
        [("userns_mode", self.userns_mode), ("cgroupns_mode", self.cgroupns_mode), ("timens_mode", self.timens_mode)]
    }
}

/// Who sees all of the host's files has its namespaces.
fn not_beside_the_host<const N: usize>(modes: [(&'static str, &str); N], view: &TaskView) -> Result<(), PlanError> {
    let private = modes.into_iter().find(|(_, mode)| *mode == "private");
    match private.filter(|_| !view.has_a_root() && !view.is_unveiled()) {
        None => Ok(()),
        Some((key, _)) => {
            let message =
                format!("{key} = \"private\": with yurt.isolation = \"none\" tasks have the host's namespaces");
            Err(PlanError::new(message).at(key))
        }
    }
}

fn check_mode(said: &mut Said, key: &str, mode: &str) {
    if !["private", "host"].contains(&mode) {
        said.error(key, format!("{key} must be \"private\" or \"host\", got {mode:?}"), None);
    }
}

fn check_caps(said: &mut Said, key: &str, list: &[String]) {
    let unknown =
        list.iter().map(|name| plain(name)).filter(|name| name != "all" && ALL.split(' ').all(|one| one != name));
    let unknown = unknown.collect::<Vec<_>>().join(", ");
    if !unknown.is_empty() {
        said.error(key, format!("{key} configured with capabilities not supported by system: {unknown}"), None);
    }
}

/// Of `capabilities(7)`, in order.
const ALL: &str = "audit_control audit_read audit_write block_suspend bpf checkpoint_restore chown dac_override \
                   dac_read_search fowner fsetid ipc_lock ipc_owner kill lease linux_immutable mac_admin mac_override \
                   mknod net_admin net_bind_service net_broadcast net_raw perfmon setfcap setgid setpcap setuid \
                   sys_admin sys_boot sys_chroot sys_module sys_nice sys_pacct sys_ptrace sys_rawio sys_resource \
                   sys_time sys_tty_config syslog wake_alarm";

/// Those for which this holds, in order.
fn capabilities(holds: impl Fn(&str) -> bool) -> Vec<String> {
    ALL.split(' ').filter(|name| holds(name)).map(str::to_owned).collect()
}

/// Whether a list has a capability: in any case, with or without `CAP_`, or as one of `all`.
fn names(list: &[String], name: &str) -> bool {
    list.iter().map(|one| plain(one)).any(|one| one == name || one == "all")
}

fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("cap_").map_or(name.clone(), str::to_owned)
}
