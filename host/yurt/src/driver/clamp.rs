//! A plan held against what the operator grants. What is refused is named: the plan's field, what it asks for, and the grant that
//! would allow it. A guest can be wrong; it cannot widen.

use yurt_guest::driver as wit;

use super::caps::Caps;
use super::config::{Grants, Isolation};
use super::glob;
use super::ids::{Denied, Ids};
use super::limits;
use super::memo::{Action, StopStep};
use super::prepare::{self, Step};
use super::signals;
use super::unveil::{self, Granted};

/// Longest note that becomes an event, in characters.
const NOTE_MAX: usize = 400;

/// What is left of a plan when all of it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clamped {
    /// Of a component: its path, and its arguments.
    pub(crate) argv: Vec<String>,
    /// The program is a component.
    pub(crate) component: Option<Component>,
    pub(crate) prepare: Vec<Step>,
    /// Set or replaced, in order.
    pub(crate) env: Vec<(String, Source)>,
    /// Globs.
    pub(crate) env_drop: Vec<String>,
    pub(crate) work_dir: Option<String>,
    /// Who it runs as: the job's word first.
    pub(crate) user: Option<String>,
    pub(crate) private_pid: bool,
    pub(crate) private_ipc: bool,
    pub(crate) private_uts: bool,
    pub(crate) private_user: bool,
    pub(crate) private_cgroup: bool,
    pub(crate) private_time: bool,
    pub(crate) init: bool,
    pub(crate) read_only_root: bool,
    pub(crate) unveil: Vec<Granted>,
    /// Most that any program of it can get.
    pub(crate) bounding: Caps,
    /// Those that were asked for by name.
    pub(crate) limits: yurt_task::Limits,
    /// The same as they were asked for.
    pub(crate) asked_limits: Vec<(String, String)>,
    /// A profile of system calls by its name; which one it gets is for the operator's profiles to say.
    pub(crate) seccomp: Option<String>,
    /// Control groups instead of the agent's.
    pub(crate) elsewhere: Vec<yurt_task::Elsewhere>,
    /// Ids that this driver's configuration denies.
    pub(crate) denied: Denied,
    pub(crate) signals: Vec<(i32, Action)>,
    pub(crate) stop: Vec<StopStep>,
    pub(crate) exec_prefix: Vec<String>,
    pub(crate) exit_notes: Vec<(i32, String)>,
    pub(crate) note: Option<String>,
}

impl Clamped {
    pub(crate) fn namespaces(&self) -> yurt_task::Namespaces {
        yurt_task::Namespaces {
            pid: self.private_pid,
            init: self.init,
            ipc: self.private_ipc,
            uts: self.private_uts,
            user: self.private_user,
            cgroup: self.private_cgroup,
            time: self.private_time,
        }
    }
}

/// A component that is the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// Absolute, on the host; in the task's own directories, as those that follow.
    pub(crate) path: String,
    pub(crate) directories: Vec<Directory>,
    /// Labels of ports.
    pub(crate) listen: Vec<String>,
}

/// A directory that a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) host_side: String,
    pub(crate) guest_side: String,
    pub(crate) read_only: bool,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Text(String),
    SameAs(String),
    /// A directory, and the variable that lists those after it.
    Before(String, String),
}

