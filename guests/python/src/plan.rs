//! How a task is launched: `interpreter [-I] [-u] args… script script_args…`, after what `packages.rs` puts before it.
//!
//! The task's root is looked into once, so that what is not there is named by key and path instead of by what the kernel says of it. A
//! look that the host did not make is no obstacle: then the launch itself will tell.

use yurt_sdk::Severity;
use yurt_sdk::driver::{
    EnvEdit, ExitNote, Findings, LaunchPlan, Limit, Next, PathKind, PlanError, Probe, TaskView, Trouble, Unknown,
    Wishes,
};

use crate::config::Config;
use crate::interpreters::{Interpreter, Survey};
use crate::packages::{self, Packages};
use crate::task::{Program, Task};
use crate::{arguments, paths};

/// Ids of what is looked at inside the task's root; no probe of the node has one of them.
const INTERPRETER: &str = "inside:interpreter";
const PROGRAMS: &str = "inside:programs";
const SCRIPT: &str = "inside:script";
const WORK_DIR: &str = "inside:work_dir";

/// What to do where the node has an interpreter and the task does not.
const ROOT: &str =
    "a root of its own holds what the client's chroot_env says, and a job can name another by interpreter";

/// Who a task runs as where the job does not say: Python needs no rights.
const USER: &str = "nobody";

pub(crate) fn plan(config: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
    if let Some(wrong) = task.check(Unknown(&[])).into_iter().find(|said| said.severity == Severity::Error) {
        return Err(PlanError::new(wrong.message).at(&wrong.path));
    }
    let Some(program) = task.program() else { return Err(PlanError::new("script must be specified").at("script")) };
    let place = Place::of(task, view);
    let script = script(task, program, &place)?;
    let survey = Survey::of(config, findings);
    let wanted = wanted(task, &survey, &place)?;
    let packages = Packages::of(task, &place);

    let looked = [INTERPRETER, PROGRAMS, SCRIPT, WORK_DIR].iter().any(|id| findings.of(id).is_some());
    if !looked {
        let mut probes = wanted.probes();
        probes.extend(script.as_deref().map(|path| Probe::stat(SCRIPT, path)));
        probes.extend(packages.iter().flat_map(Packages::probes));
        probes.extend(task.work_dir.as_deref().map(|path| Probe::stat(WORK_DIR, path)));
        return Ok(Next::LookInside(probes));
    }
    if let Some(directory) = &task.work_dir {
        let stands = standing(findings, WORK_DIR, directory, Kind::Directory);
        stands.map_err(|why| place.missing(directory, format!("work_dir = {directory:?}: {why}")).at("work_dir"))?;
    }
    let interpreter = wanted.path(findings)?;
    if let (Program::Script(typed), Some(path)) = (program, &script) {
        let stands = standing(findings, SCRIPT, path, Kind::Any);
        let key = task.file_key();
        stands.map_err(|why| place.missing(path, format!("{key} = {typed:?}: {why}")).at(key))?;
    }
    let mut prepare: Vec<_> = packages::check_sum(task, &place, &interpreter).into_iter().collect();
    let venv = match (&packages, &wanted) {
        (Some(packages), _) => {
            packages.found(&place, findings)?;
            prepare.extend(packages.steps(&interpreter));
            Some(packages.venv.as_str())
        }
        (None, Wanted::OfVenv { directory, .. }) => Some(directory.as_str()),
        (None, _) => None,
    };
    let plan = launch(task, view, program, (&interpreter, venv), &wanted);
    let wishes = task.own().added_to(plan.wishes, view)?;
    Ok(Next::Launch(LaunchPlan { prepare, wishes, ..plan }))
}

/// Where relative paths count from.
pub(crate) struct Place<'a> {
    directory: String,
    pub(crate) view: &'a TaskView,
}

