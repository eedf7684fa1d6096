//! A task that is a component: from the plan's words to open files. Nothing of the task is named to its process by a path: the machine code and
//! the directories come open, and so does the program that runs them, which is this one.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component as Part, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use yurt_component::{Directory, Network, Orders, Port};
use yurt_guest::{Runtime, TaskCode};
use yurt_nomad::driver::TaskConfig;
use yurt_task::{Identity, Program};

use super::clamp::Component;
use super::config::Grants;
use super::signals;

/// Bytes of the process itself, code and stacks included, that a task's memory limit has to have room for beside the component's memories.
const OWN: u64 = 8 << 20;
/// Of a memory limit the most that goes to the process itself.
const OWN_SHARE: u64 = 4;
/// Of a task's directory: what a component may be given.
const OF_THE_TASK: [&str; 3] = ["local", "secrets", "tmp"];

/// A component that can be started.
pub(crate) struct Ready {
    pub(crate) program: Program,
    orders: Orders,
    /// Paths of directories on the host, and what they are called in the component; longest first.
    names: Vec<(String, String)>,
}

/// What is wanted, but for who waits for it: for a thread that may block.
pub(crate) struct Wanted {
    pub(crate) component: Component,
    pub(crate) network: Network,
    pub(crate) memory: Option<u64>,
    pub(crate) wall: bool,
    pub(crate) identity: Option<Identity>,
    /// The allocation's directory, and those below it that are the task's.
    pub(crate) alloc_dir: PathBuf,
    pub(crate) task_dir: PathBuf,
}

impl Wanted {
    /// Opens what is there and has the component compiled, which takes seconds the first time. Blocks.
    pub(crate) fn ready(self, runtime: &Runtime) -> Result<Ready, String> {
        let Component { path, directories, .. } = &self.component;
        let within = |path: &str, flags| self.open(path, flags).map_err(|why| format!("{path}: {why}"));
        let file = File::from(within(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        let bytes = content(file, runtime.limits().component).map_err(|why| format!("{path}: {why}"))?;
        let code = runtime.task_code(&bytes).map_err(|why| format!("the component {path} cannot be a task: {why}"))?;
        let TaskCode { file, settings } = code;
        let mut open = vec![Arc::new(OwnedFd::from(file))];
        for directory in directories {
            open.push(Arc::new(within(&directory.host_side, OFlags::PATH | OFlags::DIRECTORY)?));
        }
        let mut names: Vec<(String, String)> = directories
            .iter()
            .map(|directory| (directory.host_side.clone(), directory.guest_side.clone()))
            .filter(|(host, component)| host != component)
            .collect();
        names.sort_by_key(|(host, _)| std::cmp::Reverse(host.len()));
        let orders = Orders {
            settings: settings.to_owned(),
            directories: directories
                .iter()
                .map(|one| Directory { name: one.guest_side.clone(), read_only: one.read_only })
                .collect(),
            network: self.network.clone(),
            memory: self.memory.map(for_its_memories),
            wall: self.wall,
        };
        let file = Arc::new(this_program(self.identity.as_ref())?);
        Ok(Ready { program: Program { file, open }, orders, names })
    }

    /// Opens what lies in a directory of the task's, whatever links there are on the way: none leads out of it.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, String> {
        let own = self.own(Path::new(path)).ok_or("it must lie in the task's local, secrets or tmp, or in alloc")?;
        let (top, below) = own;
        let errno = |why: rustix::io::Errno| std::io::Error::from(why).to_string();
        let flags = flags | OFlags::CLOEXEC;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let alloc = rustix::fs::open(&self.alloc_dir, directory, Mode::empty()).map_err(errno)?;
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let top = openat2(alloc.as_fd(), &top, directory, Mode::empty(), strict).map_err(errno)?;
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { &below };
        openat2(top.as_fd(), below, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS).map_err(
            |why| match why {
                rustix::io::Errno::XDEV => "a link on the way leads out of the task's directory".to_owned(),
                other => errno(other),
            },
        )
    }

    /// The directory of the task that a path lies in, from the allocation's, and the way from there.
    fn own(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        if path.components().any(|part| matches!(part, Part::ParentDir)) {
            return None;
        }
        let of_the_task = OF_THE_TASK.iter().map(|name| self.task_dir.join(name));
        [self.alloc_dir.join("alloc")].into_iter().chain(of_the_task).find_map(|top| {
            let below = path.strip_prefix(&top).ok()?.to_owned();
            Some((top.strip_prefix(&self.alloc_dir).ok()?.to_owned(), below))
        })
    }
}

impl Ready {
    /// Arguments and environment of the process. Paths of the component's directories are told as it sees them.
    pub(crate) fn words(&self, words: &[String], env: Vec<(String, String)>) -> (Vec<String>, Vec<(String, String)>) {
        let seen = |text: &str| {
            self.names.iter().fold(text.to_owned(), |text, (host, component)| text.replace(host, component))
        };
        let words: Vec<String> = words.iter().map(|word| seen(word)).collect();
        yurt_component::program(&self.orders, &words, env.into_iter().map(|(name, value)| (name, seen(&value))))
    }
}

/// Of a limit for everything, what the component's memories may take together: reaching it is an answer to the component, reaching the whole is
/// the end of the task.
fn for_its_memories(limit: u64) -> u64 {
    limit.saturating_sub(OWN.min(limit / OWN_SHARE))
}

fn content(file: File, most: u64) -> Result<Vec<u8>, String> {
    let status = file.metadata().map_err(|why| why.to_string())?;
    if !status.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(status.len().min(most)).unwrap_or_default());
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= most => Ok(bytes),
        _ => Err(format!("it has more than the {most} bytes allowed (limit component)")),
    }
}