/// Holds `plan` against `grants`. `job_user` is who the job says that the task runs as.
pub(crate) fn clamp(
    plan: wit::LaunchPlan,
    grants: &Grants,
    isolation: Isolation,
    job_user: Option<&str>,
) -> Result<Clamped, String> {
    let (argv, component) = match plan.program {
        wit::Program::Native(argv) => (argv, None),
        wit::Program::Component(run) => component(run, isolation)?,
    };
    command("program", &argv)?;
    let user = user(plan.user, grants, job_user)?;
    let wishes = plan.wishes;
    let private = |field: &str, wish: wit::Sharing| shared(field, wish, grants, isolation);
    let (private_pid, private_ipc, private_uts) =
        (private("pid", wishes.pid)?, private("ipc", wishes.ipc)?, private("uts", wishes.uts)?);
    let private_user = narrower("user", wishes.user, isolation)?;
    let private_cgroup = narrower("cgroup", wishes.cgroup, isolation)?;
    let private_time = narrower("time", wishes.time, isolation)?;
    if let Some(profile) = wishes.seccomp.as_ref().filter(|_| component.is_some()) {
        let why = "a component has a filter of its own";
        return Err(refused("wishes.seccomp", &format!("the profile {profile:?}"), why));
    }
    if wishes.read_only_root && !isolation.has_a_root() {
        let why = format!("with yurt.isolation = {:?} a task has no root of its own", isolation.name());
        return Err(refused("wishes.read-only-root", "a read-only root", &why));
    }
    let unveil = unveiled(&wishes.mounts, grants, isolation)?;
    let bounding = capabilities(&wishes.caps_add, &wishes.caps_drop, grants)?;
    let limits = wanted_limits(&wishes.limits, grants)?;
    let elsewhere = wishes.cgroups.into_iter().map(|wish| cgroup(wish, grants)).collect::<Result<_, _>>()?;
    let ids = |ranges: Vec<wit::IdRange>| Ids::of(ranges.into_iter().map(|range| (range.first, range.last)));
    let denied = Denied { uids: ids(wishes.deny_uids), gids: ids(wishes.deny_gids) };
    if let Some(dir) = plan.work_dir.as_deref().filter(|dir| !dir.starts_with('/') || dir.contains('\0')) {
        return Err(format!("the plan's work-dir {dir:?} is no absolute path"));
    }
    if !plan.exec_prefix.is_empty() {
        command("exec-prefix", &plan.exec_prefix)?;
    }
    Ok(Clamped {
        argv,
        component,
        prepare: prepare::clamped(plan.prepare)?,
        env: plan.env.into_iter().map(variable).collect::<Result<_, _>>()?,
        env_drop: plan.env_drop,
        work_dir: plan.work_dir,
        user,
        private_pid,
        private_ipc,
        private_uts,
        private_user,
        private_cgroup,
        private_time,
        init: wishes.init && private_pid,
        read_only_root: wishes.read_only_root,
        unveil,
        bounding,
        limits,
        asked_limits: wishes.limits.into_iter().map(|limit| (limit.name, limit.value)).collect(),
        seccomp: wishes.seccomp,
        elsewhere,
        denied,
        signals: plan.signals.into_iter().map(rule).collect::<Result<_, _>>()?,
        stop: plan.stop.into_iter().map(stop_step).collect::<Result<_, _>>()?,
        exec_prefix: plan.exec_prefix,
        exit_notes: plan.exit_notes.into_iter().map(|note| (note.code, note.text)).collect(),
        note: plan.note.map(|note| note.chars().take(NOTE_MAX).collect()),
    })
}

/// `the plan's wishes.pid asks for …, which is not granted: …`
pub(super) fn refused(field: &str, what: &str, why: &str) -> String {
    format!("the plan's {field} asks for {what}, which is not granted: {why}")
}

/// Directories that come open at once with everything else.
const DIRECTORIES_MAX: usize = 16;

/// Its words, and what it gets. Where the paths lead is seen when they are opened.
fn component(run: wit::ComponentRun, isolation: Isolation) -> Result<(Vec<String>, Option<Component>), String> {
    if isolation != Isolation::None {
        let why = "a component sees nothing of the host anyway, and what runs it would find nothing in another root: \
                   leave yurt.isolation out, or set it to \"none\"";
        return Err(refused("program", "a component in a root of its own", why));
    }
    let wit::ComponentRun { path, args, directories, listen } = run;
    if directories.len() > DIRECTORIES_MAX {
        return Err(format!(
            "the plan's program has {} directories: at most {DIRECTORIES_MAX} are taken",
            directories.len()
        ));
    }
    let texts = directories.iter().flat_map(|one| [&one.host_side, &one.guest_side]).chain([&path]);
    if let Some(text) = texts.into_iter().find(|text| !text.starts_with('/') || text.contains('\0')) {
        return Err(format!("the plan's program: {text:?} is no absolute path"));
    }
    let directories = directories.into_iter().map(|wit::Directory { host_side, guest_side, read_only }| Directory {
        host_side,
        guest_side,
        read_only,
    });
    let component = Component { path: path.clone(), directories: directories.collect(), listen };
    Ok(([vec![path], args].concat(), Some(component)))
}

