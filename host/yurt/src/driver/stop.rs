//! How a task is stopped: the job's signal, else the plan's steps, else `SIGINT`; within the job's time; then everything that is left.

use std::time::Duration;

use tokio::time::Instant;
use yurt_nomad::driver::PluginError;
use yurt_task::{Task, Whom};

use super::memo::{Action, Memo, StopStep};
use super::{exec, signals};

/// What agents expect of a driver that is told no signal.
const SIGINT: i32 = 2;
/// Nobody waits longer, and every clock can still count it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long the kernel may take to end what was killed.
const KILL: Duration = Duration::from_secs(15);

/// Ends the task. `signal` is the job's `kill_signal`. An unknown one is no reason to let the task live: it is told, and the plan's way
/// is taken instead.
pub(crate) async fn stop(task: &Task, memo: &Memo, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError> {
    let end = Instant::now() + timeout.min(LONGEST);
    if !timeout.is_zero() && task.exit().is_none() {
        for step in steps(memo, signal) {
            let most = Duration::from_millis(step.wait_milliseconds.into());
            let until = end.min(Instant::now() + most);
            let act = act(task, memo, &step.action, end.saturating_duration_since(Instant::now()));
            if let Err(why) = act.await {
                tracing::warn!(task = task.id(), "stopping: {why}");
            }
            if tokio::time::timeout_at(until, task.wait()).await.is_ok() {
                break;
            }
        }
    }
    task.kill(KILL).await.map_err(|why| PluginError::internal(why.to_string()))
}

fn steps(memo: &Memo, signal: Option<&str>) -> Vec<StopStep> {
    let last = |action| vec![StopStep { action, wait_milliseconds: u32::MAX }];
    match signal.map(signals::number) {
        Some(Ok(number)) => last(memo.action(number)),
        unknown => {
            if let Some(Err(why)) = unknown {
                tracing::warn!("kill_signal: {why}; the task is stopped as its plan says");
            }
            if memo.stop.is_empty() { last(memo.action(SIGINT)) } else { memo.stop.clone() }
        }
    }
}

/// Does what a signal means to the task. A command must end within `most`.
pub(crate) async fn act(task: &Task, memo: &Memo, action: &Action, most: Duration) -> Result<(), PluginError> {
    let failed = |why: String| PluginError::failed_precondition(why);
    let (number, whom) = match action {
        Action::Main(number) => (*number, Whom::Main),
        Action::All(number) => (*number, Whom::All),
        Action::Command(words) => {
            let result = exec::run(task, memo, words.clone(), Some(most)).await?;
            return match result.exit.code {
                0 => Ok(()),
                code => Err(failed(format!(
                    "{words:?}, which stands for the signal, ended with code {code}: {}",
                    String::from_utf8_lossy(&result.stdout).trim_end()
                ))),
            };
        }
    };
    task.signal(number, whom).map_err(|why| failed(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(action: Action, wait_milliseconds: u32) -> StopStep {
        StopStep { action, wait_milliseconds }
    }

    #[test]
    fn the_job_s_signal_goes_before_the_plan_s_steps_and_these_before_the_default() {
        let planned = Memo { stop: vec![step(Action::Main(15), 100), step(Action::All(9), 0)], ..Memo::default() };
        assert_eq!(steps(&planned, Some("SIGHUP")), [step(Action::Main(1), u32::MAX)]);
        assert_eq!(steps(&planned, None), planned.stop);
        assert_eq!(steps(&Memo::default(), None), [step(Action::Main(2), u32::MAX)]);
        let mapped = Memo { signals: vec![(1, Action::All(15))], ..Memo::default() };
        assert_eq!(steps(&mapped, Some("hup")), [step(Action::All(15), u32::MAX)]);
    }

    #[test]
    fn an_unknown_signal_stops_the_task_all_the_same() {
        assert_eq!(steps(&Memo::default(), Some("SIGFOO")), [step(Action::Main(2), u32::MAX)]);
    }
}
