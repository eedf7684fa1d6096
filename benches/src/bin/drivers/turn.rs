//! One task after the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use yurt_conformance::driver::PATIENCE;
use yurt_nomad::driver::ExitResult;

use crate::program::Words;
use crate::side::Side;
use crate::thing::Thing;

/// Not 0, which a task that never ran may seem to have ended with; not what a shell or Python says of its own troubles.
const CODE: i32 = 7;
const SHORT: Words<'_> = Words::shell("echo ready; exit 7");
const SHORT_PYTHON: Words<'_> = Words::python("import os; os.write(1, b'ready'); os._exit(7)");
/// Process 1 of a namespace, which exec makes of it, ends of no signal that it does not handle.
const OBEDIENT: Words<'_> = Words::python(
    "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(7))\nos.write(1, b'ready')\n\
     while True: signal.pause()",
);
/// Commands in one task.
const COMMANDS: usize = 3;

/// Tasks beside others.
const BESIDE: usize = 5;
/// What a WaitTask that is under way has to get to the driver.
const ASKED: Duration = Duration::from_millis(20);

/// A short-lived task of a shell, one of Python, then one that stays until it is stopped.
pub(crate) async fn turn(side: &mut Side) -> Result<()> {
    if let Some(shell) = short(side, SHORT).await? {
        side.measured.add(Thing::Start, shell.answered);
        side.measured.add(Thing::FirstByte, shell.first_byte);
        side.measured.add(Thing::Whole, shell.ended);
        side.measured.add(Thing::Destroy, shell.destroyed);
    }
    if let Some(python) = short(side, SHORT_PYTHON).await? {
        side.measured.add(Thing::FirstByteOfPython, python.first_byte);
    }

    let request = side.request(OBEDIENT);
    let task = side.node.run(request).await;
    task.ready().await;
    for _ in 0..COMMANDS {
        let began = Instant::now();
        let result = task.exec(&["/bin/true"]).await;
        side.measured.add(Thing::Exec, began.elapsed());
        ensure!(result.exit == ExitResult::code(0), "ExecTask of true: {result:?}");
    }
    let waiting = task.clone();
    let waiting = tokio::spawn(async move { waiting.wait().await });
    tokio::time::sleep(ASKED).await;
    let began = Instant::now();
    task.stop(PATIENCE, "SIGTERM").await?;
    let took = began.elapsed();
    if side.ended_with(CODE, &waiting.await?)? {
        side.measured.add(Thing::Stop, took);
    }
    task.destroy(true).await?;
    side.clear().await;
    Ok(())
}

/// Short-lived tasks of a shell beside those that are there.
pub(crate) async fn beside(side: &mut Side) -> Result<()> {
    for _ in 0..BESIDE {
        if let Some(shell) = short(side, SHORT).await? {
            side.measured.add(Thing::StartBeside, shell.answered);
        }
    }
    Ok(())
}

/// From the request on.
struct Short {
    answered: Duration,
    first_byte: Duration,
    ended: Duration,
    /// From the request to destroy it on.
    destroyed: Duration,
}

/// None where the driver lost the exit code.
async fn short(side: &mut Side, words: Words<'_>) -> Result<Option<Short>> {
    let request = side.request(words);
    let site = side.node.site(false);
    let config = side.node.task_config(&site, &request);
    let began = Instant::now();
    let task = side.node.start_at(&site, config).await?;
    let answered = began.elapsed();
    let result = task.wait().await;
    let ended = began.elapsed();
    let well = side.ended_with(CODE, &result).with_context(|| task.stderr().text())?;
    task.ready().await;
    let first_byte = task.stdout().first_at().context("no output")?.duration_since(began);
    let began = Instant::now();
    task.destroy(true).await?;
    let destroyed = began.elapsed();
    Ok(well.then_some(Short { answered, first_byte, ended, destroyed }))
}