fn user(planned: Option<String>, grants: &Grants, job: Option<&str>) -> Result<Option<String>, String> {
    match (job, planned) {
        (Some(job), _) => Ok(Some(job.to_owned())),
        (None, Some(user)) if !grants.users.contains(&user) => {
            let granted = if grants.users.is_empty() { "nobody at all".to_owned() } else { grants.users.join(", ") };
            Err(refused("user", &format!("the user {user:?}"), &format!("yurt.grants.users has {granted}")))
        }
        (None, user) => Ok(user),
    }
}

/// Whether the task gets a namespace of its own. Without isolation there is nothing to keep apart.
fn shared(field: &str, wish: wit::Sharing, grants: &Grants, isolation: Isolation) -> Result<bool, String> {
    match (wish, isolation) {
        (_, Isolation::None) => Ok(false),
        (wit::Sharing::Private, _) => Ok(true),
        (wit::Sharing::Host, _) if grants.share.iter().any(|name| name == field) => Ok(false),
        (wit::Sharing::Host, _) => Err(refused(
            &format!("wishes.{field}"),
            &format!("the host's {field} namespace"),
            &format!("yurt.grants.share lacks {field:?}"),
        )),
    }
}

/// The same of a namespace that only takes away, and so takes no grant: whoever asks for it is not to go without.
fn narrower(field: &str, wish: wit::Sharing, isolation: Isolation) -> Result<bool, String> {
    match (wish, isolation) {
        (wit::Sharing::Host, _) => Ok(false),
        (wit::Sharing::Private, Isolation::None) => Err(refused(
            &format!("wishes.{field}"),
            &format!("a {field} namespace of its own"),
            "with yurt.isolation = \"none\" tasks have the host's",
        )),
        (wit::Sharing::Private, _) => Ok(true),
    }
}

/// Of a task without a root of its own: paths of the host that are to be as they are, each by its mode and path (`rx:/opt/tools`).
fn unveiled(wishes: &[wit::MountWish], grants: &Grants, isolation: Isolation) -> Result<Vec<Granted>, String> {
    let one = |mount: &wit::MountWish| {
        let no = |why: &str| Err(refused("wishes.mounts", &format!("the mount {:?}", mount.name), why));
        let Ok(wanted) = unveil::parse(&mount.name) else { return no("no mount of that name is granted") };
        if isolation != Isolation::Landlock {
            return no(&format!("with yurt.isolation = {:?} nothing is unveiled", isolation.name()));
        }
        if wanted.path != mount.task_path || (mount.read_only && (wanted.access.write || wanted.access.create)) {
            return no("it contradicts the mount's path or its read-only");
        }
        wanted.granted(&grants.unveil).map_or_else(|| no("yurt.grants.unveil does not name it"), Ok)
    };
    wishes.iter().map(one).collect()
}

fn capabilities(add: &[String], drop: &[String], grants: &Grants) -> Result<Caps, String> {
    let wanted = Caps::named(add).map_err(|why| format!("the plan's wishes.caps-add: {why}"))?;
    let dropped = Caps::named(drop).map_err(|why| format!("the plan's wishes.caps-drop: {why}"))?;
    let granted = Caps(Caps::nomad().0 | grants.capabilities.0);
    let beyond = wanted.beyond(granted);
    if !beyond.is_empty() {
        let why = "yurt.grants.capabilities does not name them";
        return Err(refused("wishes.caps-add", &format!("the capabilities {}", beyond.join(", ")), why));
    }
    Ok(Caps((Caps::nomad().0 & !dropped.0) | wanted.0))
}

