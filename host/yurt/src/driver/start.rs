//! Job → plan → launch: the guest's plan, clamped, with what Nomad gives the task, in the terms of the task room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use yurt_guest::driver as wit;
use yurt_guest::{DriverLogic, GuestError, Runtime};
use yurt_nomad::config::{from_msgpack, to_msgpack};
use yurt_nomad::driver::{MemoryMax, NetworkMode, PluginError, StartError, TaskConfig, Topology};
use yurt_task::{
    Capabilities, Cgroup, Device, File, HostPaths, Identity, Launch, Limits, Mount, Propagation, RootDirectory,
    Seccomp, Secret,
};

use super::clamp::{Clamped, Source};
use super::config::{DriverConfig, Grants, Isolation};
use super::devices::Devices;
use super::look::{PATH, Place};
use super::memo::Memo;
use super::prepare::Step;
use super::{component, glob, unveil, view};
use crate::diagnostics::{located, refusal, sentence};
use crate::driver_side::{DriverSide, Planned as Heard, Serving};
use crate::guest_call::blocking;

/// What a start goes by besides the request itself.
pub(crate) struct Terms<'a> {
    pub(crate) side: &'a DriverSide,
    pub(crate) serving: &'a Serving,
    /// What the node's probes found last.
    pub(crate) findings: &'a [wit::Finding],
    pub(crate) topology: Option<&'a Topology>,
    pub(crate) runtime: &'a Runtime,
}

impl Terms<'_> {
    fn logic(&self) -> &DriverLogic {
        &self.serving.guest.logic
    }

    fn isolation(&self) -> Isolation {
        self.serving.host.isolation
    }

    fn block(&self) -> &DriverConfig {
        &self.serving.host.block
    }
}

/// Why there is no launch.
pub(crate) enum Failure {
    /// The guest failed: another may not.
    Guest(GuestError),
    /// The operator does not grant what it plans.
    Refused(String),
    Start(StartError),
}

impl<E: Into<StartError>> From<E> for Failure {
    fn from(why: E) -> Failure {
        Failure::Start(why.into())
    }
}

/// A launch, the plan's memo in it, and what people are to be told about it.
pub(crate) struct Planned {
    pub(crate) launch: Launch,
    /// What goes before it.
    pub(crate) prepare: Vec<Step>,
    pub(crate) note: Option<String>,
    pub(crate) warnings: Vec<String>,
}

/// The directory of a task on the host.
pub(super) fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

/// Knows the same request again, however often an agent sends it. Of what may be secret it keeps no more than a check sum.
pub(crate) fn request_digest(task: &TaskConfig, config: &Value) -> Vec<u8> {
    let mut sum = Sha256::new();
    for part in [
        task.id.as_bytes(),
        config.to_string().as_bytes(),
        task.user.as_deref().unwrap_or_default().as_bytes(),
        format!("{:?} {:?} {:?} {:?}", task.resources, task.mounts, task.devices, task.network).as_bytes(),
        task.alloc_dir.as_bytes(),
        task.stdout_path.as_bytes(),
        task.stderr_path.as_bytes(),
    ] {
        sum.update(part.len().to_le_bytes());
        sum.update(part);
    }
    for (name, value) in &task.env.0 {
        sum.update(name.len().to_le_bytes());
        sum.update(name);
        sum.update(value.len().to_le_bytes());
        sum.update(value);
    }
    sum.finalize().to_vec()
}

/// Why a task did not start, and what the operator can do about it.
pub(crate) fn sentence_on(why: &yurt_task::StartError) -> String {
    match why {
        yurt_task::StartError::Step(step) if step.is_seccomp() => {
            format!("{step}; where the kernel has no filters, yurt {{ seccomp = \"none\" }} starts tasks without one")
        }
        _ => why.to_string(),
    }
}

