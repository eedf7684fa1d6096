//! Commands in a running task, with their streams: in order, no faster than the other end reads, the exit result last.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tonic::{Status, Streaming};

use super::{ExitResult, PluginError, TaskDriver, wire};
use crate::caught::{CALL_MAX, caught_at_last};
use crate::proto::driver::{ExecTaskStreamingIoOperation as Operation, ExecTaskStreamingRequest as Request};
use crate::proto::driver::{ExecTaskStreamingResponse as Response, exec_task_streaming_request::TerminalSize};

const CALL: &str = "ExecTaskStreaming";

/// A command to run in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The task.
    pub task_id: String,
    /// The program and its arguments: at least one word.
    pub command: Vec<String>,
    /// On a terminal; then there is no separate stderr.
    pub tty: bool,
}

/// What a command brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// What it wrote there. Agents look at this one only.
    pub stdout: Vec<u8>,
    /// What it wrote there.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: ExitResult,
}

/// What comes from the one who runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes for stdin.
    Stdin(Vec<u8>),
    /// The end of stdin.
    CloseStdin,
    /// The terminal has another size: in characters, zero where it is not known.
    Resize {
        /// Lines.
        height: u16,
        /// Columns.
        width: u16,
    },
}

/// Which stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Standard output, and all output on a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Nobody takes output any more: the caller went away, or that stream was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes this output any more")]
pub struct CallerGone;

/// Takes what a command writes.
#[derive(Debug)]
pub struct ExecOutput {
    end: Arc<Mutex<Option<End>>>,
}

#[derive(Debug)]
struct End {
    answers: mpsc::Sender<Result<Response, Status>>,
    stdout_closed: bool,
    stderr_closed: bool,
}

impl ExecOutput {
    /// Hands bytes on; waits until the other end has read enough of those before.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn write(&self, kind: OutputKind, bytes: Vec<u8>) -> Result<(), CallerGone> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.send(kind, Operation { data: bytes, close: false }).await
    }

    /// Tells the end of a stream, which otherwise comes with the command's.
    ///
    /// # Errors
    /// If the other end is gone, or was told already.
    pub async fn close(&self, kind: OutputKind) -> Result<(), CallerGone> {
        self.send(kind, Operation { data: Vec::new(), close: true }).await
    }

    async fn send(&self, kind: OutputKind, operation: Operation) -> Result<(), CallerGone> {
        let mut end = self.end.lock().await;
        end.as_mut().ok_or(CallerGone)?.send(kind, operation).await
    }
}

impl End {
    async fn send(&mut self, kind: OutputKind, operation: Operation) -> Result<(), CallerGone> {
        let closed = match kind {
            OutputKind::Stdout => &mut self.stdout_closed,
            OutputKind::Stderr => &mut self.stderr_closed,
        };
        if std::mem::replace(closed, *closed || operation.close) {
            return Err(CallerGone);
        }
        let response = match kind {
            OutputKind::Stdout => Response { stdout: Some(operation), ..Response::default() },
            OutputKind::Stderr => Response { stderr: Some(operation), ..Response::default() },
        };
        self.answers.send(Ok(response)).await.map_err(|_| CallerGone)
    }

    /// The last messages. A caller that went away misses nothing by them.
    async fn finish(mut self, result: Result<ExitResult, PluginError>) {
        let exit = match result {
            Ok(exit) => exit,
            Err(why) => {
                let _ = self.answers.send(Err(why.into())).await;
                return;
            }
        };
        for kind in [OutputKind::Stdout, OutputKind::Stderr] {
            let _ = self.send(kind, Operation { data: Vec::new(), close: true }).await;
        }
        let last = Response { exited: true, result: Some(wire::exit(exit)), ..Response::default() };
        let _ = self.answers.send(Ok(last)).await;
    }
}

/// A command that could run.
pub(super) fn check(call: &str, command: &[String]) -> Result<(), PluginError> {
    match command.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err(PluginError::invalid_argument(format!("{call}: the command is empty"))),
    }
}