/// The program that is running, even if its file was replaced since. It has to be one that the task's user may run and read, as installed
/// programs are.
fn this_program(identity: Option<&Identity>) -> Result<OwnedFd, String> {
    const PATH: &str = "/proc/self/exe";
    let broken = |why: String| format!("this plugin's own program, which runs components: {why}");
    let file = openat2(CWD, PATH, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty())
        .map_err(|why| broken(std::io::Error::from(why).to_string()))?;
    let Some(Identity { uid, gid, groups, .. }) = identity.filter(|who| who.uid != 0) else { return Ok(file) };
    let status = std::fs::metadata(PATH).map_err(|why| broken(why.to_string()))?;
    let shift = match () {
        () if status.uid() == *uid => 6,
        () if status.gid() == *gid || groups.contains(&status.gid()) => 3,
        () => 0,
    };
    if (status.mode() >> shift) & 0o5 != 0o5 {
        let path = std::fs::read_link(PATH).unwrap_or_default();
        return Err(broken(format!(
            "{} has mode {:04o}, and user {uid} must be able to read and execute it: chmod 0755",
            path.display(),
            status.mode() & 0o7777
        )));
    }
    Ok(file)
}

/// Where the component may be called: the ports with these labels, on the addresses that the agent gave them. In a network of the group's own
/// every address is the group's.
pub(crate) fn network(task: &TaskConfig, labels: &[String], grants: &Grants) -> Result<Network, String> {
    let own_network = task.network.as_ref().is_some_and(|network| !network.path.is_empty());
    let of_the_group = task.resources.ports.iter().map(|port| {
        let inside = if own_network && port.to != 0 { port.to } else { port.value };
        (port.label.as_str(), port.host_ip.as_str(), inside)
    });
    let of_the_task = task.resources.networks.iter().flat_map(|network| {
        let ports = network.reserved_ports.iter().chain(&network.dynamic_ports);
        ports.map(|port| (port.label.as_str(), network.ip.as_str(), port.value))
    });
    let known: Vec<(&str, &str, i32)> = match task.resources.ports.is_empty() {
        true => of_the_task.collect(),
        false => of_the_group.collect(),
    };
    let mut listen = Vec::new();
    for label in labels {
        let named: Vec<_> = known.iter().filter(|(name, ..)| name == label).collect();
        if named.is_empty() {
            let known: Vec<&str> = known.iter().map(|(name, ..)| *name).collect();
            let known = if known.is_empty() { "no ports".to_owned() } else { known.join(", ") };
            return Err(format!(
                "the plan's program.listen names the port {label:?}, and the group's network has {known}: \
                 a port is reserved by a port block in it"
            ));
        }
        listen.extend(named.into_iter().map(|(label, ip, number)| Port {
            label: (*label).to_owned(),
            address: if own_network { None } else { ip.parse().ok() },
            port: u16::try_from(*number).unwrap_or_default(),
        }));
    }
    Ok(Network { listen, connect: grants.connect.clone() })
}

/// Why a component has no commands run in it.
pub(crate) const NO_COMMANDS: &str = "the task is a WebAssembly component: there is no program in it to run and no shell, and nothing of the \
                                      host's is in its reach; look at its logs, or at its directories with `nomad alloc fs`";

/// Whether a component may be sent this signal from outside.
pub(crate) fn takes(signal: i32) -> Result<(), String> {
    // SIGINT, SIGQUIT, SIGKILL, SIGTERM.
    const ENDING: [i32; 4] = [2, 3, 9, 15];
    if ENDING.contains(&signal) {
        return Ok(());
    }
    Err(format!(
        "the task is a WebAssembly component, which gets no signals: SIGINT, SIGQUIT and SIGTERM ask it to stop, SIGKILL ends it, and {} would \
         mean nothing to it",
        signals::name(signal)
    ))
}

#[cfg(test)]
#[path = "component_tests.rs"]
mod tests;