/// Asks the guest, and makes a launch of what it plans. Nothing is started, nothing made.
pub(crate) async fn plan(terms: &Terms<'_>, task: &TaskConfig, config: &Value) -> Result<Planned, Failure> {
    // It was evaluated by the schema of a moment ago, which may have grown.
    let config = from_msgpack(&to_msgpack(config), &terms.serving.guest.task_schema)
        .map_err(|why| PluginError::invalid_argument(why.to_string()))?;
    let grants = terms.block().grants_for(&task.namespace).map_err(PluginError::failed_precondition)?;
    let text = config.to_string();
    let mut warnings = checked(terms, &text).await?;
    let plan = planned(terms, grants, task, &text).await?;
    let clamped = terms.block().profiles.clamp(plan, grants, terms.isolation(), task.user.as_deref());
    let (mut clamped, seccomp) = clamped.map_err(|why| {
        let whose = terms.block().whose_grants(&task.namespace);
        Failure::Refused(format!("guest {}: {why}{whose}", terms.logic().about().name))
    })?;
    let prepare = std::mem::take(&mut clamped.prepare);
    let mut devices = Devices::default();
    if terms.isolation().has_a_root() {
        let (followed, unbelieved) = Devices::of(task);
        devices = followed;
        warnings.extend(unbelieved);
    }
    let memo = Memo {
        devices,
        task_name: task.name.clone(),
        alloc_id: task.alloc_id.clone(),
        guest: terms.logic().digest().to_owned(),
        signals: clamped.signals.clone(),
        stop: clamped.stop.clone(),
        exec_prefix: clamped.exec_prefix.clone(),
        exit_notes: clamped.exit_notes.clone(),
        component: clamped.component.is_some(),
    };
    let note = clamped.note.clone();
    let precondition = |why: String| StartError::from(PluginError::failed_precondition(why));
    plain(task).map_err(precondition)?;
    let who = who(terms, grants, &clamped).await.map_err(precondition)?;
    let component = component(terms, grants, task, &clamped, who.as_ref()).await.map_err(precondition)?;
    if component.is_some() && !prepare.is_empty() {
        return Err(precondition("the plan's prepare has steps, and a component has none before it".to_owned()).into());
    }
    let mut launch = launch(terms, task, &config, clamped, (who, seccomp), &memo)?;
    if let Some(ready) = component {
        let (words, env) = ready.words(&launch.argv, std::mem::take(&mut launch.env.0));
        launch = Launch {
            argv: words,
            env: Secret(env),
            program: Some(ready.program),
            seccomp: terms.block().profiles.of_components(),
            work_dir: "/".to_owned(),
            ..launch
        };
    }
    Ok(Planned { launch, prepare, note, warnings })
}

/// The guest's own judgement of the job's `config`: all errors in one sentence, or its warnings.
async fn checked(terms: &Terms<'_>, task: &str) -> Result<Vec<String>, Failure> {
    let (logic, config, task) = (terms.logic().clone(), Arc::clone(&terms.serving.config), task.to_owned());
    let findings = blocking(move || logic.check_task(&config, &task, &[])).await?.map_err(Failure::Guest)?;
    match refusal(&findings) {
        Some(errors) => Err(PluginError::invalid_argument(errors).into()),
        None => Ok(findings.iter().map(sentence).collect()),
    }
}

/// The plan; once more if the guest wants to look into the task's root first.
async fn planned(
    terms: &Terms<'_>,
    grants: &Grants,
    task: &TaskConfig,
    config: &str,
) -> Result<wit::LaunchPlan, Failure> {
    let view = view::of(task, terms.isolation());
    let mut findings = terms.findings.to_vec();
    match once(terms, config, &view, &findings).await? {
        wit::Next::Launch(plan) => {
            terms.side.heard_plan(Heard { task: config.to_owned(), view, findings });
            return Ok(plan);
        }
        wit::Next::LookInside(probes) => {
            let node = Place::node(&terms.logic().about().name, grants);
            let place = match terms.isolation() {
                Isolation::Chroot => node.root(&task_dir(task)),
                Isolation::Overlay => node.root(&task_dir(task)).over(&terms.block().host_paths),
                Isolation::Landlock => node.with_own(&unveil::own_dir(task)),
                Isolation::None => node.with_own(&task_dir(task)),
            };
            findings.extend(place.look(&probes).await);
        }
    }
    let next = once(terms, config, &view, &findings).await?;
    terms.side.heard_plan(Heard { task: config.to_owned(), view, findings });
    match next {
        wit::Next::Launch(plan) => Ok(plan),
        wit::Next::LookInside(_) => Err(PluginError::internal(format!(
            "guest {} wants to look into the task's root a second time, which it may once: it is to blame, not the job",
            terms.logic().about().name
        ))
        .into()),
    }
}

