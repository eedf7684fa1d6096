//! From the clone to `execve`: what the new process does to itself before it becomes the task. Each step that fails is reported with
//! its reason, and nothing goes on after it.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use prost::Message as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, capabilities, configure_capability_in_ambient_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use yurt_keeper::{Failed, Isolation, Make, Privileges, ResourceLimit, Start, Step};

use crate::failure::{During as _, Failure, Outcome};
use crate::plan::Plan;
use crate::root::{self, Root};
use crate::{init, namespaces, sys, wire};

/// First byte of what a child reports: ready to go; a [`Failed`]; a user namespace in which there are no ids yet; a terminal comes with it.
const READY: u8 = b'R';
const FAILED: u8 = b'F';
pub(crate) const UNMAPPED: u8 = b'U';
pub(crate) const TERMINAL: u8 = b'T';

/// What a child reports.
#[derive(PartialEq)]
pub(crate) enum Word {
    /// It is ready; and why directories of the host are read-only that should not be.
    Ready(Option<Failed>),
    /// It waits for the ids of its user namespace.
    Unmapped,
    /// It is a program now, or gone.
    Gone,
}

/// Reads a report.
pub(crate) fn word(bytes: &[u8]) -> Outcome<Word> {
    match bytes.split_first() {
        None => Ok(Word::Gone),
        Some((&FAILED, failed)) => Err(Failure(Failed::decode(failed).unwrap_or_default())),
        Some((&UNMAPPED, _)) => Ok(Word::Unmapped),
        Some((_, [])) => Ok(Word::Ready(None)),
        Some((_, read_only)) => Ok(Word::Ready(Failed::decode(read_only).ok())),
    }
}

/// The last word of a child that cannot go on.
pub(crate) fn give_up(report: &OwnedFd, Failure(failed): Failure) -> ! {
    let mut bytes = vec![FAILED];
    bytes.extend(failed.encode_to_vec());
    let _ = wire::send(report, &bytes, &[]);
    sys::exit_now(127)
}

/// The clone's child. `report` closes when the task's program runs; `link` is init's way to the keeper.
pub(crate) fn run(plan: &Plan, born_there: bool, report: &OwnedFd, link: OwnedFd) -> ! {
    let failure = match get_ready(plan, born_there, report, link) {
        Ok(()) => match &plan.program {
            None => execute(&plan.start.argv, &plan.start.env),
            Some(program) => execute_open(plan, program, report),
        },
        Err(failure) => failure,
    };
    give_up(report, failure)
}

fn get_ready(plan: &Plan, born_there: bool, report: &OwnedFd, link: OwnedFd) -> Outcome<()> {
    let start = &plan.start;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    plan.groups.enter(None, born_there)?;
    oom_score(start.oom_score_adj)?;
    if let Some(network) = &plan.network {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .during(Step::Network, "its file")?;
    }
    let root = plan.root.as_ref().map(|root| Root::gather(root, plan.work.as_ref(), start)).transpose()?;
    if let Some(mounts) = &plan.mounts {
        // Where that is refused, it is a copy of all mounts.
        let _ = move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount));
    }
    namespaces::unshare(unshared(start), Step::Namespaces, "one of user.max_*_namespaces")?;
    let mut read_only = None;
    if let Some((root, why)) = root {
        root.enter(start)?;
        read_only = why;
    } else if let Some(ruleset) = &plan.ruleset {
        root::restrict(start, ruleset)?;
    }
    session()?;
    if start.private_user {
        raise(&start.limits)?;
        namespaces::enter_users(report)?;
    }
    if plan.with_init() {
        init::start(plan, &link)?;
        // Init leads the session: whoever does takes the first terminal that it opens for its own, and is hung up when that is unplugged.
        rustix::process::setpgid(None, None).during(Step::Session, "setpgid")?;
    }
    drop(link);
    limits(&start.limits)?;
    if let Some((stdout, stderr)) = &plan.streams {
        streams(stdout, stderr)?;
    }
    settle(plan)?;
    start.makes.iter().try_for_each(make)?;
    await_word(report, read_only.as_ref())
}

/// Those that are made at one blow.
fn unshared(start: &Start) -> UnshareFlags {
    let kinds = [
        (start.isolation() != Isolation::None, UnshareFlags::NEWNS),
        (start.private_ipc, UnshareFlags::NEWIPC),
        (start.private_uts, UnshareFlags::NEWUTS),
        // Of the groups that it has just entered.
        (start.private_cgroup, UnshareFlags::NEWCGROUP),
    ];
    kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
}

