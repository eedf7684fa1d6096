//! Commands in a task: to their end with what they wrote, or with their streams.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use yurt_nomad::driver::{ExecInput, ExecOutput, ExecResult, ExitResult, OutputKind, PluginError};
use yurt_task::{Command, ExecOptions, Task};

use super::component::NO_COMMANDS;
use super::memo::Memo;

/// Most of what a command writes that is kept for one answer, in bytes: more would not fit into a message that everybody takes.
const KEPT: usize = 1 << 20;
/// One piece of a stream.
const PIECE: usize = 32 * 1024;

/// Runs a command and waits for it. All of it is killed after `timeout`, and when this is dropped.
pub(crate) async fn run(
    task: &Task,
    memo: &Memo,
    words: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecResult, PluginError> {
    let what = words.first().cloned().unwrap_or_default();
    let command = begun(task, memo, words, None).await?;
    let Some(timeout) = timeout else { return to_its_end(command).await };
    tokio::time::timeout(timeout, to_its_end(command)).await.unwrap_or_else(|_| {
        Err(PluginError::deadline_exceeded(format!("{what} did not end within {timeout:?}, and was killed")))
    })
}

async fn begun(task: &Task, memo: &Memo, words: Vec<String>, tty: Option<(u16, u16)>) -> Result<Command, PluginError> {
    if memo.component {
        return Err(PluginError::failed_precondition(NO_COMMANDS));
    }
    let argv = memo.exec_prefix.iter().cloned().chain(words).collect();
    let command = task.exec(ExecOptions { argv, env: Vec::new(), tty }).await;
    command.map_err(|why| PluginError::failed_precondition(why.to_string()))
}

/// What a command writes and how it ends. Both outputs stand in `stdout` as they came, since agents look at nothing else, and what went
/// to the second also in `stderr`.
async fn to_its_end(mut command: Command) -> Result<ExecResult, PluginError> {
    drop(command.stdin.take());
    let mut result = ExecResult::default();
    let (mut stdout, mut stderr) = (command.stdout.take(), command.stderr.take());
    let (mut first, mut second) = (vec![0; PIECE], vec![0; PIECE]);
    while stdout.is_some() || stderr.is_some() {
        tokio::select! {
            read = piece(&mut stdout, &mut first) => {
                keep(&mut result.stdout, first.get(..read).unwrap_or_default());
                if read == 0 { stdout = None; }
            }
            read = piece(&mut stderr, &mut second) => {
                let read_now = second.get(..read).unwrap_or_default();
                keep(&mut result.stdout, read_now);
                keep(&mut result.stderr, read_now);
                if read == 0 { stderr = None; }
            }
        }
    }
    result.exit = exit(&command.wait().await);
    Ok(result)
}

async fn piece(from: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(into).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn keep(kept: &mut Vec<u8>, more: &[u8]) {
    let room = KEPT.saturating_sub(kept.len());
    kept.extend(more.iter().take(room));
}

pub(crate) fn exit(exit: &yurt_task::Exit) -> ExitResult {
    ExitResult { code: exit.code, signal: i32::try_from(exit.signal).unwrap_or_default(), oom_killed: exit.oom_killed }
}

/// Runs a command with its streams. It is read no faster than the other end takes it, and killed when this is dropped.
pub(crate) async fn stream(
    task: &Task,
    memo: &Memo,
    words: Vec<String>,
    tty: bool,
    input: mpsc::Receiver<ExecInput>,
    output: ExecOutput,
) -> Result<ExitResult, PluginError> {
    let mut command = begun(task, memo, words, tty.then_some((0, 0))).await?;
    let (stdin, stdout, stderr) = (command.stdin.take(), command.stdout.take(), command.stderr.take());
    let resizer = command.resizer();
    let feeding = feed(stdin, resizer, input);
    let draining = async {
        tokio::join!(drain(stdout, OutputKind::Stdout, &output), drain(stderr, OutputKind::Stderr, &output));
    };
    tokio::pin!(feeding);
    tokio::select! {
        () = draining => {}
        () = async { (&mut feeding).await; std::future::pending().await } => {}
    }
    Ok(exit(&command.wait().await))
}

async fn drain(from: Option<impl AsyncRead + Unpin>, kind: OutputKind, output: &ExecOutput) {
    let mut from = from;
    let mut buffer = vec![0; PIECE];
    loop {
        if from.is_none() {
            return;
        }
        let read = piece(&mut from, &mut buffer).await;
        if read == 0 {
            let _ = output.close(kind).await;
            return;
        }
        if output.write(kind, buffer.get(..read).unwrap_or_default().to_vec()).await.is_err() {
            // Nobody takes it; the command goes on, and its caller's end is noticed elsewhere.
            from = None;
        }
    }
}

async fn feed(
    stdin: Option<impl tokio::io::AsyncWrite + Unpin>,
    resizer: Option<yurt_task::Resizer>,
    mut input: mpsc::Receiver<ExecInput>,
) {
    let mut stdin = stdin;
    while let Some(next) = input.recv().await {
        match next {
            ExecInput::Stdin(bytes) => {
                if let Some(open) = &mut stdin
                    && open.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            ExecInput::CloseStdin => stdin = None,
            ExecInput::Resize { height, width } => {
                if let Some(resizer) = &resizer {
                    resizer.resize(height, width);
                }
            }
        }
    }
}
