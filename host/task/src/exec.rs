//! Commands run in a task: its keeper starts them, their streams come from there and go to whoever reads.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;
use yurt_keeper::answer::Say;
use yurt_keeper::request::Ask;

use crate::channel::Channel;
use crate::error::{ExecError, Reason, StepError};
use crate::exit::{self, Exit};
use crate::proc;
use crate::start;
use crate::sys;
use crate::task::{Facts, KILL, step};

/// Longest that a keeper may take to start a command.
const START: Duration = Duration::from_secs(30);
/// How long output of children that a command left behind is waited for.
const GRACE: Duration = Duration::from_millis(50);
/// Most that a terminal holds back.
const TERMINAL: usize = 256 * 1024;
const STEP: &str = "running the command";

/// A command to run in a task: within its namespaces and control groups, with its identity and environment.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The program, looked up in the task's `PATH` unless it holds a slash, and its arguments.
    pub argv: Vec<String>,
    /// Laid over the task's environment.
    pub env: Vec<(String, String)>,
    /// On a terminal of this many rows and columns; 0: not known.
    pub tty: Option<(u16, u16)>,
}

/// A command that was started in a task. Dropped, it and everything it started is killed.
#[derive(Debug)]
pub struct Command {
    /// Its process id on the host.
    pub pid: u32,
    /// What is written here it reads. Dropped or shut down, it reads the end of the file; on a terminal nothing then.
    pub stdin: Option<Input>,
    /// What it writes, on a terminal both streams. Nothing is read ahead: it waits when nobody reads. Ends when all that could write
    /// has ended, or the command has and what it wrote has been read.
    pub stdout: Option<Output>,
    /// What it writes as errors; none on a terminal.
    pub stderr: Option<Output>,
    terminal: Option<Arc<OwnedFd>>,
    channel: Arc<Channel>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Command {
    /// For its terminal; `None`: it has none.
    pub fn resizer(&self) -> Option<Resizer> {
        self.terminal.clone().map(Resizer)
    }

    /// How it ended; code -1 and a reason if its keeper ended first. Its output can still be read after that. Cancel safe, and the same
    /// each time.
    pub async fn wait(&mut self) -> Exit {
        let known = self.exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        known.unwrap_or_else(|| Exit::from_keeper(exit::unknown("it is not watched any more", SystemTime::now())))
    }

    /// Kills it and everything it started.
    pub fn kill(&mut self) -> io::Result<()> {
        self.channel.ask_now(Ask::Kill(true))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        // The keeper kills what a lost connection leaves. The other holder of the channel ends by it.
        self.channel.shut();
    }
}

/// Tells a command's terminal its size.
#[derive(Debug, Clone)]
pub struct Resizer(Arc<OwnedFd>);

impl Resizer {
    /// In characters. A terminal whose command has ended has no use for it, which is no failure.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = rustix::termios::tcsetwinsize(&self.0, size);
    }
}

/// See [`crate::Task::exec`].
pub(crate) async fn start(facts: &Arc<Facts>, options: ExecOptions) -> Result<Command, ExecError> {
    if facts.exit().is_some() {
        return Err(ExecError::Ended);
    }
    let channel = match Channel::connect(facts.entry.as_fd()).await {
        Ok(channel) => Arc::new(channel),
        Err(_) if facts.exit().is_some() => return Err(ExecError::Ended),
        Err(_) if !facts.keeper_lives() => return Err(ExecError::NoKeeper),
        Err(e) => return Err(step("reaching the task's keeper", "", &e).into()),
    };
    let (rows, columns) = options.tty.unwrap_or_default();
    let exec = yurt_keeper::Exec {
        argv: options.argv.into_iter().map(String::into_bytes).collect(),
        tty: options.tty.is_some(),
        rows: rows.into(),
        columns: columns.into(),
        env: options.env.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
    };
    let (ours, theirs) =
        if exec.tty { (None, None) } else { pipes().map(|(ours, theirs)| (Some(ours), Some(theirs)))? };
    let with: Vec<_> = theirs.iter().flatten().map(AsFd::as_fd).collect();
    let heard = async {
        channel.ask(Ask::Exec(exec), &with).await?;
        channel.hear().await
    };
    let heard = tokio::time::timeout(START, heard).await;
    drop(theirs);
    let late = || StepError {
        step: STEP.to_owned(),
        what: String::new(),
        reason: Reason::Late(format!("no word within {START:?}")),
    };
    let (pid, mut fds) = match heard.map_err(|_| late())? {
        Ok(Some((Say::ExecStarted(started), fds))) => (started.pid, fds),
        Ok(Some((Say::Failed(failed), _))) if failed.step == yurt_keeper::Step::Ended.number() => {
            return Err(ExecError::Ended);
        }
        Ok(Some((Say::Failed(failed), _))) => return Err(start::step(&failed).into()),
        Ok(_) => return Err(ExecError::NoKeeper),
        Err(e) => return Err(step(STEP, "speaking with the task's keeper", &e).into()),
    };
    let (tell, exit) = watch::channel(None);
    tokio::spawn(watch_command(Arc::clone(&channel), pid, tell));
    let streams = match ours {
        Some(ours) => Streams::pipes(ours, &exit),
        None => fds
            .pop()
            .ok_or_else(|| io::Error::other("no terminal came"))
            .and_then(|master| Streams::terminal(master, &exit)),
    };
    let streams = streams.inspect_err(|_| channel.shut()).map_err(|e| step(STEP, "its streams", &e))?;
    let Streams { stdin, stdout, stderr, terminal } = streams;
    Ok(Command { pid, stdin: Some(stdin), stdout: Some(stdout), stderr, terminal, channel, exit })
}