impl<'a> Place<'a> {
    fn of(task: &Task, view: &'a TaskView) -> Place<'a> {
        let own = paths::task_directory(view);
        let directory = task.work_dir.as_deref().map_or(own, |directory| paths::joined("/", directory));
        Place { directory, view }
    }

    pub(crate) fn joined(&self, path: &str) -> String {
        paths::joined(&self.directory, path)
    }

    /// In the allocation's directory another task of the group may still be writing.
    pub(crate) fn missing(&self, path: &str, message: String) -> PlanError {
        let why = PlanError::new(message);
        if paths::is_within(path, &self.view.alloc_dir) { why.or_try_again() } else { why }
    }
}

/// The script's absolute path; none: there is none, or the interpreter's arguments make it an argument of something else.
fn script(task: &Task, program: Program<'_>, place: &Place<'_>) -> Result<Option<String>, PlanError> {
    let Program::Script(script) = program else { return Ok(None) };
    if arguments::program(task.args()).is_some() {
        return Ok(None);
    }
    let path = place.joined(script);
    if !paths::is_of_the_task(&path, place.view) {
        let key = task.file_key();
        let message = format!(
            "{key} = {script:?} is outside the task: {path} lies neither in {} nor in {}",
            paths::task_directory(place.view),
            place.view.alloc_dir
        );
        return Err(PlanError::new(message).at(key));
    }
    Ok(Some(path))
}

/// The interpreter that a task is to have, before the task's root was looked into.
enum Wanted {
    /// A venv's own, by its own path: what it links to would be another Python.
    OfVenv { typed: String, directory: String },
    /// A path of the job's.
    Path { typed: String, path: String },
    /// A name of the job's, and where the node has it.
    Name { name: String, known: Option<Interpreter> },
    /// The driver's choice.
    Choice(Interpreter),
}

fn wanted(task: &Task, survey: &Survey, place: &Place<'_>) -> Result<Wanted, PlanError> {
    if let Some(typed) = &task.venv {
        return Ok(Wanted::OfVenv { typed: typed.clone(), directory: place.joined(typed) });
    }
    if let Some(typed) = &task.interpreter {
        if paths::is_name(typed) {
            let known = survey.working().find(|interpreter| interpreter.name == *typed).cloned();
            return Ok(Wanted::Name { name: typed.clone(), known });
        }
        return Ok(Wanted::Path { typed: typed.clone(), path: place.joined(typed) });
    }
    match survey.choice() {
        Some((_, Ok(interpreter))) => Ok(Wanted::Choice(interpreter.clone())),
        Some((name, Err(why))) => {
            Err(PlanError::new(format!("the node's Python interpreter does not work: {name}: {why}")).or_try_again())
        }
        None => {
            let why = survey.complaints().join("; ");
            Err(PlanError::new(format!("the node has no Python interpreter: {why}")))
        }
    }
}

impl Wanted {
    fn probes(&self) -> Vec<Probe> {
        match self {
            Wanted::OfVenv { directory, .. } => vec![Probe::stat(INTERPRETER, &of_venv(directory))],
            Wanted::Path { path, .. } => vec![Probe::stat(INTERPRETER, path)],
            Wanted::Choice(interpreter) => vec![Probe::stat(INTERPRETER, &interpreter.path)],
            Wanted::Name { name, known } => {
                let known = known.as_ref().map(|interpreter| Probe::stat(INTERPRETER, &interpreter.path));
                known.into_iter().chain([Probe::programs(PROGRAMS, name)]).collect()
            }
        }
    }

    /// What to run it by.
    fn path(&self, findings: Findings<'_>) -> Result<String, PlanError> {
        match self {
            Wanted::OfVenv { typed, directory } => {
                let path = of_venv(directory);
                standing(findings, INTERPRETER, &path, Kind::Program)
                    .map_err(|why| PlanError::new(format!("venv = {typed:?}: {why}")).at("venv"))?;
                Ok(path)
            }
            Wanted::Path { typed, path } => {
                standing(findings, INTERPRETER, path, Kind::Program)
                    .map_err(|why| PlanError::new(format!("interpreter = {typed:?}: {why}")).at("interpreter"))?;
                Ok(path.clone())
            }
            Wanted::Choice(Interpreter { name, path, .. }) => {
                standing(findings, INTERPRETER, path, Kind::Program)
                    .map_err(|why| PlanError::new(format!("the node's {name} cannot be run: {why}; {ROOT}")))?;
                Ok(path.clone())
            }
            Wanted::Name { name, known } => {
                if let Some(Interpreter { path, .. }) = known
                    && standing(findings, INTERPRETER, path, Kind::Program).is_ok()
                {
                    return Ok(path.clone());
                }
                match findings.programs(PROGRAMS) {
                    Some(Ok([first, ..])) => Ok(first.clone()),
                    Some(Ok([]) | Err(Trouble::Absent(_))) => {
                        let on_the_node =
                            known.as_ref().map(|Interpreter { path, .. }| format!(" (the node has {path})"));
                        let message = format!(
                            "interpreter = {name:?}: the task has no program of that name{}; {ROOT}",
                            on_the_node.unwrap_or_default()
                        );
                        Err(PlanError::new(message).at("interpreter"))
                    }
                    // It was not looked for: the launch looks the name up.
                    _ => Ok(name.clone()),
                }
            }
        }
    }