async fn once(
    terms: &Terms<'_>,
    task: &str,
    view: &wit::TaskView,
    findings: &[wit::Finding],
) -> Result<wit::Next, Failure> {
    let (logic, config, task) = (terms.logic().clone(), Arc::clone(&terms.serving.config), task.to_owned());
    let (view, findings) = (view.clone(), findings.to_vec());
    let answer = blocking(move || logic.plan(&config, &task, &view, &findings)).await?.map_err(Failure::Guest)?;
    answer.map_err(|why| {
        let text = located(why.path.as_deref().unwrap_or_default(), &why.message);
        match why.recoverable {
            true => StartError::recoverable(text).into(),
            false => PluginError::failed_precondition(text).into(),
        }
    })
}

fn launch(
    terms: &Terms<'_>,
    task: &TaskConfig,
    config: &Value,
    clamped: Clamped,
    (who, seccomp): (Option<Who>, Seccomp),
    memo: &Memo,
) -> Result<Launch, StartError> {
    let precondition = |why: String| StartError::from(PluginError::failed_precondition(why));
    let own_dir = task_dir(task);
    let work_dir = clamped.work_dir.clone().unwrap_or_else(|| match terms.isolation().has_a_root() {
        true => "/".to_owned(),
        false => unveil::own_dir(task).to_string_lossy().into_owned(),
    });
    let isolation = match terms.isolation() {
        Isolation::None => yurt_task::Isolation::None,
        Isolation::Landlock => {
            yurt_task::Isolation::Landlock(Box::new(unveil::of(task, &clamped, &terms.block().unveil)))
        }
        Isolation::Chroot => {
            yurt_task::Isolation::Chroot(Box::new(root(task, &clamped, own_dir, memo).map_err(precondition)?))
        }
        Isolation::Overlay => {
            let root = root(task, &clamped, own_dir, memo).and_then(|root| over_the_host(task, root, terms.block()));
            yurt_task::Isolation::Chroot(Box::new(root.map_err(precondition)?))
        }
    };
    Ok(Launch {
        id: task.id.clone(),
        env: Secret(environment(task, &clamped, who.as_ref(), &terms.block().env_deny, terms.isolation())),
        argv: clamped.argv,
        program: None,
        work_dir,
        makes: Vec::new(),
        identity: who.map(|who| who.identity),
        seccomp,
        isolation,
        network: network(task).map_err(precondition)?,
        stdout: task.stdout_path.clone().into(),
        stderr: task.stderr_path.clone().into(),
        cgroup: cgroup(task),
        elsewhere: clamped.elsewhere,
        limits: limits(task, clamped.limits, terms.topology),
        request: request_digest(task, config),
        memo: memo.to_bytes(),
    })
}

/// The component that is the task, if it is one: looked at, compiled, and what it gets opened.
async fn component(
    terms: &Terms<'_>,
    grants: &Grants,
    task: &TaskConfig,
    clamped: &Clamped,
    who: Option<&Who>,
) -> Result<Option<component::Ready>, String> {
    let Some(component) = clamped.component.clone() else { return Ok(None) };
    if !task.devices.is_empty() {
        return Err("the task has devices, and a component cannot open any: run it by another driver".to_owned());
    }
    let wanted = component::Wanted {
        network: component::network(task, &component.listen, grants)?,
        component,
        memory: limits(task, clamped.limits.clone(), terms.topology).memory_max,
        wall: terms.block().profiles.of_components() != Seccomp::None,
        identity: who.map(|who| who.identity.clone()),
        alloc_dir: task.alloc_dir.clone().into(),
        task_dir: task_dir(task),
    };
    let runtime = terms.runtime.clone();
    let ready = tokio::task::spawn_blocking(move || wanted.ready(&runtime)).await;
    ready.map_err(|why| why.to_string())?.map(Some)
}