/// Hears how a command ended. If its keeper ends first nobody else will kill it.
async fn watch_command(channel: Arc<Channel>, pid: u32, tell: watch::Sender<Option<Exit>>) {
    let process = proc::open(pid);
    let exit = loop {
        match channel.hear().await {
            Ok(Some((Say::Exit(exit), _))) => break exit,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break exit::unknown("the task's keeper has ended", SystemTime::now()),
        }
    };
    if !exit.unknown.is_empty()
        && let Some(process) = process.filter(|process| !proc::has_ended(process.as_fd()))
    {
        for member in proc::family(Some(pid), None).into_iter().filter_map(proc::open) {
            let _ = sys::send_signal(member.as_fd(), KILL);
        }
        let _ = sys::send_signal(process.as_fd(), KILL);
    }
    tell.send_replace(Some(Exit::from_keeper(exit)));
}

/// Three pipes: our ends, which do not wait, and the command's.
fn pipes() -> Result<([OwnedFd; 3], [OwnedFd; 3]), StepError> {
    let pipe = || {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((read, write))
    };
    let all = || -> Result<_, Errno> {
        let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
        for ours in [&input, &output, &errors] {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        Ok(([input, output, errors], [stdin, stdout, stderr]))
    };
    all().map_err(|errno| StepError::errno(STEP, "its pipes", errno))
}

struct Streams {
    stdin: Input,
    stdout: Output,
    stderr: Option<Output>,
    terminal: Option<Arc<OwnedFd>>,
}

impl Streams {
    fn pipes([input, output, errors]: [OwnedFd; 3], exit: &watch::Receiver<Option<Exit>>) -> io::Result<Streams> {
        let capacity = |pipe: &OwnedFd| rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(64 * 1024);
        let (most, most_errors) = (capacity(&output), capacity(&errors));
        Ok(Streams {
            stdin: Input(Some(sys::awaited(input, Interest::WRITABLE)?)),
            stdout: Output::new(output, most, exit.clone())?,
            stderr: Some(Output::new(errors, most_errors, exit.clone())?),
            terminal: None,
        })
    }

    fn terminal(master: OwnedFd, exit: &watch::Receiver<Option<Exit>>) -> io::Result<Streams> {
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Streams {
            stdin: Input(Some(sys::awaited(master.try_clone()?, Interest::WRITABLE)?)),
            stdout: Output::new(master.try_clone()?, TERMINAL, exit.clone())?,
            stderr: None,
            terminal: Some(Arc::new(master)),
        })
    }
}

/// Writes to a command.
#[derive(Debug)]
pub struct Input(Option<AsyncFd<OwnedFd>>);

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(fd) = &self.0 else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut ready = ready!(fd.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

/// Reads from a command.
pub struct Output {
    fd: AsyncFd<OwnedFd>,
    /// Ready once the command has ended.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// After that: how many bytes it may have left behind, and how long the next may take.
    rest: usize,
    idle: Pin<Box<Sleep>>,
}

impl Output {
    fn new(fd: OwnedFd, most: usize, mut exit: watch::Receiver<Option<Exit>>) -> io::Result<Output> {
        let ended = async move {
            let _ = exit.wait_for(Option::is_some).await;
        };
        let idle = Box::pin(tokio::time::sleep(Duration::ZERO));
        Ok(Output { fd: sys::awaited(fd, Interest::READABLE)?, ended: Some(Box::pin(ended)), rest: most, idle })
    }

    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(ended) = &mut self.ended {
            if ended.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.ended = None;
            self.idle.as_mut().reset(tokio::time::Instant::now() + GRACE);
        }
        true
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl AsyncRead for Output {
    /// What the command itself wrote lies in the pipe when it ends: as much as fits there is read on, as long as it comes at once.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ended = this.has_ended(cx);
        let most = if ended { buffer.remaining().min(this.rest) } else { buffer.remaining() };
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut ready = match this.fd.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending if ended => {
                    ready!(this.idle.as_mut().poll(cx));
                    this.rest = 0;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            };
            let into = buffer.initialize_unfilled_to(most);
            let read = match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), into)?)) {
                Ok(Ok(read)) => read,
                // A terminal whose last user has gone.
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => 0,
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_) => continue,
            };
            buffer.advance(read);
            if ended {
                this.rest -= read.min(this.rest);
                this.idle.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
            return Poll::Ready(Ok(()));
        }
    }
}
