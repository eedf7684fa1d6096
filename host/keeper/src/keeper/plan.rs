//! The first record: what is to be started, with its descriptors.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use prost::Message as _;
use yurt_keeper::{Carried, Isolation, PROTOCOL, Privileges, Start, Step};

use crate::cgroup::{Group, Groups};
use crate::failure::{During as _, Failure, Outcome};
use crate::wire;

/// Most that a start may be, in bytes: an environment is bounded by what `execve` takes.
const START_MAX: u64 = 16 << 20;

/// Bytes of a `struct sock_filter`, and of the most of them that the kernel takes.
const FILTER_INSTRUCTION: usize = size_of::<libc::sock_filter>();
const FILTER_MAX: usize = 4096 * FILTER_INSTRUCTION;

/// A start with its descriptors in place.
pub(crate) struct Plan {
    pub(crate) start: Start,
    pub(crate) privileges: Privileges,
    pub(crate) entry: OwnedFd,
    /// Standard output and error; none once they are the task's alone.
    pub(crate) streams: Option<(OwnedFd, OwnedFd)>,
    /// The directory that becomes the task's root; once that runs, its root as commands enter it.
    pub(crate) root: Option<OwnedFd>,
    /// The mount namespace that its own becomes a copy of; without it, that is the host's.
    pub(crate) mounts: Option<OwnedFd>,
    /// What the kernel works in where the host's directories lie under those of the root.
    pub(crate) work: Option<OwnedFd>,
    /// What restricts it to some of the host's files.
    pub(crate) ruleset: Option<OwnedFd>,
    pub(crate) network: Option<OwnedFd>,
    pub(crate) groups: Groups,
    /// Executed instead of what the first argument names.
    pub(crate) program: Option<OwnedFd>,
    /// What it finds open.
    pub(crate) open: Vec<OwnedFd>,
}

impl Plan {
    /// Waits for it on the socket.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Outcome<Plan> {
        let (bytes, descriptors) = wire::receive(socket).during(Step::Record, "the socket")?;
        let mut start = decoded(&bytes)?;
        if start.carried.len() != descriptors.len() {
            let why = format!("{} descriptors came where it names {}", descriptors.len(), start.carried.len());
            return Err(Failure::new(Step::Record, why));
        }
        let kinds = start.carried.iter().map(|kind| Carried::try_from(*kind).unwrap_or(Carried::Unknown));
        let mut given: Vec<(Carried, OwnedFd)> = kinds.zip(descriptors).collect();
        let mut take = |kind| given.iter().position(|(is, _)| *is == kind).map(|at| given.remove(at).1);
        if start.in_file {
            let file = take(Carried::Record).ok_or_else(|| lacking("the record's file"))?;
            let mut bytes = Vec::new();
            File::from(file).take(START_MAX).read_to_end(&mut bytes).during(Step::Record, "the record's file")?;
            start = decoded(&bytes)?;
        }
        checked(&start)?;
        let (entry, stdout, stderr) = (take(Carried::Entry), take(Carried::Stdout), take(Carried::Stderr));
        let (root, work, network) = (take(Carried::Root), take(Carried::Work), take(Carried::Network));
        let mounts = take(Carried::Mounts);
        let program = take(Carried::Program);
        let open = std::iter::from_fn(|| take(Carried::Open)).collect();
        let isolated = start.isolation() == Isolation::Chroot;
        if isolated && root.is_none() {
            return Err(lacking("the root directory"));
        }
        let restricted = start.isolation() == Isolation::Landlock;
        let ruleset = take(Carried::Ruleset).filter(|_| restricted);
        if restricted && ruleset.is_none() {
            return Err(lacking("the Landlock ruleset"));
        }
        Ok(Plan {
            privileges: start.privileges.clone().unwrap_or_default(),
            entry: entry.ok_or_else(|| lacking("the entry's directory"))?,
            streams: Some(stdout.zip(stderr).ok_or_else(|| lacking("the standard streams"))?),
            root: root.filter(|_| isolated),
            mounts: mounts.filter(|_| isolated),
            work: work.filter(|_| isolated),
            ruleset,
            network,
            program,
            open,
            groups: groups(&start, given),
            start,
        })
    }

    /// The keeper's init is to be process 1.
    pub(crate) fn with_init(&self) -> bool {
        self.start.init && self.start.private_pid
    }

    /// Lets go of what only the start takes. The rest is for commands.
    pub(crate) fn shrink(&mut self) {
        let start = &mut self.start;
        (start.argv, start.mounts, start.devices, start.files) = Default::default();
        (start.host_paths, start.hidden, start.writable, start.allowed) = Default::default();
        start.makes = Vec::new();
        (start.request, start.memo, start.carried) = Default::default();
        (self.streams, self.root, self.mounts, self.work) = (None, None, None, None);
        (self.program, self.open) = (None, Vec::new());
    }
}

fn decoded(bytes: &[u8]) -> Outcome<Start> {
    let start = Start::decode(bytes).map_err(|why| Failure::new(Step::Record, why))?;
    if start.protocol == 0 || start.protocol > PROTOCOL {
        let why = format!("the plugin speaks version {}, this keeper knows {PROTOCOL}", start.protocol);
        return Err(Failure::new(Step::Record, why));
    }
    Ok(start)
}

fn checked(start: &Start) -> Outcome<()> {
    if start.argv.first().is_none_or(Vec::is_empty) {
        return Err(lacking("a program"));
    }
    if start.argv.iter().chain(&start.env).chain([&start.work_dir]).any(|text| text.contains(&0)) {
        return Err(Failure::new(Step::Record, "an argument, a variable or the working directory holds a NUL"));
    }
    if Isolation::try_from(start.isolation).is_err() {
        return Err(Failure::new(Step::Record, format_args!("isolation {} is not known", start.isolation)));
    }
    if start.private_pid && start.isolation() == Isolation::None {
        return Err(Failure::new(Step::Record, "private process ids take mounts of its own, because of /proc"));
    }
    if start.private_user && start.isolation() == Isolation::None {
        return Err(Failure::new(Step::Record, "a user namespace takes mounts of the task's own"));
    }
    // Who enters a new one has every capability in it, and keeps them unless they are taken away.
    if start.private_user && !start.privileges.as_ref().is_some_and(|privileges| privileges.change) {
        return Err(Failure::new(Step::Record, "a user namespace takes a user that is named"));
    }
    if !start.filter.len().is_multiple_of(FILTER_INSTRUCTION) || start.filter.len() > FILTER_MAX {
        let why = format!("{} bytes are no seccomp filter", start.filter.len());
        return Err(Failure::new(Step::Record, why));
    }
    Ok(())
}

/// The control groups, with the paths and controllers that stand in the same order.
fn groups(start: &Start, given: Vec<(Carried, OwnedFd)>) -> Groups {
    let (mut paths, mut controllers) = (start.cgroups.iter(), start.controllers.iter());
    let group = |(kind, dir)| {
        let controller = match kind {
            Carried::CgroupV2 => None,
            Carried::CgroupV1 => Some(controllers.next().cloned().unwrap_or_default()),
            _ => return None,
        };
        Some(Group { dir, path: paths.next().cloned().unwrap_or_default(), controller })
    };
    Groups(given.into_iter().filter_map(group).collect())
}

fn lacking(what: &str) -> Failure {
    Failure::new(Step::Record, format_args!("it lacks {what}"))
}
