//! A launch in its keeper's words: what is known of it before anything is made.

use rustix::fs::FileType;
use rustix::thread::{CapabilitySet, capabilities};
use yurt_keeper::{Start, Step};

use crate::cgroup::devices::{Kind, Rule};
use crate::error::StepError;
use crate::launch::{
    Device, Identity, Isolation, Launch, Make, Mount, Namespaces, Propagation, ResourceLimit, Seccomp,
};
use crate::seccomp;

/// What keepers call themselves in `/proc/<pid>/comm`.
const NAME: &str = "yurt-keeper";

/// What the keeper has to know, but for what is found out on the way.
pub(crate) fn record(launch: &Launch) -> Result<Start, StepError> {
    let mut start = Start {
        protocol: yurt_keeper::PROTOCOL,
        id: launch.id.clone(),
        argv: launch.argv.iter().map(|word| word.clone().into_bytes()).collect(),
        env: launch.env.0.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
        work_dir: launch.work_dir.clone().into_bytes(),
        makes: launch.makes.iter().map(make).collect(),
        isolation: yurt_keeper::Isolation::None.into(),
        limits: launch.limits.resources.iter().map(limit).collect(),
        oom_score_adj: launch.limits.oom_score_adj,
        request: launch.request.clone(),
        name: NAME.to_owned(),
        ..Start::default()
    };
    if launch.argv.first().is_none_or(String::is_empty) {
        return Err(StepError::text("reading what is to be started", "", "there is no program"));
    }
    if launch.seccomp != Seccomp::None {
        start.filter = filter(&launch.seccomp, launch.identity.as_ref())?;
    }
    start.privileges = Some(match &launch.identity {
        // Without it nobody but root may install a filter.
        None => yurt_keeper::Privileges {
            no_new_privs: !start.filter.is_empty() || matches!(launch.isolation, Isolation::Landlock(_)),
            ..Default::default()
        },
        Some(identity) => yurt_keeper::Privileges {
            change: true,
            uid: identity.uid,
            gid: identity.gid,
            groups: identity.groups.clone(),
            bounding: identity.capabilities.bounding,
            ambient: identity.capabilities.ambient,
            no_new_privs: identity.no_new_privileges,
        },
    });
    if let Isolation::Chroot(root) = &launch.isolation {
        start.isolation = yurt_keeper::Isolation::Chroot.into();
        namespaces(&mut start, root.namespaces);
        start.mounts = root.mounts.iter().map(mount).collect();
        start.files = root
            .files
            .iter()
            .map(|file| yurt_keeper::File { target: file.target.clone(), content: file.content.clone() })
            .collect();
        start.hidden.clone_from(&root.hidden);
        start.read_only = root.writable.is_some();
        start.writable = root.writable.clone().unwrap_or_default();
    }
    if let Isolation::Landlock(unveiled) = &launch.isolation {
        start.isolation = yurt_keeper::Isolation::Landlock.into();
        namespaces(&mut start, unveiled.namespaces);
        start.hidden.clone_from(&unveiled.hidden);
    }
    Ok(start)
}

fn namespaces(start: &mut Start, own: Namespaces) {
    start.private_pid = own.pid;
    start.init = own.pid && own.init;
    start.private_ipc = own.ipc;
    start.private_uts = own.uts;
    start.private_user = own.user;
    start.private_cgroup = own.cgroup;
    start.private_time = own.time;
}

/// By the capabilities that the task really has: the bounding set is what root has of them, and `execve` adds nothing for others.
fn filter(wanted: &Seccomp, identity: Option<&Identity>) -> Result<Vec<u8>, StepError> {
    let held = match identity {
        None => match capabilities(None) {
            Ok(own) => own.permitted,
            Err(errno) => return Err(StepError::errno(Step::Filter.to_string(), "our own capabilities", errno)),
        },
        Some(Identity { uid: 0, capabilities, .. }) => CapabilitySet::from_bits_retain(capabilities.bounding),
        Some(Identity { capabilities, .. }) => CapabilitySet::from_bits_retain(capabilities.ambient),
    };
    seccomp::filter(wanted, held).map_err(|why| StepError::text(Step::Filter.to_string(), "", why))
}

fn make(make: &Make) -> yurt_keeper::Make {
    match make {
        Make::Directory { path } => yurt_keeper::Make { path: path.clone(), directory: true, ..Default::default() },
        Make::File { path, content, mode } => {
            yurt_keeper::Make { path: path.clone(), directory: false, content: content.clone(), mode: *mode }
        }
    }
}

fn limit(limit: &ResourceLimit) -> yurt_keeper::ResourceLimit {
    yurt_keeper::ResourceLimit { resource: limit.resource, soft: limit.soft, hard: limit.hard }
}

fn mount(mount: &Mount) -> yurt_keeper::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => yurt_keeper::Propagation::Private,
        Propagation::HostToTask => yurt_keeper::Propagation::HostToTask,
        Propagation::Bidirectional => yurt_keeper::Propagation::Bidirectional,
    };
    yurt_keeper::Mount {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        propagation: propagation.into(),
    }
}

/// Kind, numbers, mode and owner of a device are those of its node on the host now.
pub(crate) fn resolve(device: &Device) -> Result<(yurt_keeper::Device, Rule), StepError> {
    const STEP: &str = "looking at a device";
    let refused = |text: &str| StepError::text(STEP, device.source.clone(), text);
    let stat =
        rustix::fs::stat(&device.source).map_err(|errno| StepError::errno(STEP, device.source.clone(), errno))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => Kind::Block,
        FileType::CharacterDevice => Kind::Character,
        _ => return Err(refused("it is no device")),
    };
    if !device.access.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(refused(&format!("its permissions are {:?}, and they may hold r, w and m only", device.access)));
    }
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let access = if device.access.is_empty() { "rwm".to_owned() } else { device.access.clone() };
    let node = yurt_keeper::Device {
        path: device.target.clone(),
        block: kind == Kind::Block,
        major,
        minor,
        mode: stat.st_mode & 0o777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    Ok((node, Rule { kind, major: Some(major), minor: Some(minor), access }))
}