    /// For people.
    fn described(&self, path: &str) -> String {
        match self {
            Wanted::Choice(interpreter) | Wanted::Name { known: Some(interpreter), .. } if interpreter.path == path => {
                format!("{path} (Python {}, {})", interpreter.version, interpreter.implementation)
            }
            _ => path.to_owned(),
        }
    }
}

fn of_venv(directory: &str) -> String {
    paths::joined(directory, "bin/python")
}

/// What has to stand at a path.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Program,
    Directory,
    Any,
}

/// Whether it does; else one clause that says why not. Where the host did not look, it is taken to.
pub(crate) fn standing(findings: Findings<'_>, id: &str, path: &str, kind: Kind) -> Result<(), String> {
    let status = match findings.status(id) {
        Some(Ok(status)) => status,
        Some(Err(Trouble::Absent(_))) => return Err(format!("the task has no {path}")),
        Some(Err(Trouble::Refused(_) | Trouble::Failed(_))) | None => return Ok(()),
    };
    match (status.kind, &status.target) {
        (PathKind::Link, Some(target)) => Err(format!("{path} is a link to {target}, which the task does not have")),
        (PathKind::Absent | PathKind::Link, _) => Err(format!("the task has no {path}")),
        (its, _) if kind == Kind::Directory && its != PathKind::Directory => Err(format!("{path} is no directory")),
        (its, _) if kind == Kind::Program && its != PathKind::File => Err(format!("{path} is no program")),
        _ if kind == Kind::Program && !status.executable => Err(format!("{path} is not executable")),
        _ => Ok(()),
    }
}

/// `venv`: the environment that the program runs in, which may still have to be made by the interpreter.
fn launch(
    task: &Task,
    view: &TaskView,
    program: Program<'_>,
    (interpreter, venv): (&str, Option<&str>),
    wanted: &Wanted,
) -> LaunchPlan {
    let python = venv.map_or_else(|| interpreter.to_owned(), of_venv);
    let mut command = vec![python];
    let mut env = Vec::new();
    if task.isolated() {
        command.push("-I".into());
    }
    if task.unbuffered() {
        // The variable is what reaches a Python that the script starts; with -I nobody reads it.
        if task.isolated() {
            command.push("-u".into());
        } else if !view.env_names.iter().any(|name| name == "PYTHONUNBUFFERED") {
            env.push(EnvEdit::text("PYTHONUNBUFFERED", "1"));
        }
    }
    command.extend_from_slice(task.args());
    let what = match program {
        Program::Script(script) => {
            command.push(script.to_owned());
            script.to_owned()
        }
        Program::Module(module) => {
            command.extend(["-m".to_owned(), module.to_owned()]);
            format!("module {module}")
        }
        Program::Code(code) => {
            command.extend(["-c".to_owned(), code.to_owned()]);
            "code".to_owned()
        }
    };
    command.extend_from_slice(task.script_args());

    // What `activate` does.
    let mut env_drop = Vec::new();
    if let Some(directory) = venv {
        env.push(EnvEdit::text("VIRTUAL_ENV", directory));
        env.push(EnvEdit::before("PATH", paths::joined(directory, "bin")));
        env_drop.push("PYTHONHOME".to_owned());
    }
    LaunchPlan {
        env,
        env_drop,
        work_dir: task.work_dir.clone(),
        user: Some(USER.into()),
        // Process 1 has no default handling of signals: without an init SIGTERM would not end a script that does not handle it.
        wishes: Wishes {
            init: true,
            read_only_root: task.read_only_root.unwrap_or_default(),
            limits: Limit::all(task.limits.as_deref()),
            seccomp: task.seccomp.clone().filter(|name| !name.is_empty()),
            ..Wishes::none()
        },
        signals: task.signals().rules(),
        stop: task.signals().steps(),
        exit_notes: exit_notes(),
        note: Some(format!("{} runs {what}", wanted.described(interpreter))),
        ..LaunchPlan::of(command)
    }
}

fn exit_notes() -> Vec<ExitNote> {
    [
        (1, "an exception ended it, or it called sys.exit(1): stderr has the traceback"),
        (2, "the interpreter refused an option or could not open the script, or the script ended itself so: stderr says which"),
        (120, "the interpreter could not write out what was left on stdout or stderr at its end"),
    ]
    .into_iter()
    .map(|(code, text)| ExitNote { code, text: text.into() })
    .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
