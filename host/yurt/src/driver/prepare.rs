//! What goes before a task's program, in the plan's order: directories, files and commands, all of them as the task's user, in its root, its
//! control groups and its limits. What a command leaves running is ended with it. Directories and files are made by the process that
//! comes next, be it a command's or the program's.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yurt_guest::driver as wit;
use yurt_nomad::driver::{PluginError, StartError};
use yurt_task::{Launch, Make, StepEnd, StepOutcome, Tasks};

use super::start::sentence_on;

/// Most steps, and most of one file's text, in bytes.
const STEPS: usize = 64;
const TEXT: usize = 64 << 10;
/// Longest that a command may be given: a start has ten minutes.
const LONGEST: Duration = Duration::from_secs(540);
/// A command that takes longer is told of, and so is its end.
const SLOW: Duration = Duration::from_secs(2);
/// Most of a command's last words that an error holds, in characters: all of it has to fit into one message.
const WORDS: usize = 3000;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Make(Make),
    Run(Run),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    argv: Vec<String>,
    why: String,
    time: Duration,
    recoverable: bool,
}

/// What a plan says, held against what can be done at all.
pub(crate) fn clamped(steps: Vec<wit::Step>) -> Result<Vec<Step>, String> {
    if steps.len() > STEPS {
        return Err(format!("the plan's prepare has {} steps, more than {STEPS}", steps.len()));
    }
    steps
        .into_iter()
        .enumerate()
        .map(|(at, step)| one(step).map_err(|why| format!("the plan's prepare[{at}]: {why}")))
        .collect()
}

fn one(step: wit::Step) -> Result<Step, String> {
    match step {
        wit::Step::MakeDir(path) => Ok(Step::Make(Make::Directory { path: plain(path)? })),
        wit::Step::WriteFile(wit::FileText { text, .. }) if text.len() > TEXT => {
            Err(format!("a file of {} bytes, more than {TEXT}", text.len()))
        }
        wit::Step::WriteFile(wit::FileText { mode, .. }) if mode & !0o777 != 0 => {
            Err(format!("the mode {mode:o} has more than permissions in it"))
        }
        wit::Step::WriteFile(wit::FileText { path, text, mode }) => {
            Ok(Step::Make(Make::File { path: plain(path)?, content: text.into_bytes(), mode: mode.into() }))
        }
        wit::Step::Run(wit::RunStep { argv, why, timeout_seconds, recoverable }) => {
            if argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0')) {
                return Err("a command without a program, or with a NUL in it".to_owned());
            }
            let time = Duration::from_secs(timeout_seconds.into());
            if time.is_zero() || time > LONGEST {
                return Err(format!("a command with {time:?} of time: it must be from 1s to {LONGEST:?}"));
            }
            let why = if why.is_empty() { argv.first().cloned().unwrap_or_default() } else { why };
            Ok(Step::Run(Run { argv, why, time, recoverable }))
        }
    }
}

fn plain(path: String) -> Result<String, String> {
    let upward = path.split('/').any(|part| part == "..");
    if path.starts_with('/') && !upward && !path.contains('\0') {
        Ok(path)
    } else {
        Err(format!("{path:?} is no absolute path without .."))
    }
}

/// Why the task is not started.
pub(crate) enum Failure {
    /// Before anything ran.
    Start(yurt_task::StartError),
    /// A step failed.
    Told(StartError),
}

/// Takes all steps; what the program itself is to make is left in `launch`. Those that are done are taken out of `steps`.
pub(crate) async fn all(
    tasks: &Tasks,
    launch: &mut Launch,
    steps: &mut Vec<Step>,
    given_up: &watch::Receiver<bool>,
    tell: impl Fn(String),
) -> Result<(), Failure> {
    if steps.iter().any(|step| matches!(step, Step::Run(_))) && tasks.is_being_started(&launch.id) {
        let already = yurt_task::StartError::AlreadyRunning { id: launch.id.clone(), same_request: false };
        return Err(Failure::Start(already));
    }
    for step in std::mem::take(steps) {
        match step {
            Step::Make(make) => launch.makes.push(make),
            Step::Run(run) => {
                taken(tasks, launch, &run, given_up, &tell).await.map_err(Failure::Told)?;
                launch.makes.clear();
            }
        }
    }
    if *given_up.borrow() { Err(Failure::Told(nobody_wants_it())) } else { Ok(()) }
}

fn nobody_wants_it() -> StartError {
    PluginError::failed_precondition("the start was given up: nobody wants the task any more").into()
}

