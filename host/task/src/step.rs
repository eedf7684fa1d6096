//! A command that goes before a task: in the same root, as the same user, in the same control groups and under the same limits. It is a
//! task of its own that only this process knows of, and whatever becomes of it, nothing of it is left when that is told.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::entry::{self, Entry};
use crate::error::{ForgetError, StartError, StepError};
use crate::exit::Exit;
use crate::launch::Launch;
use crate::sys;
use crate::task::{Task, step};
use crate::tasks::Tasks;

/// What an id has that is a step's.
const MARK: &str = "/prepare";
/// Most of its output that is kept: the end of it, in bytes.
const KEPT: usize = 4096;
/// How long the kernel may take to end what was killed.
const KILL: Duration = Duration::from_secs(15);

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// Why.
    pub how: StepOutcome,
    /// The end of what it wrote, to either stream.
    pub output: Vec<u8>,
}

/// Why a step is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It ended by itself, or was killed for memory.
    Ended(Exit),
    /// It was killed: its time was up.
    Late,
    /// It was killed: nobody wants the task any more.
    GivenUp,
}

/// The task whose step has this id.
pub(crate) fn task_of(id: &str) -> Option<&str> {
    id.strip_suffix(MARK)
}

impl Tasks {
    /// Runs a command as the launched task would run its program, to its end. `given_up` turns true when nobody wants the task any more.
    pub async fn step(
        &self,
        launch: &Launch,
        argv: Vec<String>,
        time: Duration,
        mut given_up: watch::Receiver<bool>,
    ) -> Result<StepEnd, StartError> {
        self.end_step_of(&launch.id).await?;
        let id = format!("{}{MARK}", launch.id);
        let pipe = Pipe::make(&entry::place(&self.room().path, entry::name(&id)).with_extension("output"))?;
        let launch = Launch { id, argv, stdout: pipe.path.clone(), stderr: pipe.path.clone(), ..launch.clone() };
        let held = Held(Some(self.start(launch).await?));
        let Some(task) = held.0.clone() else { return Err(lost("it is gone").into()) };
        let mut output = VecDeque::new();
        let how = tokio::select! {
            exit = task.wait() => StepOutcome::Ended(exit),
            () = pipe.read_into(&mut output) => StepOutcome::GivenUp,
            () = tokio::time::sleep(time) => StepOutcome::Late,
            Ok(_) = given_up.wait_for(|given_up| *given_up) => StepOutcome::GivenUp,
        };
        pipe.read_rest(&mut output);
        held.end().await?;
        Ok(StepEnd { how, output: output.into() })
    }

    /// Somebody is starting a task of this id, or its keeper lives.
    pub fn is_being_started(&self, id: &str) -> bool {
        matches!(Entry::open(&self.room().path, entry::name(id)), Ok(Some(there)) if !there.take())
    }

    /// Ends what a plugin left that died while it ran a step of this task.
    pub async fn end_step_of(&self, id: &str) -> Result<(), StartError> {
        let left = self.adopt(&format!("{id}{MARK}")).await.map_err(|why| lost(&why.to_string()))?;
        match left {
            Some(task) => Ok(Held(Some(task)).end().await?),
            None => Ok(()),
        }
    }
}

fn lost(why: &str) -> StepError {
    StepError::text("ending what went before the task", "", why)
}

/// A step under way: ended and forgotten, whatever happens.
struct Held(Option<Task>);

impl Held {
    async fn end(mut self) -> Result<(), StepError> {
        let Some(task) = self.0.clone() else { return Ok(()) };
        over(&task).await?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (Some(task), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Err(why) = over(&task).await {
                tracing::error!(task = task.id(), "{why}");
            }
        });
    }
}

/// Ends it and forgets it.
pub(crate) async fn over(task: &Task) -> Result<(), StepError> {
    if task.exit().is_none() {
        task.kill(KILL).await.map_err(|why| lost(&why.to_string()))?;
        if tokio::time::timeout(KILL, task.wait()).await.is_err() {
            return Err(lost("it was killed and does not end: the kernel holds it"));
        }
    }
    task.forget().await.map_err(|why| match why {
        ForgetError::Step(why) => why,
        other => lost(&other.to_string()),
    })
}

/// Where it writes to: a named pipe in the runtime directory, for as long as it takes.
struct Pipe {
    path: std::path::PathBuf,
    fd: AsyncFd<OwnedFd>,
}

impl Pipe {
    fn make(path: &Path) -> Result<Pipe, StepError> {
        const STEP: &str = "making a pipe for its output";
        let failed = |errno: Errno| StepError::errno(STEP, path.display().to_string(), errno);
        let _ = rustix::fs::unlink(path);
        rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let fd = sys::awaited(fd, Interest::READABLE).map_err(|why| step(STEP, path.display().to_string(), &why))?;
        Ok(Pipe { path: path.to_owned(), fd })
    }

    /// Does not end: its keeper can always write.
    async fn read_into(&self, kept: &mut VecDeque<u8>) {
        loop {
            match self.fd.readable().await {
                Ok(mut ready) => {
                    let read = ready.try_io(|fd| Ok(piece(fd.get_ref(), kept)?));
                    if !matches!(read, Err(_) | Ok(Ok(1..))) {
                        std::future::pending::<()>().await;
                    }
                }
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// What is in it now.
    fn read_rest(&self, kept: &mut VecDeque<u8>) {
        while matches!(piece(self.fd.get_ref(), kept), Ok(1..)) {}
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

fn piece(from: &OwnedFd, kept: &mut VecDeque<u8>) -> Result<usize, Errno> {
    let mut bytes = [0; KEPT];
    let read = rustix::io::read(from, &mut bytes)?;
    kept.extend(bytes.iter().take(read));
    kept.drain(..kept.len().saturating_sub(KEPT));
    Ok(read)
}