/// Says that all is ready, and waits for the word to go. A keeper that is gone gives none.
fn await_word(report: &OwnedFd, read_only: Option<&Failed>) -> Outcome<()> {
    let mut ready = vec![READY];
    ready.extend(read_only.map(Failed::encode_to_vec).unwrap_or_default());
    wire::send(report, &ready, &[]).during(Step::State, "the keeper is gone")?;
    let (word, _) = wire::receive(report).during(Step::State, "the keeper is gone")?;
    if word.is_empty() { sys::exit_now(127) } else { Ok(()) }
}

/// Whom the kernel ends first when memory is short. Of what it is already nothing is written, since that may take a privilege.
pub(crate) fn oom_score(wanted: i32) -> Outcome<()> {
    let path = "/proc/self/oom_score_adj";
    if fs::read_to_string(path).is_ok_and(|is| is.trim().parse() == Ok(wanted)) {
        return Ok(());
    }
    fs::write(path, wanted.to_string()).during(Step::OomScore, wanted)
}

/// Limits of the process itself, while it may still raise them.
pub(crate) fn limits(limits: &[ResourceLimit]) -> Outcome<()> {
    limits.iter().try_for_each(|limit| set(limit, limit.soft, limit.hard))
}

fn set(limit: &ResourceLimit, soft: u64, hard: u64) -> Outcome<()> {
    sys::limit(limit.resource, soft, hard).during(Step::Limit, format_args!("{} to {soft}:{hard}", limit.resource))
}

/// Limits that are to be higher, as far as that: nobody raises one in a user namespace, and what is counted for all of it is bounded by
/// what held where it was made.
fn raise(limits: &[ResourceLimit]) -> Outcome<()> {
    for limit in limits {
        let (soft, hard) = sys::limit_now(limit.resource).during(Step::Limit, limit.resource)?;
        set(limit, soft.max(limit.soft), hard.max(limit.hard))?;
    }
    Ok(())
}

/// A session and a process group of its own.
pub(crate) fn session() -> Outcome<()> {
    rustix::process::setsid().map(drop).during(Step::Session, "setsid")
}

fn streams(stdout: &OwnedFd, stderr: &OwnedFd) -> Outcome<()> {
    // That of the task's own root.
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.during(Step::Streams, "/dev/null")?;
    for (number, stream) in (0..).zip([&null, stdout, stderr]) {
        sys::put_at(stream.as_fd(), number).during(Step::Streams, number)?;
    }
    Ok(())
}

/// A directory or a file, as the user that it is now: nothing is made where the task itself could not make it.
fn make(wanted: &Make) -> Outcome<()> {
    let failed = |what: io::Result<()>| what.during(Step::Make, &wanted.path);
    if wanted.directory {
        return failed(fs::create_dir_all(&wanted.path));
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(&wanted.path);
    failed(file.and_then(|mut file| {
        // Not what a pipe or a device would make of it.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        file.write_all(&wanted.content)?;
        file.set_permissions(fs::Permissions::from_mode(wanted.mode & 0o777))
    }))
}

/// The last of what task and commands have in common: who they are, where they begin, what they find set.
pub(crate) fn settle(plan: &Plan) -> Outcome<()> {
    confine(plan)?;
    // As the user that it is now: nobody is put where he could not have gone.
    let dir = &plan.start.work_dir;
    if !dir.is_empty() {
        rustix::process::chdir(dir.as_slice()).during(Step::WorkDir, String::from_utf8_lossy(dir))?;
    }
    sys::close_on_execute(3);
    sys::default_signals();
    Ok(())
}

/// Who it is, which paths it may use and which system calls it may make. Rules take either `no_new_privs` or a capability that goes with
/// the privileges.
pub(crate) fn confine(plan: &Plan) -> Outcome<()> {
    let rules = || {
        plan.ruleset.as_ref().map_or(Ok(()), sys::restrict).during(Step::Landlock, "landlock_restrict_self")?;
        filter(&plan.start.filter)
    };
    if plan.privileges.no_new_privs {
        privileges(&plan.privileges)?;
        rules()
    } else {
        rules()?;
        privileges(&plan.privileges)
    }
}

fn filter(program: &[u8]) -> Outcome<()> {
    if program.is_empty() { Ok(()) } else { sys::filter(program).during(Step::Filter, "seccomp") }
}

/// User, groups and capabilities. The bounding set first, which takes a capability itself; the ambient ones last, which take that they
/// are permitted.
fn privileges(wanted: &Privileges) -> Outcome<()> {
    if wanted.change {
        // Also those that this program has no name for.
        let unbound = (0..64).map(|number| 1 << number).filter(|bit| wanted.bounding & bit == 0);
        for capability in unbound.map(CapabilitySet::from_bits_retain) {
            match remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(why) => return Err(why).during(Step::Capabilities, format_args!("{capability:?}")),
            }
        }
        let groups: Vec<Gid> = wanted.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups).during(Step::Groups, format_args!("{:?}", wanted.groups))?;
        let gid = Gid::from_raw(wanted.gid);
        set_thread_res_gid(gid, gid, gid).during(Step::Groups, wanted.gid)?;
        let ambient = CapabilitySet::from_bits_retain(wanted.ambient);
        set_keep_capabilities(true).during(Step::Capabilities, "keeping them")?;
        let uid = Uid::from_raw(wanted.uid);
        set_thread_res_uid(uid, uid, uid).during(Step::User, wanted.uid)?;
        set_keep_capabilities(false).during(Step::Capabilities, "keeping them no longer")?;
        let (kept, inheritable) = if uid.is_root() {
            let has = capabilities(None).during(Step::Capabilities, "reading them")?.permitted;
            (has & CapabilitySet::from_bits_retain(wanted.bounding), CapabilitySet::empty())
        } else {
            (ambient, ambient)
        };
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
        set_capabilities(None, sets).during(Step::Capabilities, format_args!("{kept:?}"))?;
        if !uid.is_root() {
            for capability in ambient.iter() {
                configure_capability_in_ambient_set(capability, true)
                    .during(Step::Capabilities, format_args!("{capability:?}"))?;
            }
        }
    }
    if wanted.no_new_privs {
        set_no_new_privs(true).during(Step::NoNewPrivileges, "prctl")?;
    }
    Ok(())
}