/// Longest id of a task, in bytes; agents' have about a hundred.
const ID_MAX: usize = 4096;

/// What becomes part of a path leads nowhere else.
fn plain(task: &TaskConfig) -> Result<(), String> {
    let group = &task.resources.linux.cgroup;
    if task.id.len() > ID_MAX || task.id.contains('\0') {
        return Err(format!("the task's id has {} bytes, or holds a NUL: at most {ID_MAX} are taken", task.id.len()));
    }
    for (what, name) in [("name", &task.name), ("allocation", &task.alloc_id)] {
        if name.contains(['/', '\0']) || name == ".." || name == "." {
            return Err(format!("the task's {what} {name:?} cannot be part of a path"));
        }
    }
    if Path::new(group).components().any(|part| part.as_os_str() == "..")
        || !(group.is_empty() || group.starts_with('/'))
    {
        return Err(format!("the task's control group {group:?} is no absolute path without .."));
    }
    if !Path::new(&task.alloc_dir).is_absolute() {
        return Err(format!("the allocation's directory {:?} is no absolute path", task.alloc_dir));
    }
    Ok(())
}

/// Who the task runs as, with the names that its environment tells.
struct Who {
    identity: Identity,
    name: String,
    home: String,
}

/// Asks the host's user database, which may be a directory somewhere in the network: not on the thread of the wire.
async fn who(terms: &Terms<'_>, grants: &Grants, clamped: &Clamped) -> Result<Option<Who>, String> {
    if !rustix::process::geteuid().is_root() {
        // There is nothing to give away: the task is what the plugin is.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let groups = rustix::process::getgroups().map_err(|why| format!("the plugin's own groups: {why}"))?;
        let gids: Vec<u32> = groups.into_iter().map(|group| group.as_raw()).chain([gid]).collect();
        return denied(terms, clamped, uid, &gids).map(|()| None);
    }
    let Some(wanted) = clamped.user.as_deref() else {
        return Err("neither the job nor its plan names a user for the task: set user in the task".to_owned());
    };
    let name = wanted.to_owned();
    let user = tokio::task::spawn_blocking(move || yurt_task::users::lookup(&name)).await;
    let user = user.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
    if user.uid == 0 && !terms.isolation().has_a_root() && !grants.root_without_isolation {
        return Err(format!(
            "the task would run as {wanted} with the host's own files: yurt.grants.root_without_isolation does not allow it"
        ));
    }
    denied(terms, clamped, user.uid, &[&[user.gid], user.groups.as_slice()].concat())?;
    Ok(Some(Who {
        identity: Identity {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            capabilities: Capabilities { bounding: clamped.bounding.0, ambient: 0 },
            no_new_privileges: true,
        },
        name: user.name,
        home: user.home,
    }))
}

