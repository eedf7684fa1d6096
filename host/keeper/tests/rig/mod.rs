//! What a plugin does around a keeper: an entry, log pipes, the start over descriptor 3, connections to its socket.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with, socketpair,
};
use rustix::process::{Signal, pidfd_send_signal};
use yurt_keeper::answer::Say;
use yurt_keeper::request::Ask;
use yurt_keeper::{Answer, Carried, Exec, Exit, Failed, PROTOCOL, RECORD_MAX, Request, Start, Started, names};

pub(crate) const ID: &str = "a/t/1";

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

pub(crate) fn eventually(holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Processes that sleep for so long.
pub(crate) fn count_of(seconds: &str) -> usize {
    let wanted = format!("sleep\0{seconds}\0");
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())).count()
}

pub(crate) struct Rig {
    dir: tempfile::TempDir,
    log: OwnedFd,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("entry")).unwrap();
        let fifo = dir.path().join("stdout");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let log = open(&fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Rig { dir, log }
    }

    pub(crate) fn entry(&self) -> PathBuf {
        self.dir.path().join("entry")
    }

    /// Runs as whoever runs the test, without isolation.
    pub(crate) fn plain(&self) -> Start {
        let path = std::env::var("PATH").unwrap_or_default();
        Start {
            protocol: PROTOCOL,
            id: ID.into(),
            env: words(&[&format!("PATH={path}"), "NAME=world"]),
            work_dir: b"/".to_vec(),
            name: "yurt-keeper".into(),
            ..Start::default()
        }
    }

    /// What the task wrote so far.
    pub(crate) fn output(&self) -> String {
        let mut bytes = vec![0; rustix::io::ioctl_fionread(&self.log).unwrap() as usize];
        File::from(self.log.try_clone().unwrap()).read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn file<T: Message + Default>(&self, name: &str) -> T {
        T::decode(fs::read(self.entry().join(name)).unwrap().as_slice()).unwrap()
    }

    pub(crate) fn start(&self, start: Start) -> Result<Task, Failed> {
        self.start_with(start, &[])
    }

    pub(crate) fn start_with(&self, mut start: Start, more: &[(Carried, &OwnedFd)]) -> Result<Task, Failed> {
        let entry = open(self.entry(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut given = vec![(Carried::Entry, &entry), (Carried::Stdout, &self.log), (Carried::Stderr, &self.log)];
        given.extend(more.iter().copied());
        start.carried = given.iter().map(|(kind, _)| *kind as i32).collect();
        let descriptors: Vec<_> = given.iter().map(|(_, fd)| fd.as_fd()).collect();
        let keeper = Keeper::launch();
        send(keeper.socket.as_fd(), &start.encode_to_vec(), &descriptors);
        let (say, mut with) = receive(keeper.socket.as_fd()).expect("a word from the keeper");
        match say {
            Say::Started(started) => {
                let mut connection = self.connect();
                connection.watch();
                Ok(Task { keeper, connection, started, pidfd: with.pop().expect("a pidfd"), left: false })
            }
            Say::Failed(failed) => Err(failed),
            other => panic!("{other:?}"),
        }
    }

    /// What a keeper says to bytes that are no start.
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> Option<Failed> {
        let keeper = Keeper::launch();
        if bytes.is_empty() {
            rustix::net::shutdown(&keeper.socket, rustix::net::Shutdown::Write).unwrap();
        } else {
            send(keeper.socket.as_fd(), bytes, &[]);
        }
        match receive(keeper.socket.as_fd())?.0 {
            Say::Failed(failed) => Some(failed),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let address = SocketAddrUnix::new(self.entry().join(names::SOCKET)).unwrap();
        connect(&socket, &address).unwrap();
        Connection { socket }
    }

    pub(crate) fn exec(&self, exec: Exec) -> Result<Ran, Failed> {
        let connection = self.connect();
        let [stdin, stdout, stderr] =
            [(); 3].map(|()| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap());
        let tty = exec.tty;
        let theirs = [stdin.0.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()];
        connection.ask(Ask::Exec(exec), if tty { &[] } else { &theirs });
        let (say, mut with) = receive(connection.socket.as_fd()).expect("an answer");
        match say {
            Say::ExecStarted(_) => {
                Ok(Ran { connection, stdin: stdin.1, stdout: stdout.0, stderr: stderr.0, terminal: with.pop() })
            }
            Say::Failed(failed) => Err(failed),
            other => panic!("{other:?}"),
        }
    }
}

struct Keeper {
    process: Child,
    socket: OwnedFd,
}

impl Keeper {
    fn launch() -> Keeper {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_yurt-keeper"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let number = theirs.as_raw_fd();
        // SAFETY: one system call between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if number == 3 {
                    libc::fcntl(3, libc::F_SETFD, 0)
                } else {
                    libc::dup2(number, 3)
                };
                Ok(())
            });
        }
        Keeper { process: command.spawn().unwrap(), socket: ours }
    }
}

pub(crate) struct Task {
    keeper: Keeper,
    connection: Connection,
    pub(crate) started: Started,
    pidfd: OwnedFd,
    left: bool,
}

impl Task {
    /// Nobody asks about it any more, here.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }

    pub(crate) fn exit(&mut self) -> Exit {
        self.connection.exit()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    pub(crate) fn signal_keeper(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.keeper.process), signal).unwrap();
    }

    /// Whether the keeper forgets.
    pub(crate) fn forget(&mut self) -> bool {
        self.connection.forget() && self.keeper.process.wait().unwrap().success()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.left {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.keeper.process.kill();
            let _ = self.keeper.process.wait();
        }
    }
}

pub(crate) struct Connection {
    socket: OwnedFd,
}

impl Connection {
    fn ask(&self, ask: Ask, with: &[BorrowedFd<'_>]) {
        send(self.socket.as_fd(), &Request { ask: Some(ask) }.encode_to_vec(), with);
    }

    pub(crate) fn watch(&mut self) -> Say {
        self.ask(Ask::Watch(PROTOCOL), &[]);
        receive(self.socket.as_fd()).expect("the state").0
    }

    /// Whether the keeper forgets.
    pub(crate) fn forget(&self) -> bool {
        self.ask(Ask::Forget(true), &[]);
        receive(self.socket.as_fd()).is_none()
    }

    pub(crate) fn exit(&mut self) -> Exit {
        match receive(self.socket.as_fd()).expect("the exit").0 {
            Say::Exit(exit) => exit,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) struct Ran {
    connection: Connection,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Ran {
    pub(crate) fn finish(mut self, input: &[u8]) -> (String, String, Exit) {
        File::from(self.stdin).write_all(input).unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        File::from(self.stdout).read_to_string(&mut out).unwrap();
        File::from(self.stderr).read_to_string(&mut err).unwrap();
        (out, err, self.connection.exit())
    }

    pub(crate) fn finish_terminal(mut self) -> (String, Exit) {
        let mut bytes = Vec::new();
        // Its end is an input/output error.
        let _ = File::from(self.terminal.take().expect("a terminal")).read_to_end(&mut bytes);
        (String::from_utf8(bytes).unwrap(), self.connection.exit())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], with: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(with)));
    }
    sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
}

fn receive(socket: BorrowedFd<'_>) -> Option<(Say, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; RECORD_MAX];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut ancillary, flags).ok()?;
    let mut with = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            with.extend(rights);
        }
    }
    let answer = Answer::decode(bytes.get(..received.bytes)?).unwrap();
    Some((answer.say?, with))
}
