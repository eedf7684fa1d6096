//! A launch seen from outside.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tonic::transport::{Channel, Endpoint};

use crate::patience;

/// How long anything may take before a test fails. Far more than it should, for machines that do other things, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A plugin that serves. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    line: String,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// All that was ever on stdout.
    pub stdout: Vec<u8>,
    /// All that was ever on stderr.
    pub stderr: Vec<u8>,
    /// From the call that waited for it.
    pub took: Duration,
}

impl Ended {
    /// The lines on stderr.
    pub fn log(&self) -> Vec<String> {
        lines(&self.stderr)
    }
}

impl Process {
    /// Starts it and waits for the handshake line.
    pub fn start(command: &mut Command) -> Process {
        let mut process = spawn(command);
        let line = process.stdout.wait_for(|bytes, ended| {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            end.map(|end| Some(bytes[..end].to_vec())).or(ended.then_some(None))
        });
        let Some(line) = line else {
            let ended = process.wait();
            panic!("it did not serve: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
        };
        process.line = String::from_utf8(line).expect("the handshake line is text");
        process
    }

    /// Starts what should refuse to serve, and waits for its end.
    pub fn refused(command: &mut Command) -> Ended {
        spawn(command).wait()
    }

    /// The handshake line, without its line feed.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Its fields.
    pub fn fields(&self) -> Vec<&str> {
        self.line.split('|').collect()
    }

    /// The socket it serves on.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.fields()[3])
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection, as an agent makes it.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket().display())).expect("an address");
        endpoint.connect().await.expect("a connection")
    }

    /// What is on stdout by now.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// The lines on stderr by now.
    pub fn log(&self) -> Vec<String> {
        lines(&self.stderr.so_far())
    }

    /// Waits until the log has such a line, and returns it.
    pub fn says(&self, what: &str) -> String {
        let found = self.stderr.wait_for(|bytes, ended| {
            let line = lines(bytes).into_iter().find(|line| line.contains(what));
            line.map(Some).or(ended.then_some(None))
        });
        found.unwrap_or_else(|| panic!("it ended without a word of {what:?}:\n{}", self.log().join("\n")))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(pid(&self.child), signal).expect("a process to signal");
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits for its end and for that of both pipes, as an agent does.
    pub fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                break status;
            }
            assert!(began.elapsed() < patience(PATIENCE), "it does not end; its log:\n{}", self.log().join("\n"));
            thread::sleep(Duration::from_millis(1));
        };
        let took = began.elapsed();
        let (stdout, stderr) = (self.stdout.to_its_end(), self.stderr.to_its_end());
        Ended { status, stdout, stderr, took }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Process {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let stdout = Output::of(child.stdout.take().expect("a pipe"));
    let stderr = Output::of(child.stderr.take().expect("a pipe"));
    Process { child, stdout, stderr, line: String::new() }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Whole lines; a last one without a line feed is one, too.
fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// Whether it ended by a signal.
pub fn killed(status: ExitStatus) -> bool {
    status.signal().is_some()
}

/// What comes through a pipe, collected by a thread so that the pipe is never full.
#[derive(Debug, Clone)]
struct Output(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Output {
        let output = Output(Arc::default());
        let shared = Arc::clone(&output.0);
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let got = pipe.read(&mut buffer).unwrap_or(0);
                let mut collected = shared.0.lock().expect("no panic in the other thread");
                collected.bytes.extend_from_slice(&buffer[..got]);
                collected.ended = got == 0;
                shared.1.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        output
    }

    fn so_far(&self) -> Vec<u8> {
        self.0.0.lock().expect("no panic in the other thread").bytes.clone()
    }

    /// Until `look`, which gets all bytes and whether there will be more, finds something.
    fn wait_for<T>(&self, look: impl Fn(&[u8], bool) -> Option<T>) -> T {
        let time = patience(PATIENCE);
        let deadline = Instant::now() + time;
        let mut collected = self.0.0.lock().expect("no panic in the other thread");
        loop {
            if let Some(found) = look(&collected.bytes, collected.ended) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing of that kind in {time:?}: {}", String::from_utf8_lossy(&collected.bytes));
            collected = self.0.1.wait_timeout(collected, left).expect("no panic in the other thread").0;
        }
    }

    fn to_its_end(&self) -> Vec<u8> {
        self.wait_for(|bytes, ended| ended.then(|| bytes.to_vec()))
    }
}

/// What a process has of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Uses {
    /// Resident memory, KiB.
    pub kib: u64,
    /// Open files.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Uses {
    /// Of a process that runs.
    pub fn of(pid: u32) -> Uses {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        let kib = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
        Uses { kib, descriptors: entries(pid, "fd"), threads: entries(pid, "task") }
    }
}

fn entries(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("a running process").count()
}