/// The operator's word for all drivers, then that for this one.
fn denied(terms: &Terms<'_>, clamped: &Clamped, uid: u32, gids: &[u32]) -> Result<(), String> {
    let by_all = terms.block().denied.refusal(uid, gids, "the yurt block of the driver's configuration");
    match by_all.or_else(|| clamped.denied.refusal(uid, gids, "the driver's configuration")) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

/// What the agent gives, without what the plan drops and with what it sets, and nothing at all of what the operator denies.
fn environment(
    task: &TaskConfig,
    clamped: &Clamped,
    who: Option<&Who>,
    deny: &[String],
    isolation: Isolation,
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = task.env.0.clone();
    // The agent passes its own on; what differs from ours is the job's word.
    let is_ours = |name: &str, given: Option<&String>| {
        given.is_none_or(|given| std::env::var(name).is_ok_and(|ours| ours == *given))
    };
    if isolation == Isolation::Landlock && is_ours("TMPDIR", env.get("TMPDIR")) {
        // That of the host is not the task's.
        env.insert("TMPDIR".to_owned(), unveil::own_dir(task).join("tmp").to_string_lossy().into_owned());
    }
    let among = |patterns: &[String], name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name));
    // Before anything is made of them: a value is not to come back under another name.
    env.retain(|name, _| !among(&clamped.env_drop, name) && !among(deny, name));
    if let Some(who) = who {
        env.insert("USER".to_owned(), who.name.clone());
        env.insert("LOGNAME".to_owned(), who.name.clone());
        if is_ours("HOME", env.get("HOME")) {
            env.insert("HOME".to_owned(), who.home.clone());
        }
    }
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.join(":"));
    for (name, source) in &clamped.env {
        let value = match source {
            Source::Text(text) => Some(text.clone()),
            Source::SameAs(other) => env.get(other).cloned(),
            Source::Before(directory, list) => Some(match env.get(list) {
                Some(others) => format!("{directory}:{others}"),
                None => directory.clone(),
            }),
        };
        if let Some(value) = value {
            env.insert(name.clone(), value);
        }
    }
    env.retain(|name, _| !among(deny, name));
    env.into_iter().collect()
}

fn root(task: &TaskConfig, clamped: &Clamped, path: PathBuf, memo: &Memo) -> Result<RootDirectory, String> {
    let mounts = task.mounts.iter().map(|mount| {
        Ok(Mount {
            source: mount.host_path.clone(),
            target: mount.task_path.clone(),
            read_only: mount.read_only,
            propagation: match mount.propagation.as_str() {
                "" | "private" => Propagation::Private,
                "host-to-task" => Propagation::HostToTask,
                "bidirectional" => Propagation::Bidirectional,
                other => {
                    return Err(format!("the mount at {}: there is no propagation mode {other:?}", mount.task_path));
                }
            },
        })
    });
    let device = |device: &yurt_nomad::driver::DeviceNode| Device {
        source: device.host_path.clone(),
        target: device.task_path.clone(),
        access: device.permissions.clone(),
    };
    Ok(RootDirectory {
        path,
        namespaces: clamped.namespaces(),
        mounts: mounts.collect::<Result<_, String>>()?,
        devices: task.devices.iter().map(device).collect(),
        allowed: memo.devices.now(),
        files: files(task),
        host: None,
        hidden: if clamped.read_only_root { vec![PRIVATE.to_owned()] } else { Vec::new() },
        writable: clamped.read_only_root.then(|| WRITABLE.map(str::to_owned).to_vec()),
    })
}

/// What of a root that is read-only is the task's to write.
const WRITABLE: [&str; 4] = ["/alloc", "/local", "/secrets", "/tmp"];
/// Where an agent keeps what it does not show to every task.
const PRIVATE: &str = "/private";

/// A root that shows the host's directories: of such a task the agent makes the directories and nothing else.
fn over_the_host(task: &TaskConfig, mut root: RootDirectory, block: &DriverConfig) -> Result<RootDirectory, String> {
    let alloc_dir = Path::new(&task.alloc_dir);
    if let Some(path) = block.host_paths.iter().find(|path| alloc_dir.starts_with(path)) {
        return Err(format!(
            "yurt.host_paths has {path:?}, and allocations lie there, in {}: a task would see those of others. Name what it needs of {path}",
            task.alloc_dir
        ));
    }
    root.host =
        Some(HostPaths { paths: block.host_paths.clone(), work: alloc_dir.join(format!(".{}.overlay", task.name)) });
    root.hidden = vec![PRIVATE.to_owned()];
    root.mounts.insert(
        0,
        Mount {
            source: alloc_dir.join("alloc").to_string_lossy().into_owned(),
            target: "/alloc".to_owned(),
            read_only: false,
            propagation: Propagation::Private,
        },
    );
    Ok(root)
}