fn wanted_limits(wishes: &[wit::Limit], grants: &Grants) -> Result<yurt_task::Limits, String> {
    let mut wanted = yurt_task::Limits::default();
    for wit::Limit { name, value } in wishes {
        if !limits::is_known(name) {
            return Err(format!("the plan's wishes.limits: {name:?} is no limit that can be set"));
        }
        if !grants.limits.contains(name) && !limits::needs_no_grant(name, value) {
            return Err(refused("wishes.limits", &format!("{name} = {value}"), "yurt.grants.limits does not name it"));
        }
        limits::add(&mut wanted, name, value)
            .map_err(|why| format!("the plan's wishes.limits: {name} = {value:?} is {why}"))?;
    }
    Ok(wanted)
}

/// A path from where control groups are mounted; an absolute one on the host leads there, too.
fn cgroup(wish: wit::CgroupWish, grants: &Grants) -> Result<yurt_task::Elsewhere, String> {
    const MOUNT: &str = "/sys/fs/cgroup";
    let wit::CgroupWish { controller, path } = wish;
    let within = path.strip_prefix(MOUNT).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let within = match (&controller, within) {
        (Some(controller), Some(rest)) => {
            rest.strip_prefix(&format!("/{controller}")).filter(|rest| rest.starts_with('/')).unwrap_or(rest)
        }
        (None, Some(rest)) => rest,
        (_, None) => &path,
    };
    let parts: Vec<&str> = within.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(format!("the plan's wishes.cgroups: {path:?} is no path without .."));
    }
    let within = parts.join("/");
    if !grants.cgroups.iter().any(|pattern| glob::matches(pattern, &format!("/{within}"))) {
        let what = format!("the control group /{within}");
        return Err(refused("wishes.cgroups", &what, "yurt.grants.cgroups does not name it"));
    }
    Ok(yurt_task::Elsewhere { controller, path: within.into() })
}

fn variable(edit: wit::EnvEdit) -> Result<(String, Source), String> {
    let wit::EnvEdit { name, value } = edit;
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("the plan's env: {name:?} is no name of a variable"));
    }
    let source = match value {
        wit::EnvSource::Text(text) if text.contains('\0') => {
            return Err(format!("the plan's env: the value of {name} holds a NUL"));
        }
        wit::EnvSource::Text(text) => Source::Text(text),
        wit::EnvSource::SameAs(other) => Source::SameAs(other),
        wit::EnvSource::Before(head) if head.directory.contains('\0') => {
            return Err(format!("the plan's env: the directory before {name} holds a NUL"));
        }
        wit::EnvSource::Before(head) => Source::Before(head.directory, head.name),
    };
    Ok((name, source))
}

fn rule(rule: wit::SignalRule) -> Result<(i32, Action), String> {
    Ok((signal("signals", &rule.signal)?, action("signals", rule.action)?))
}

fn stop_step(step: wit::StopStep) -> Result<StopStep, String> {
    Ok(StopStep { action: action("stop", step.action)?, wait_milliseconds: step.wait_milliseconds })
}

fn action(field: &str, action: wit::SignalAction) -> Result<Action, String> {
    Ok(match action {
        wit::SignalAction::Main(name) => Action::Main(signal(field, &name)?),
        wit::SignalAction::All(name) => Action::All(signal(field, &name)?),
        wit::SignalAction::Command(words) => {
            command(field, &words)?;
            Action::Command(words)
        }
    })
}

fn signal(field: &str, name: &str) -> Result<i32, String> {
    signals::number(name).map_err(|why| format!("the plan's {field}: {why}"))
}

fn command(field: &str, words: &[String]) -> Result<(), String> {
    if words.first().is_none_or(String::is_empty) {
        return Err(format!("the plan's {field} names no program"));
    }
    match words.iter().find(|word| word.contains('\0')) {
        Some(word) => Err(format!("the plan's {field}: {word:?} holds a NUL")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "clamp_tests.rs"]
mod tests;
