//! Compiling in a process of its own: a guest that is made to be expensive, or that breaks the compiler, costs that process and not the
//! plugin.
//!
//! The worker is this very program, started with [`WORD`] ([`take_over`] at the start of `main`). It gets the component on its standard
//! input and gives machine code back on its standard output; both are files in memory, so neither side ever waits for the other. It has
//! no environment, no other files, and bounds of its own on memory, processor time and output, which it sets before it reads a byte. The
//! plugin waits as long as the limit `compile_deadline` says, then kills it; and it dies with the plugin.
//!
//! What it gives back is run with the plugin's rights. The worker bounds what compiling costs; it is no second sandbox.

mod inside;

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::engine::{Memory, Translator};
use crate::error::CompileCause;
use crate::journal::clean;
use crate::limits::Limits;

pub use inside::take_over;

/// The first argument of a worker. The others are a [`Job`].
const WORD: &str = "compile-guest-in-worker";
/// What a worker is called in a list of processes.
const NAME: &CStr = c"yurt-compiler";
/// Exit status of a worker that wrote what is wrong with the component.
const REFUSED: u8 = 3;
/// Most that is read of what it says.
const MESSAGE: u64 = 4 << 10;

/// Who compiles.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
}

impl Compiler {
    /// This program, which has to call [`take_over`] before anything else: as it is running, even if its file was replaced since.
    pub fn this_program() -> Compiler {
        Compiler { program: "/proc/self/exe".into() }
    }

    /// Machine code by this translator for an engine with this kind of memory. Blocks.
    pub(crate) fn compile(
        &self,
        translator: Translator,
        memory: Memory,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Vec<u8>, CompileCause> {
        let begun = Instant::now();
        let worker = |why: io::Error| CompileCause::Worker(why.to_string());
        let input = file_in_memory(bytes).map_err(worker)?;
        let mut output = file_in_memory(&[]).map_err(worker)?;
        let mut message = file_in_memory(&[]).map_err(worker)?;
        let parent = std::process::id();
        let job = Job { parent, translator, memory, bytes: limits.compile_memory, cpu: processor_time(limits) };
        let mut child = Command::new(&self.program)
            .arg0(OsStr::from_bytes(NAME.to_bytes()))
            .arg(WORD)
            .args(job.arguments())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(input))
            .stdout(output.try_clone().map_err(worker)?)
            .stderr(message.try_clone().map_err(worker)?)
            .spawn()
            .map_err(worker)?;
        let ended = ended_within(&mut child, limits.compile_deadline.saturating_sub(begun.elapsed()));
        if !matches!(ended, Ok(Some(_))) {
            // It can have ended by itself by now; either way it is gone after this.
            drop(child.kill());
            drop(child.wait());
        }
        let status = ended.map_err(worker)?.ok_or(CompileCause::Deadline { limit: limits.compile_deadline })?;
        if !status.success() {
            return Err(what_happened(status, &beginning(&mut message), limits));
        }
        let mut code = Vec::new();
        output.rewind().and_then(|()| output.take(limits.compile_memory).read_to_end(&mut code)).map_err(worker)?;
        Ok(code)
    }
}

/// What a worker is told.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    /// Whose end is its own.
    parent: u32,
    translator: Translator,
    /// Which of the engine's settings the code is for.
    memory: Memory,
    /// Bounds its memory, and its output.
    bytes: u64,
    /// Seconds of processor time.
    cpu: u64,
}

impl Job {
    fn arguments(&self) -> [String; 5] {
        let Job { parent, translator, memory, bytes, cpu } = self;
        let [translator, memory] = [translator.word(), memory.word()].map(str::to_owned);
        [parent.to_string(), translator, memory, bytes.to_string(), cpu.to_string()]
    }

    fn parse(arguments: &[String]) -> Option<Job> {
        let [parent, translator, memory, bytes, cpu] = arguments else { return None };
        Some(Job {
            parent: parent.parse().ok()?,
            translator: Translator::from_word(translator)?,
            memory: Memory::from_word(memory)?,
            bytes: bytes.parse().ok()?,
            cpu: cpu.parse().ok()?,
        })
    }
}

/// As many seconds as all its threads can use until the deadline: what ends a worker whose plugin was stopped meanwhile.
fn processor_time(limits: &Limits) -> u64 {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let seconds = limits.compile_deadline.as_secs().saturating_add(1);
    seconds.saturating_mul(u64::try_from(threads).unwrap_or(u64::MAX))
}

fn file_in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("yurt-compile", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// How it ended, unless it goes on after `within`.
fn ended_within(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + within;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
}

fn beginning(message: &mut File) -> String {
    let mut bytes = Vec::new();
    // An ending without words is told as such.
    drop(message.rewind().and_then(|()| message.take(MESSAGE).read_to_end(&mut bytes)));
    clean(String::from_utf8_lossy(&bytes).trim(), 1024).0
}

fn what_happened(status: ExitStatus, message: &str, limits: &Limits) -> CompileCause {
    let signal = |wanted: Signal| status.signal() == Some(wanted.as_raw());
    // How Rust ends where memory ends.
    let no_memory = signal(Signal::ABORT) && message.contains("memory allocation of");
    if no_memory || signal(Signal::XFSZ) {
        return CompileCause::Memory { limit: limits.compile_memory };
    }
    if signal(Signal::XCPU) {
        return CompileCause::Deadline { limit: limits.compile_deadline };
    }
    if status.code() == Some(REFUSED.into()) {
        return CompileCause::Invalid(message.to_owned());
    }
    CompileCause::Ended(if message.is_empty() { status.to_string() } else { format!("{status}: {message}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_understood_as_it_was_meant() {
        for memory in [Memory::Pool, Memory::Mapped, Memory::Small] {
            for translator in [Translator::Cranelift, Translator::Winch] {
                let job = Job { parent: 7, translator, memory, bytes: 2 << 30, cpu: 90 };
                assert_eq!(Job::parse(&job.arguments()), Some(job));
            }
        }
        let words = ["7", "winch", "pool", "many", "90"].map(str::to_owned);
        assert_eq!(Job::parse(&words), None);
        assert_eq!(Job::parse(&words[..4]), None);
    }
}