/// `resolv.conf` as the job says, else the host's; a hosts file where the task's network has a name of its own.
fn files(task: &TaskConfig) -> Vec<File> {
    let mut files = Vec::new();
    let resolv = match &task.dns {
        Some(dns) => {
            let mut text: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
            for (word, entries) in [("search", &dns.searches), ("options", &dns.options)] {
                if !entries.is_empty() {
                    text.push_str(&format!("{word} {}\n", entries.join(" ")));
                }
            }
            Some(text.into_bytes())
        }
        None => std::fs::read("/etc/resolv.conf").ok(),
    };
    files.extend(resolv.map(|content| File { target: "/etc/resolv.conf".to_owned(), content }));
    let entry = task.network.as_ref().and_then(|network| network.hosts.as_ref());
    if let Some(entry) = entry.filter(|entry| !entry.address.is_empty() && !entry.hostname.is_empty()) {
        let text = format!(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {}\n",
            entry.address, entry.hostname
        );
        files.push(File { target: "/etc/hosts".to_owned(), content: text.into_bytes() });
    }
    files
}

fn network(task: &TaskConfig) -> Result<Option<PathBuf>, String> {
    match &task.network {
        Some(network) if network.mode == NetworkMode::Task => {
            Err("the task wants a network that its driver makes, and this driver makes none".to_owned())
        }
        Some(network) if !network.path.is_empty() => Ok(Some(PathBuf::from(&network.path))),
        _ => Ok(None),
    }
}

/// Where the agent counts the task. Under version 1 it tells the directory in `cpuset` only; the name in the other hierarchies follows
/// from the task's.
fn cgroup(task: &TaskConfig) -> Cgroup {
    let given = &task.resources.linux.cgroup;
    if given.is_empty() {
        return Cgroup::None;
    }
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Cgroup::V2(given.into());
    }
    let cpuset = Path::new(given);
    let cpuset =
        if cpuset.components().any(|part| part.as_os_str() == "cpuset") { cpuset.to_owned() } else { PathBuf::new() };
    Cgroup::V1 { name: PathBuf::from(format!("nomad/{}.{}", task.alloc_id, task.name)), cpuset }
}

/// What the agent says, beside what was asked for by name.
fn limits(task: &TaskConfig, asked: Limits, topology: Option<&Topology>) -> Limits {
    let bytes = |mb: u64| Some(mb.saturating_mul(1 << 20)).filter(|bytes| *bytes > 0);
    let memory = &task.resources;
    let (memory_max, memory_low) = match memory.memory_max {
        MemoryMax::Reserved => (bytes(memory.memory_mb), None),
        MemoryMax::Mb(mb) => (bytes(mb.max(memory.memory_mb)), bytes(memory.memory_mb)),
        MemoryMax::Unlimited => (None, bytes(memory.memory_mb)),
    };
    let cpuset = &task.resources.linux.cpuset_cpus;
    Limits {
        memory_max,
        memory_low,
        cpu_shares: shares(task.resources.linux.cpu_shares, topology),
        cpuset: (!cpuset.is_empty()).then(|| cpuset.clone()),
        ..asked
    }
}

/// Most shares that the kernel takes.
const SHARES_MAX: u64 = 262_144;

/// MHz are shares as long as the whole node has no more than the kernel takes; on a larger one they are scaled down.
fn shares(wanted: i64, topology: Option<&Topology>) -> Option<u64> {
    let wanted = u64::try_from(wanted).unwrap_or_default();
    let total = topology.map_or(0, compute);
    let scaled = if total > SHARES_MAX {
        u64::try_from(u128::from(wanted) * u128::from(SHARES_MAX) / u128::from(total)).unwrap_or(SHARES_MAX)
    } else {
        wanted
    };
    Some(scaled.clamp(2, SHARES_MAX))
}

/// MHz of all cores together.
pub(super) fn compute(topology: &Topology) -> u64 {
    if topology.total_mhz > 0 {
        return topology.total_mhz;
    }
    let speed = |core: &yurt_nomad::driver::Core| {
        [core.base_mhz, core.max_mhz, core.guess_mhz].into_iter().find(|mhz| *mhz > 0)
    };
    topology.cores.iter().filter_map(speed).sum()
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