/// One command. The task, and with it the command, ends when the caller went away.
pub(super) fn start(
    driver: Arc<dyn TaskDriver>,
    requests: Streaming<Request>,
) -> mpsc::Receiver<Result<Response, Status>> {
    let (answers, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let caller = answers.clone();
        let end = End { answers, stdout_closed: false, stderr_closed: false };
        tokio::select! {
            () = caller.closed() => {}
            () = serve(&*driver, requests, end) => {}
        }
    });
    receiver
}

async fn serve(driver: &dyn TaskDriver, mut requests: Streaming<Request>, end: End) {
    let (exec, first) = match setup(&mut requests).await {
        Ok(setup) => setup,
        Err(why) => return end.finish(Err(why)).await,
    };
    let end = Arc::new(Mutex::new(Some(end)));
    let output = ExecOutput { end: Arc::clone(&end) };
    let (inputs, input) = mpsc::channel(1);
    let result = tokio::select! {
        result = caught_at_last(CALL, driver.exec_stream(exec, input, output)) => result,
        why = pass_on(first, &mut requests, inputs) => Err(why),
    };
    // Taken away from whoever still has the output: nothing comes after the end.
    let end = end.lock().await.take();
    if let Some(end) = end {
        end.finish(result).await;
    }
}

/// The first message says what to run, and may hold input, too.
async fn setup(requests: &mut Streaming<Request>) -> Result<(Exec, Request), PluginError> {
    let first = match tokio::time::timeout(CALL_MAX, requests.message()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => return Err(PluginError::invalid_argument("ExecTaskStreaming: there is no first message")),
        Ok(Err(why)) => return Err(broken(&why)),
        Err(_) => {
            let why = format!("ExecTaskStreaming: no first message came within {CALL_MAX:?}");
            return Err(PluginError::deadline_exceeded(why));
        }
    };
    let setup = first.setup.clone().ok_or_else(|| {
        PluginError::invalid_argument("ExecTaskStreaming: the first message has no `setup`, which says what to run")
    })?;
    check(CALL, &setup.command)?;
    Ok((Exec { task_id: setup.task_id, command: setup.command, tty: setup.tty }, first))
}

/// Passes input on in order. Returns only if the caller's stream breaks; its end is only that of the input.
async fn pass_on(first: Request, requests: &mut Streaming<Request>, inputs: mpsc::Sender<ExecInput>) -> PluginError {
    let mut inputs = Some(inputs);
    let mut next = Some(first);
    while let Some(request) = next {
        for input in parts(request) {
            // A command that reads no more does not keep the caller from sending.
            if let Some(open) = &inputs
                && open.send(input).await.is_err()
            {
                inputs = None;
            }
        }
        next = match requests.message().await {
            Ok(next) => next,
            Err(why) => return broken(&why),
        };
    }
    drop(inputs);
    std::future::pending().await
}

fn broken(why: &Status) -> PluginError {
    PluginError::invalid_argument(format!("ExecTaskStreaming: the input broke off: {}", why.message()))
}

/// Nothing in a message is a sign of life.
fn parts(request: Request) -> Vec<ExecInput> {
    let mut parts = Vec::new();
    if let Some(size) = request.tty_size {
        parts.push(resize(&size));
    }
    if let Some(stdin) = request.stdin {
        if !stdin.data.is_empty() {
            parts.push(ExecInput::Stdin(stdin.data));
        }
        if stdin.close {
            parts.push(ExecInput::CloseStdin);
        }
    }
    parts
}

fn resize(size: &TerminalSize) -> ExecInput {
    let cells = |number: i32| u16::try_from(number.max(0)).unwrap_or(u16::MAX);
    ExecInput::Resize { height: cells(size.height), width: cells(size.width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_hold_all_kinds_of_input_and_none() {
        let size = |height, width| Some(TerminalSize { height, width });
        let all = Request {
            tty_size: size(40, 100_000),
            stdin: Some(Operation { data: b"x".to_vec(), close: true }),
            setup: None,
        };
        let wanted =
            [ExecInput::Resize { height: 40, width: u16::MAX }, ExecInput::Stdin(b"x".to_vec()), ExecInput::CloseStdin];
        assert_eq!(parts(all), wanted);
        assert_eq!(parts(Request::default()), []);
        assert_eq!(
            parts(Request { tty_size: size(-1, 0), ..Request::default() }),
            [ExecInput::Resize { height: 0, width: 0 }]
        );
    }
}
