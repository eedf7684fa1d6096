//! From the clone to `execve`: what the new process does to itself before it becomes the task. Each step that fails is reported with
//! its reason, and nothing goes on after it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use prost::Message as _;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use yurt_keeper::{Failed, Privileges, ResourceLimit, Step};

use crate::failure::{During as _, Failure, Outcome};
use crate::plan::Plan;
use crate::{cgroup, init, root, sys, wire};

/// First byte of what a child reports: ready to go, or a [`Failed`].
pub(crate) const READY: u8 = b'R';
pub(crate) const FAILED: u8 = b'F';

/// The clone's child. `report` closes when the task's program runs; `link` is init's way to the keeper.
pub(crate) fn run(plan: &Plan, report: OwnedFd, link: Option<OwnedFd>) -> ! {
    let outcome = become_task(plan, &report, link);
    let Err(Failure(failed)) = outcome;
    let mut bytes = vec![FAILED];
    bytes.extend(failed.encode_to_vec());
    let _ = wire::send(report.as_fd(), &bytes, &[]);
    sys::exit_now(127)
}

fn become_task(plan: &Plan, report: &OwnedFd, link: Option<OwnedFd>) -> Outcome<std::convert::Infallible> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (dir, name) in plan.cgroups_v1.iter().zip(&plan.start.controllers) {
        cgroup::enter(dir.as_fd(), name)?;
    }
    if let Some(network) = &plan.network {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(network.as_fd(), kind).during(Step::Network, "its file")?;
    }
    if plan.isolated() {
        root::enter(plan)?;
    }
    if let Some(link) = link.filter(|_| plan.with_init()) {
        init::start(plan, link)?;
    }
    limits(&plan.start.limits, plan.start.oom_score_adj)?;
    session()?;
    if let Some((stdout, stderr)) = &plan.streams {
        streams(stdout, stderr)?;
    }
    privileges(&plan.privileges)?;
    work_dir(&plan.start.work_dir)?;
    ready(report)?;
    Err(execute(&plan.start.argv, &plan.start.env))
}

/// Says that all is ready, and waits for the word to go. A keeper that is gone gives none.
fn ready(report: &OwnedFd) -> Outcome<()> {
    wire::send(report.as_fd(), &[READY], &[]).during(Step::State, "the keeper is gone")?;
    let (word, _) = wire::receive(report.as_fd()).during(Step::State, "the keeper is gone")?;
    if word.is_empty() { sys::exit_now(127) } else { Ok(()) }
}

/// Limits of the process itself, while it may still raise them.
pub(crate) fn limits(limits: &[ResourceLimit], oom_score_adj: i32) -> Outcome<()> {
    for limit in limits {
        let detail = format!("{} to {}:{}", limit.resource, limit.soft, limit.hard);
        sys::limit(limit.resource, limit.soft, limit.hard).during(Step::Limit, detail)?;
    }
    match fs::write("/proc/self/oom_score_adj", oom_score_adj.to_string()) {
        // Without privileges it may only be raised, and without /proc there is none.
        Err(why) if oom_score_adj == 0 && why.kind() != io::ErrorKind::Other => Ok(()),
        other => other.during(Step::OomScore, oom_score_adj),
    }
}

/// A session and a process group of its own.
pub(crate) fn session() -> Outcome<()> {
    rustix::process::setsid().map(drop).during(Step::Session, "setsid")
}

fn streams(stdout: &OwnedFd, stderr: &OwnedFd) -> Outcome<()> {
    // 0 is /dev/null already, and stays.
    sys::put_at(stdout.as_fd(), 1).during(Step::Streams, "stdout")?;
    sys::put_at(stderr.as_fd(), 2).during(Step::Streams, "stderr")
}

/// User, groups and capabilities. The bounding set first, which takes a capability itself; the ambient ones last, which take that they
/// are permitted.
pub(crate) fn privileges(wanted: &Privileges) -> Outcome<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if wanted.change {
        let bounding = CapabilitySet::from_bits_retain(wanted.bounding);
        for capability in CapabilitySet::all().difference(bounding).iter() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(why) => return Err(why).during(Step::Capabilities, format_args!("{capability:?}")),
            }
        }
        let groups: Vec<Gid> = wanted.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        rustix::thread::set_thread_groups(&groups).during(Step::Groups, format_args!("{:?}", wanted.groups))?;
        let gid = Gid::from_raw(wanted.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).during(Step::Groups, wanted.gid)?;
        let ambient = CapabilitySet::from_bits_retain(wanted.ambient & wanted.bounding);
        if wanted.uid != 0 && !ambient.is_empty() {
            rustix::thread::set_keep_capabilities(true).during(Step::Capabilities, "keeping them")?;
        }
        let uid = Uid::from_raw(wanted.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).during(Step::User, wanted.uid)?;
        let (kept, inheritable) = if wanted.uid == 0 { (bounding, CapabilitySet::empty()) } else { (ambient, ambient) };
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
        rustix::thread::set_capabilities(None, sets).during(Step::Capabilities, format_args!("{kept:?}"))?;
        if wanted.uid != 0 {
            for capability in ambient.iter() {
                rustix::thread::configure_capability_in_ambient_set(capability, true)
                    .during(Step::Capabilities, format_args!("{capability:?}"))?;
            }
        }
    }
    if wanted.no_new_privs {
        rustix::thread::set_no_new_privs(true).during(Step::NoNewPrivileges, "")?;
    }
    Ok(())
}

pub(crate) fn work_dir(dir: &[u8]) -> Outcome<()> {
    if dir.is_empty() {
        return Ok(());
    }
    rustix::process::chdir(dir).during(Step::WorkDir, String::from_utf8_lossy(dir))
}

/// Becomes the program, which is looked up in `PATH` unless it is a path.
pub(crate) fn execute(argv: &[Vec<u8>], env: &[Vec<u8>]) -> Failure {
    let strings =
        |words: &[Vec<u8>]| words.iter().map(|word| CString::new(word.as_slice())).collect::<Result<Vec<_>, _>>();
    let (Ok(argv), Ok(env)) = (strings(argv), strings(env)) else {
        return Failure::new(Step::Execute, "an argument or a variable holds a NUL");
    };
    let Some(program) = argv.first() else { return Failure::new(Step::Execute, "there is no program") };
    sys::default_signals();
    let name = program.to_string_lossy().into_owned();
    if program.to_bytes().contains(&b'/') {
        return failed(Step::Execute, sys::execute(program, &argv, &env), name);
    }
    let path = env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    let mut found = None;
    for dir in path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty()) {
        let Ok(whole) = CString::new([dir, b"/", program.to_bytes()].concat()) else { continue };
        let why = sys::execute(&whole, &argv, &env);
        if why.kind() != io::ErrorKind::NotFound && why.raw_os_error() != Some(libc::ENOTDIR) {
            found = Some(failed(Step::Execute, why, whole.to_string_lossy().into_owned()));
        }
    }
    found.unwrap_or_else(|| {
        Failure(Failed {
            step: Step::Lookup.number(),
            errno: libc::ENOENT,
            detail: format!("{name} in {}", String::from_utf8_lossy(path)),
        })
    })
}

fn failed(step: Step, why: io::Error, detail: String) -> Failure {
    Failure(Failed { step: step.number(), errno: why.raw_os_error().unwrap_or_default(), detail })
}

/// A pair of connected sockets that keep records apart.
pub(crate) fn pair() -> Outcome<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during(Step::Clone, "a socket pair")
}

/// The number of a descriptor, for `/proc/self/fd`.
pub(crate) fn by_number(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