async fn taken(
    tasks: &Tasks,
    launch: &Launch,
    run: &Run,
    given_up: &watch::Receiver<bool>,
    tell: impl Fn(String),
) -> Result<(), StartError> {
    let (began, why) = (Instant::now(), &run.why);
    let mut running = pin!(tasks.step(launch, run.argv.clone(), run.time, given_up.clone()));
    let (end, slow) = tokio::select! {
        end = &mut running => (end, false),
        () = tokio::time::sleep(SLOW) => {
            tell(format!("Before the task starts: {why}, which may take up to {:?}", run.time));
            (running.await, true)
        }
    };
    let recoverable = |text: String, also: bool| match run.recoverable || also {
        true => StartError::recoverable(text),
        false => PluginError::failed_precondition(text).into(),
    };
    let end = end.map_err(|failed| recoverable(format!("{why}: {}", sentence_on(&failed)), failed.recoverable()))?;
    match failed(run, &end) {
        _ if end.how == StepOutcome::GivenUp => Err(nobody_wants_it()),
        Some(text) => Err(recoverable(text, false)),
        None => {
            if slow {
                tell(format!("Done after {:.1} s: {why}", began.elapsed().as_secs_f64()));
            }
            Ok(())
        }
    }
}

/// Why it is no success, with its last words.
fn failed(run: &Run, end: &StepEnd) -> Option<String> {
    let Run { why, argv, time, .. } = run;
    let program = argv.first().map_or("", String::as_str);
    let how = match &end.how {
        StepOutcome::Ended(exit) if exit.code == 0 && exit.unknown.is_none() => return None,
        StepOutcome::Ended(exit) if exit.oom_killed => "was killed: the task's memory limit was reached".to_owned(),
        StepOutcome::Ended(exit) => match &exit.unknown {
            Some(unknown) => format!("ended, and how is not known: {unknown}"),
            None => format!("ended with code {}", exit.code),
        },
        StepOutcome::Late => format!("was not done within {time:?}, and killed"),
        StepOutcome::GivenUp => "was given up".to_owned(),
    };
    let said = String::from_utf8_lossy(&end.output);
    let said = said.trim();
    let cut = said.char_indices().rev().nth(WORDS).map_or(0, |(at, _)| at);
    let words = said.get(cut..).unwrap_or(said);
    Some(match words {
        "" => format!("{why}: {program} {how}, without a word"),
        words => format!("{why}: {program} {how}; its last words: {words}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_step(argv: &[&str], timeout_seconds: u32) -> wit::Step {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        wit::Step::Run(wit::RunStep { argv, why: String::new(), timeout_seconds, recoverable: false })
    }

    fn file(path: &str, text: &str, mode: u16) -> wit::Step {
        wit::Step::WriteFile(wit::FileText { path: path.to_owned(), text: text.to_owned(), mode })
    }

    #[test]
    fn a_step_that_cannot_be_is_refused_by_its_number() {
        for (step, words) in [
            (wit::Step::MakeDir("local".to_owned()), "no absolute path"),
            (wit::Step::MakeDir("/local/../../etc".to_owned()), "no absolute path"),
            (file("/x", &"x".repeat(TEXT + 1), 0o644), "65537 bytes"),
            (file("/x", "", 0o4755), "4755"),
            (run_step(&[], 1), "without a program"),
            (run_step(&["a", "b\0"], 1), "NUL"),
            (run_step(&["a"], 0), "from 1s"),
            (run_step(&["a"], 541), "to 540s"),
        ] {
            let why = clamped(vec![wit::Step::MakeDir("/local/x".to_owned()), step]).unwrap_err();
            assert!(why.starts_with("the plan's prepare[1]: ") && why.contains(words), "{why}");
        }
        assert!(clamped(vec![run_step(&["a"], 1); STEPS + 1]).unwrap_err().contains("65 steps"));
    }

    #[test]
    fn a_failed_command_is_told_with_how_and_its_last_words() {
        let Ok(Step::Run(run)) = one(run_step(&["pip", "install"], 5)) else { panic!("a command") };
        let end = |how, output: &str| StepEnd { how, output: output.into() };
        let ended = |code| StepOutcome::Ended(yurt_task::Exit { code, ..Default::default() });
        assert_eq!(failed(&run, &end(ended(0), "noise")), None);
        assert_eq!(failed(&run, &end(ended(2), " \n")).unwrap(), "pip: pip ended with code 2, without a word");
        assert_eq!(
            failed(&run, &end(StepOutcome::Late, "Looking\nfor x\n")).unwrap(),
            "pip: pip was not done within 5s, and killed; its last words: Looking\nfor x"
        );
        let long = failed(&run, &end(ended(1), &format!("{}the end", "ä".repeat(2 * WORDS)))).unwrap();
        assert!(long.ends_with("the end") && long.chars().count() < WORDS + 100);
    }
}
