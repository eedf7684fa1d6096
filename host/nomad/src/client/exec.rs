//! A command in a running task, as `nomad alloc exec` runs it.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::answers::Answers;
use super::{CallError, refused};
use crate::driver::{ExecInput, ExecResult, ExitResult, OutputKind, wire};
use crate::proto::driver::driver_client::DriverClient;
use crate::proto::driver::exec_task_streaming_request::{Setup, TerminalSize};
use crate::proto::driver::{
    ExecTaskStreamingIoOperation as Operation, ExecTaskStreamingRequest as Request,
    ExecTaskStreamingResponse as Response,
};

const CALL: &str = "ExecTaskStreaming";

/// A command that runs in a task. Dropping it ends the command.
#[derive(Debug)]
pub struct ExecSession {
    input: Option<mpsc::Sender<Request>>,
    output: Answers<Response>,
    ready: VecDeque<ExecAnswer>,
}

/// What comes from the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecAnswer {
    /// It wrote this.
    Output(OutputKind, Vec<u8>),
    /// It will write no more there.
    Closed(OutputKind),
    /// It ended; the last message.
    Exited(ExitResult),
}

impl ExecSession {
    pub(super) fn open(mut client: DriverClient<Channel>, id: &str, command: &[&str], tty: bool) -> ExecSession {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let setup = Setup { task_id: id.to_owned(), command, tty };
        let (input, requests) = mpsc::channel(1);
        // There is room for one, and the call takes it.
        let _ = input.try_send(Request { setup: Some(setup), ..Request::default() });
        let call = async move { client.exec_task_streaming(ReceiverStream::new(requests)).await };
        ExecSession { input: Some(input), output: Answers::of(call), ready: VecDeque::new() }
    }

    /// Sends input; waits until there is room for it. After the command's end it goes nowhere.
    pub async fn send(&self, input: ExecInput) {
        self.sender().send(input).await;
    }

    /// For sending beside [`next`](ExecSession::next), as long as the session is there.
    pub fn sender(&self) -> ExecSender {
        ExecSender { input: self.input.as_ref().map(mpsc::Sender::downgrade) }
    }

    /// Ends the input as a whole, which agents never do.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for the next; `None` after the end.
    pub async fn next(&mut self) -> Result<Option<ExecAnswer>, CallError> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Ok(Some(answer));
            }
            match self.output.message().await.map_err(refused(CALL))? {
                Some(message) => self.ready.extend(answers(message)?),
                None => return Ok(None),
            }
        }
    }

    /// Collects all that still comes. An exit result that is not the last message is an error.
    pub async fn finish(&mut self) -> Result<ExecResult, CallError> {
        let mut result = ExecResult::default();
        let mut exit = None;
        while let Some(answer) = self.next().await? {
            if exit.is_some() {
                return Err(CallError::Lacking { call: CALL, missing: "end after `exited`" });
            }
            match answer {
                ExecAnswer::Output(OutputKind::Stdout, bytes) => result.stdout.extend(bytes),
                ExecAnswer::Output(OutputKind::Stderr, bytes) => result.stderr.extend(bytes),
                ExecAnswer::Closed(_) => {}
                ExecAnswer::Exited(how) => exit = Some(how),
            }
        }
        result.exit = exit.ok_or(CallError::Lacking { call: CALL, missing: "exited" })?;
        Ok(result)
    }
}

/// Sends input to a command.
#[derive(Debug, Clone)]
pub struct ExecSender {
    input: Option<mpsc::WeakSender<Request>>,
}

impl ExecSender {
    /// Waits until there is room for it. After the command's end it goes nowhere.
    pub async fn send(&self, input: ExecInput) {
        let request = match input {
            ExecInput::Stdin(data) => stdin(data, false),
            ExecInput::CloseStdin => stdin(Vec::new(), true),
            ExecInput::Resize { height, width } => Request {
                tty_size: Some(TerminalSize { height: height.into(), width: width.into() }),
                ..Request::default()
            },
        };
        self.send_request(request).await;
    }

    /// A message without anything in it, as agents send them to keep the connection.
    pub async fn heartbeat(&self) {
        self.send_request(Request::default()).await;
    }

    async fn send_request(&self, request: Request) {
        if let Some(input) = self.input.as_ref().and_then(mpsc::WeakSender::upgrade) {
            let _ = input.send(request).await;
        }
    }
}

fn stdin(data: Vec<u8>, close: bool) -> Request {
    Request { stdin: Some(Operation { data, close }), ..Request::default() }
}

fn answers(message: Response) -> Result<Vec<ExecAnswer>, CallError> {
    let mut answers = Vec::new();
    for (kind, operation) in [(OutputKind::Stdout, message.stdout), (OutputKind::Stderr, message.stderr)] {
        let Some(operation) = operation else { continue };
        if !operation.data.is_empty() {
            answers.push(ExecAnswer::Output(kind, operation.data));
        }
        if operation.close {
            answers.push(ExecAnswer::Closed(kind));
        }
    }
    if message.exited {
        let result = message.result.ok_or(CallError::Lacking { call: CALL, missing: "result" })?;
        answers.push(ExecAnswer::Exited(wire::exit_from(result)));
    }
    Ok(answers)
}