/// Nobody of the same user may look into this process, until it is another program.
pub(crate) fn unreadable() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Becomes a program that came open, with what came open for it. Comes back only with the reason why not.
fn execute_open(plan: &Plan, program: &OwnedFd, report: &OwnedFd) -> Failure {
    const WHAT: &str = "a program that came open";
    let (Some(argv), Some(env)) = (strings(&plan.start.argv), strings(&plan.start.env)) else {
        return Failure::new(Step::Execute, "an argument or a variable holds a NUL");
    };
    let places: Vec<_> = (3..).zip(&plan.open).collect();
    let end = places.last().map_or(3, |(number, _)| number + 1);
    // All of it came in one record, after more than the places are low: nothing that is still needed stands in one.
    let in_the_way = places.iter().any(|(number, file)| file.as_raw_fd() < *number)
        || [program, report].into_iter().any(|needed| needed.as_raw_fd() < end);
    if in_the_way {
        return Failure::new(Step::Execute, "descriptors of the start stand where the program's belong");
    }
    for (number, file) in places {
        if let Err(failure) = sys::put_at(file.as_fd(), number).during(Step::Execute, number) {
            return failure;
        }
    }
    Failure(Failed {
        step: Step::Execute.number(),
        errno: sys::execute_open(program.as_fd(), &argv, &env).raw_os_error(),
        detail: WHAT.to_owned(),
    })
}

fn strings(words: &[Vec<u8>]) -> Option<Vec<CString>> {
    words.iter().map(|word| CString::new(word.as_slice()).ok()).collect()
}

/// Becomes the program, which is looked up in `PATH` unless it is a path. Comes back only with the reason why not.
pub(crate) fn execute(argv: &[Vec<u8>], env: &[Vec<u8>]) -> Failure {
    let (Some(argv), Some(env)) = (strings(argv), strings(env)) else {
        return Failure::new(Step::Execute, "an argument or a variable holds a NUL");
    };
    let Some(program) = argv.first() else { return Failure::new(Step::Execute, "there is no program") };
    if program.to_bytes().contains(&b'/') {
        return not_executed(program, sys::execute(program, &argv, &env));
    }
    let path = env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    let mut refused = None;
    for dir in path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty()) {
        let Ok(whole) = CString::new([dir, b"/", program.to_bytes()].concat()) else { continue };
        match sys::execute(&whole, &argv, &env) {
            Errno::NOENT if fs::metadata(as_path(&whole)).is_ok() => return not_executed(&whole, Errno::NOENT),
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => {
                refused.get_or_insert(whole);
            }
            why => return not_executed(&whole, why),
        }
    }
    match refused {
        Some(whole) => not_executed(&whole, Errno::ACCESS),
        None => {
            let detail = format!("{} in {}", program.to_string_lossy(), String::from_utf8_lossy(path));
            Failure(Failed { step: Step::Lookup.number(), errno: libc::ENOENT, detail })
        }
    }
}

fn not_executed(program: &CString, why: Errno) -> Failure {
    let mut detail = program.to_string_lossy().into_owned();
    if why == Errno::NOENT && fs::metadata(as_path(program)).is_ok() {
        detail += ", which is there, but not its interpreter or loader";
    }
    Failure(Failed { step: Step::Execute.number(), errno: why.raw_os_error(), detail })
}

fn as_path(program: &CString) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(program.to_bytes()))
}

/// The name of a descriptor.
pub(crate) fn by_number(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
