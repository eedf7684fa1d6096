//! The first record: what is to be started, with its descriptors.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use prost::Message as _;
use yurt_keeper::{Carried, Isolation, PROTOCOL, Privileges, Start, Step};

use crate::failure::{During as _, Failure, Outcome};
use crate::wire;

/// Most that a start may be, in bytes: an environment is bounded by what `execve` takes.
const START_MAX: u64 = 8 << 20;

/// A start with its descriptors in place.
pub(crate) struct Plan {
    pub(crate) start: Start,
    pub(crate) privileges: Privileges,
    pub(crate) entry: OwnedFd,
    /// None once they are closed.
    pub(crate) streams: Option<(OwnedFd, OwnedFd)>,
    pub(crate) root: Option<OwnedFd>,
    pub(crate) network: Option<OwnedFd>,
    pub(crate) cgroup_v2: Option<OwnedFd>,
    pub(crate) cgroups_v1: Vec<OwnedFd>,
}

impl Plan {
    /// Waits for it on the socket.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Outcome<Plan> {
        let (bytes, descriptors) = wire::receive(socket).during(Step::Record, "the socket")?;
        let mut start = decoded(&bytes)?;
        let mut given: Vec<(Carried, OwnedFd)> = start
            .carried
            .iter()
            .map(|kind| Carried::try_from(*kind).unwrap_or(Carried::Unknown))
            .zip(descriptors)
            .collect();
        let mut take = |kind| given.iter().position(|(is, _)| *is == kind).map(|at| given.remove(at).1);
        if start.in_file {
            let file = take(Carried::Record).ok_or_else(|| lacking("the record's file"))?;
            let mut bytes = Vec::new();
            File::from(file).take(START_MAX).read_to_end(&mut bytes).during(Step::Record, "the record's file")?;
            start = decoded(&bytes)?;
        }
        let (entry, stdout, stderr) = (take(Carried::Entry), take(Carried::Stdout), take(Carried::Stderr));
        let (root, network, cgroup_v2) = (take(Carried::Root), take(Carried::Network), take(Carried::CgroupV2));
        let mut cgroups_v1 = Vec::new();
        while let Some(at) = given.iter().position(|(is, _)| *is == Carried::CgroupV1) {
            cgroups_v1.push(given.remove(at).1);
        }
        let plan = Plan {
            privileges: start.privileges.clone().unwrap_or_default(),
            entry: entry.ok_or_else(|| lacking("the entry's directory"))?,
            streams: Some(stdout.zip(stderr).ok_or_else(|| lacking("the standard streams"))?),
            root,
            network,
            cgroup_v2,
            cgroups_v1,
            start,
        };
        if plan.isolated() && plan.root.is_none() {
            return Err(lacking("the root directory"));
        }
        Ok(plan)
    }

    /// It has a root directory of its own.
    pub(crate) fn isolated(&self) -> bool {
        self.start.isolation() == Isolation::Chroot
    }

    /// Lets go of the task's standard streams.
    pub(crate) fn close_streams(&mut self) {
        self.streams = None;
    }

    /// The keeper's init is to be process 1.
    pub(crate) fn with_init(&self) -> bool {
        self.start.init && self.start.private_pid
    }
}

fn decoded(bytes: &[u8]) -> Outcome<Start> {
    let start = Start::decode(bytes).map_err(|why| Failure::new(Step::Record, why))?;
    if start.protocol == 0 || start.protocol > PROTOCOL {
        let why = format!("the plugin speaks version {}, this keeper knows {PROTOCOL}", start.protocol);
        return Err(Failure::new(Step::Record, why));
    }
    if !start.in_file && start.argv.first().is_none_or(Vec::is_empty) {
        return Err(lacking("a program"));
    }
    Ok(start)
}

fn lacking(what: &str) -> Failure {
    Failure::new(Step::Record, format_args!("it lacks {what}"))
}
