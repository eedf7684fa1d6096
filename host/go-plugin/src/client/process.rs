//! The plugin's process and its two pipes.

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot, watch};

use super::lines;
use super::log::Log;

/// Go's library reads stdout in lines of at most this length, and stops reading at a longer one.
const STDOUT_LINE_MAX: usize = 64 * 1024;

/// Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    kill: Arc<Notify>,
    ended: watch::Receiver<Option<ExitStatus>>,
    log: Arc<Log>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill.notify_one();
    }
}

impl Process {
    /// Starts it. The receiver gets the first line on stdout, and an error if stdout ends before one.
    pub(super) fn spawn(mut command: Command) -> io::Result<(Process, oneshot::Receiver<String>)> {
        // A task owns the child; should the runtime go first, the child must not stay.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the new process has no id"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the new process has no pipes"));
        };
        let log = Arc::new(Log::default());
        let kill = Arc::new(Notify::new());
        let (first_line, receiver) = oneshot::channel();
        let (has_ended, ended) = watch::channel(None);
        let pipes = {
            let log = Arc::clone(&log);
            async move {
                let (stdout, ()) = tokio::join!(read_stdout(stdout, first_line), lines::read_stderr(stderr, &log));
                log.close();
                stdout
            }
        };
        tokio::spawn(attend(child, pipes, Arc::clone(&kill), has_ended));
        Ok((Process { pid, kill, ended, log }, receiver))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Resolves when it has ended and its pipes have.
    pub(super) async fn died(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.unwrap_or_else(unknown)
    }

    pub(super) async fn kill_and_wait(&self) -> ExitStatus {
        self.kill.notify_one();
        self.died().await
    }
}

/// Only a process that somebody else waited for, too, has no status.
fn unknown() -> ExitStatus {
    ExitStatus::from_raw(0xff00)
}

/// Waits for the end of the pipes, then of the process: the order in which a Go parent notices a death. The process is not waited
/// for before, so its id is its own when it is killed.
async fn attend<Stdout>(
    mut child: Child,
    pipes: impl Future<Output = Stdout>,
    kill: Arc<Notify>,
    has_ended: watch::Sender<Option<ExitStatus>>,
) {
    let mut pipes = std::pin::pin!(pipes);
    // Kept: who has been stopped reading is not closed yet.
    let _stdout = loop {
        tokio::select! {
            stdout = &mut pipes => break stdout,
            () = kill.notified() => { let _ = child.start_kill(); }
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                has_ended.send_replace(Some(status.unwrap_or_else(|_| unknown())));
                return;
            }
            () = kill.notified() => { let _ = child.start_kill(); }
        }
    }
}

/// Hands on the first line, then reads on so that the plugin is not held up; up to a line that is too long.
async fn read_stdout<R: AsyncRead + Unpin>(stdout: R, first_line: oneshot::Sender<String>) -> BufReader<R> {
    let mut stdout = BufReader::with_capacity(STDOUT_LINE_MAX, stdout);
    let mut first = Some((first_line, Vec::new()));
    let mut length = 0;
    while let Ok(chunk) = stdout.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let newline = chunk.iter().position(|byte| *byte == b'\n');
        let used = newline.map_or(chunk.len(), |newline| newline + 1);
        length += used;
        if length > STDOUT_LINE_MAX {
            return stdout;
        }
        if let Some((_, line)) = &mut first {
            line.extend_from_slice(chunk.get(..used).unwrap_or_default());
        }
        stdout.consume(used);
        if newline.is_some() {
            length = 0;
            hand_over(first.take());
        }
    }
    // A last line needs no newline.
    if length > 0 {
        hand_over(first.take());
    }
    stdout
}

fn hand_over(first: Option<(oneshot::Sender<String>, Vec<u8>)>) {
    if let Some((receiver, line)) = first {
        let _ = receiver.send(String::from_utf8_lossy(&line).into_owned());
    }
}
