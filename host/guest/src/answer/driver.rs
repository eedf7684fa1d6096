//! What a task driver's guest answers.

use super::{attributes, optional, texts, within};
use crate::driver::{
    CgroupWish, ComponentRun, Directory, DriverDescription, EnvEdit, EnvSource, ExitNote, FileText, Fingerprint,
    LaunchPlan, Limit, Look, MountWish, Next, PathHead, PlanError, Probe, Program, RunStep, SignalAction, SignalRule,
    Step, StopStep, Wishes,
};
use crate::error::Cause;
use crate::limits::Limits;

type Checked = Result<(), Cause>;

pub(crate) fn description(answer: &DriverDescription, limits: &Limits) -> Checked {
    let DriverDescription { about, task_spec, capabilities: _ } = answer;
    super::description(about, limits)?;
    within("bytes of task schema", task_spec.len(), super::SPEC, "fixed")
}

pub(crate) fn probes(answer: &[Probe], limits: &Limits) -> Checked {
    within("probes", answer.len(), limits.probes, "probes")?;
    answer.iter().try_for_each(|Probe { id, look }| {
        texts([id.as_str()], limits)?;
        match look {
            Look::Run(command) => words(command, limits),
            Look::Programs(text) | Look::Read(text) | Look::Stat(text) => texts([text.as_str()], limits),
        }
    })
}

pub(crate) fn fingerprint(answer: &Fingerprint, limits: &Limits) -> Checked {
    let Fingerprint { health: _, reason, attributes: its } = answer;
    texts([reason.as_str()], limits)?;
    attributes("attributes", its, limits)
}

/// Only answers are held against limits; an error's texts are cut instead.
pub(crate) fn next(answer: &Result<Next, PlanError>, limits: &Limits) -> Checked {
    match answer {
        Ok(Next::LookInside(wanted)) => probes(wanted, limits),
        Ok(Next::Launch(plan)) => launch(plan, limits),
        Err(_) => Ok(()),
    }
}

fn launch(plan: &LaunchPlan, limits: &Limits) -> Checked {
    let LaunchPlan {
        program: what,
        env,
        env_drop,
        work_dir,
        user,
        prepare,
        wishes: asked,
        signals,
        stop,
        exec_prefix,
        exit_notes,
        note,
    } = plan;
    program(what, limits)?;
    within("edits of the environment", env.len(), limits.entries, "entries")?;
    env.iter().try_for_each(|EnvEdit { name, value }| match value {
        EnvSource::Text(text) | EnvSource::SameAs(text) => texts([name, text], limits),
        EnvSource::Before(PathHead { directory, name: list }) => texts([name, directory, list], limits),
    })?;
    list("variables to drop", env_drop, limits)?;
    texts([optional(work_dir), optional(user), optional(note)], limits)?;
    within("steps before the program", prepare.len(), limits.steps, "steps")?;
    prepare.iter().try_for_each(|one| step(one, limits))?;
    wishes(asked, limits)?;
    within("rules for signals", signals.len(), limits.entries, "entries")?;
    signals.iter().try_for_each(|SignalRule { signal, action: its }| {
        texts([signal.as_str()], limits)?;
        action(its, limits)
    })?;
    within("steps of the stop", stop.len(), limits.steps, "steps")?;
    stop.iter().try_for_each(|StopStep { action: its, wait_milliseconds: _ }| action(its, limits))?;
    words(exec_prefix, limits)?;
    within("notes on exit codes", exit_notes.len(), limits.entries, "entries")?;
    exit_notes.iter().try_for_each(|ExitNote { code: _, text }| texts([text.as_str()], limits))
}

fn program(answer: &Program, limits: &Limits) -> Checked {
    match answer {
        Program::Native(command) => words(command, limits),
        Program::Component(ComponentRun { path, args, directories, listen }) => {
            texts([path.as_str()], limits)?;
            words(args, limits)?;
            within("directories", directories.len(), limits.entries, "entries")?;
            directories.iter().try_for_each(|Directory { host_side, guest_side, read_only: _ }| {
                texts([host_side.as_str(), guest_side], limits)
            })?;
            list("sockets to listen on", listen, limits)
        }
    }
}

fn step(answer: &Step, limits: &Limits) -> Checked {
    match answer {
        Step::MakeDir(path) => texts([path.as_str()], limits),
        Step::WriteFile(FileText { path, text, mode: _ }) => texts([path.as_str(), text], limits),
        Step::Run(RunStep { argv, why, timeout_seconds: _, recoverable: _ }) => {
            words(argv, limits)?;
            texts([why.as_str()], limits)
        }
    }
}

fn wishes(answer: &Wishes, limits: &Limits) -> Checked {
    let Wishes {
        pid: _,
        ipc: _,
        uts: _,
        user: _,
        cgroup: _,
        time: _,
        init: _,
        caps_add,
        caps_drop,
        limits: its,
        seccomp,
        read_only_root: _,
        mounts,
        cgroups,
        deny_uids,
        deny_gids,
    } = answer;
    list("capabilities to add", caps_add, limits)?;
    list("capabilities to drop", caps_drop, limits)?;
    within("limits of a task", its.len(), limits.entries, "entries")?;
    its.iter().try_for_each(|Limit { name, value }| texts([name.as_str(), value], limits))?;
    texts([optional(seccomp)], limits)?;
    within("mounts", mounts.len(), limits.entries, "entries")?;
    mounts
        .iter()
        .try_for_each(|MountWish { name, task_path, read_only: _ }| texts([name.as_str(), task_path], limits))?;
    within("control groups", cgroups.len(), limits.entries, "entries")?;
    cgroups.iter().try_for_each(|CgroupWish { controller, path }| texts([optional(controller), path], limits))?;
    within("ranges of denied ids", deny_uids.len().max(deny_gids.len()), limits.entries, "entries")
}

fn action(answer: &SignalAction, limits: &Limits) -> Checked {
    match answer {
        SignalAction::Main(signal) | SignalAction::All(signal) => texts([signal.as_str()], limits),
        SignalAction::Command(command) => words(command, limits),
    }
}

fn words(command: &[String], limits: &Limits) -> Checked {
    within("words in one command line", command.len(), limits.arguments, "arguments")?;
    command.iter().try_for_each(|word| texts([word.as_str()], limits))
}

fn list(what: &'static str, names: &[String], limits: &Limits) -> Checked {
    within(what, names.len(), limits.entries, "entries")?;
    names.iter().try_for_each(|name| texts([name.as_str()], limits))
}
