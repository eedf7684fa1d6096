//! The life of a keeper once its task runs: signals, plugins that connect, commands, the task's end. One loop that waits for all of
//! them, and for none of them alone.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use prost::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};
use yurt_keeper::answer::Say;
use yurt_keeper::request::Ask;
use yurt_keeper::{Exec, ExecStarted, Exit, Request, Step, names};

use crate::command::{Command, News};
use crate::failure::Failure;
use crate::launch::{Launched, now};
use crate::logs::Logs;
use crate::plan::Plan;
use crate::sys::{self, Ended};
use crate::{entry, init, wire};

/// Most plugins and commands that are connected at once.
const CONNECTIONS: usize = 256;
/// What a task gets between `SIGTERM` and `SIGKILL` when the keeper itself is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// What its init gets after that: it ends by itself with the task, and only it can tell how the task ended.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Between two rounds of killing the task.
const ROUND: Duration = Duration::from_millis(20);
/// How long connections are not taken when there are no descriptors for them.
const DEAF: Duration = Duration::from_millis(200);
/// What commands that are being killed get when the keeper itself is about to end.
const LAST: Duration = Duration::from_secs(2);

/// Serves until nobody asks about the task any more.
pub(crate) fn serve(mut plan: Plan, mut launched: Launched, signals: OwnedFd) {
    let logs = Logs::of(&plan);
    plan.shrink();
    plan.root = launched.root.take();
    let mut keeper = Keeper {
        logs,
        plan,
        launched,
        signals,
        exit: None,
        connections: Vec::new(),
        commands: Vec::new(),
        known: 0,
        started: 0,
        kill_at: None,
        kill_init_at: None,
        deaf_until: None,
        done: None,
    };
    sys::give_back_memory();
    // A task that was fast: its signal came, and was read, while it was being started.
    keeper.signalled();
    while keeper.goes_on() {
        keeper.turn();
    }
    entry::remove(&keeper.plan.entry, names::SOCKET);
}

struct Keeper {
    plan: Plan,
    launched: Launched,
    signals: OwnedFd,
    logs: Logs,
    exit: Option<Exit>,
    connections: Vec<Connection>,
    commands: Vec<Command>,
    /// Connections so far.
    known: u64,
    /// Commands so far.
    started: u64,
    kill_at: Option<Instant>,
    kill_init_at: Option<Instant>,
    deaf_until: Option<Instant>,
    /// Nobody asks any more; ends at the latest then.
    done: Option<Instant>,
}

struct Connection {
    number: u64,
    socket: OwnedFd,
    watching: bool,
    /// It has, or had, a command.
    used: bool,
    gone: bool,
}

/// Who has something to say.
#[derive(Clone, Copy)]
enum Voice {
    Signals,
    Listener,
    Init,
    /// By number.
    Connection(u64),
    /// By process id.
    Command(i32),
    /// A pipe that was empty.
    Log,
}

impl Keeper {
    fn goes_on(&self) -> bool {
        self.done.is_none_or(|until| !self.commands.is_empty() && Instant::now() < until)
    }

    fn turn(&mut self) {
        for voice in self.listen() {
            match voice {
                Voice::Init => self.init_said(),
                Voice::Command(pid) => self.command_said(pid),
                Voice::Signals => self.signalled(),
                Voice::Connection(number) => self.asked(number),
                Voice::Listener => self.accept(),
                Voice::Log => self.logs.written(),
            }
        }
        self.look();
        self.connections.retain(|one| !one.gone);
    }

    /// Waits. Commands come before signals, so that their starts are told before their ends.
    fn listen(&self) -> Vec<Voice> {
        let link = self.launched.link.as_ref().filter(|_| self.exit.is_none());
        let listener = self.deaf_until.is_none().then_some(&self.launched.listener);
        let reports = self.commands.iter().filter_map(|one| Some((Voice::Command(one.pid), one.report()?)));
        let voices: Vec<(Voice, &OwnedFd)> = link
            .map(|link| (Voice::Init, link))
            .into_iter()
            .chain(reports)
            .chain([(Voice::Signals, &self.signals)])
            .chain(self.connections.iter().map(|one| (Voice::Connection(one.number), &one.socket)))
            .chain(listener.map(|listener| (Voice::Listener, listener)))
            .chain(self.logs.silent().map(|pipe| (Voice::Log, pipe)))
            .collect();
        let mut fds: Vec<_> =
            voices.iter().map(|(_, fd)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        if poll(&mut fds, self.pause().as_ref()).is_err() {
            return Vec::new();
        }
        let spoke = voices.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        spoke.map(|((voice, _), _)| *voice).collect()
    }

    fn pause(&self) -> Option<Timespec> {
        let commands = self.commands.iter().filter_map(Command::next).min();
        let next =
            [self.logs.next(), self.kill_at, self.deaf_until, self.done, commands].into_iter().flatten().min()?;
        let left = next.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() })
    }

    /// What time brings.
    fn look(&mut self) {
        let now = Instant::now();
        self.logs.look();
        self.commands.retain_mut(|command| !command.is_over());
        self.deaf_until = self.deaf_until.filter(|until| now < *until);
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = Some(now + ROUND);
            self.kill_task();
        }
    }

    fn kill_task(&self) {
        let _ = sys::send_signal(self.launched.pidfd.as_fd(), libc::SIGKILL);
        let spared = self.plan.with_init() && self.kill_init_at.is_some_and(|at| Instant::now() < at);
        self.plan.groups.kill(spared.then_some(self.launched.child));
    }

    fn signalled(&mut self) {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            if signal != libc::SIGTERM {
                continue;
            }
            if self.exit.is_some() {
                // The outcome stands on disk, for whoever asks later.
                self.finish();
            } else if self.kill_at.is_none() {
                let _ = sys::send_signal(self.launched.pidfd.as_fd(), libc::SIGTERM);
                let at = Instant::now() + GRACE;
                (self.kill_at, self.kill_init_at) = (Some(at), Some(at + LAST_WORD));
            }
        }
        loop {
            match sys::reap() {
                Ok(Some(ended)) => self.reaped(&ended),
                Ok(None) => break,
                Err(_) => {
                    // Whoever is left without a parent becomes our child: there is nobody any more who could write to the logs.
                    if self.exit.is_some() {
                        self.logs.close();
                    }
                    break;
                }
            }
        }
    }

    fn reaped(&mut self, ended: &Ended) {
        if ended.pid == self.launched.child {
            self.init_said();
            if self.exit.is_none() {
                let task = if self.plan.with_init() { self.init_was_killed() } else { ended.exit() };
                self.ended(task);
            }
            return;
        }
        // It may have started and ended in the meantime.
        self.command_said(ended.pid);
        let Some(command) = self.commands.iter_mut().find(|one| one.pid == ended.pid) else { return };
        command.ended();
        if let Some(number) = command.owner {
            self.tell(number, Say::Exit(Exit { at: now(), ..ended.exit() }), None);
        }
    }

    fn init_said(&mut self) {
        let Some(link) = self.launched.link.as_ref().filter(|_| self.exit.is_none()) else { return };
        match init::last_word(link) {
            Some(exit) => self.ended(exit),
            // Its own end follows, with which the kernel ends the task.
            None => self.launched.link = None,
        }
    }

    fn init_was_killed(&self) -> Exit {
        let unknown =
            || Exit { code: -1, unknown: "its init was killed, and it with it".to_owned(), ..Exit::default() };
        sys::ended_elsewhere(self.launched.pidfd.as_fd()).map_or_else(unknown, |ended| ended.exit())
    }

    /// The task has ended: who was killed for memory is counted while the group is sure to be there, the outcome is written down, and
    /// then told.
    fn ended(&mut self, exit: Exit) {
        let killed = self.plan.groups.oom_kills() > self.launched.state.oom_before;
        let exit =
            Exit { at: now(), oom_killed: killed && exit.code != 0, log_bytes_dropped: self.logs.dropped, ..exit };
        let _ = entry::write(&self.plan.entry, names::EXIT, &exit);
        self.exit = Some(exit.clone());
        self.kill_at = None;
        self.commands.iter_mut().for_each(Command::kill);
        let watching: Vec<u64> = self.connections.iter().filter(|one| one.watching).map(|one| one.number).collect();
        for number in watching {
            self.tell(number, Say::Exit(exit.clone()), None);
        }
    }

    fn accept(&mut self) {
        loop {
            let socket = match accept_with(&self.launched.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.deaf_until = Some(Instant::now() + DEAF);
                    return;
                }
            };
            // Nobody else can enter the directory; this is for the day when that is wrong.
            let theirs = socket_peercred(&socket).map(|peer| peer.uid);
            let welcome = theirs.is_ok_and(|uid| uid == rustix::process::geteuid() || uid.is_root());
            if welcome && self.connections.len() < CONNECTIONS {
                self.known += 1;
                let number = self.known;
                self.connections.push(Connection { number, socket, watching: false, used: false, gone: false });
            }
        }
    }

    fn connection(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|one| one.number == number && !one.gone)
    }

    /// Says something, without waiting: who does not listen is dropped.
    fn tell(&mut self, number: u64, say: Say, with: Option<&OwnedFd>) {
        let Some(one) = self.connection(number) else { return };
        let with: Vec<_> = with.into_iter().map(|fd| fd.as_fd()).collect();
        if wire::say(&one.socket, say, &with).is_err() {
            self.left(number);
        }
    }

    /// Refuses something.
    fn refuse(&mut self, number: u64, Failure(failed): Failure) {
        self.tell(number, Say::Failed(failed), None);
    }

    /// Whoever ran a command is gone: so is the command, unless it had ended.
    fn left(&mut self, number: u64) {
        if let Some(one) = self.connection(number) {
            one.gone = true;
        }
        for command in self.commands.iter_mut().filter(|command| command.owner == Some(number)) {
            command.abandoned();
        }
    }

    fn asked(&mut self, number: u64) {
        let Some(one) = self.connection(number) else { return };
        let (bytes, with) = match wire::receive(&one.socket) {
            Ok((bytes, with)) if !bytes.is_empty() => (bytes, with),
            Err(Errno::AGAIN) => return,
            _ => return self.left(number),
        };
        let ask = match Request::decode(bytes.as_slice()) {
            Ok(Request { ask: Some(ask) }) => ask,
            _ => return self.refuse(number, Failure::new(Step::Record, "this is no request that is known here")),
        };
        match ask {
            Ask::Watch(_) => self.watch(number),
            Ask::Exec(exec) => self.exec(number, &exec, &with),
            Ask::Kill(_) => {
                self.commands.iter_mut().filter(|command| command.owner == Some(number)).for_each(Command::kill);
            }
            Ask::Forget(_) if self.exit.is_none() => {
                self.refuse(number, Failure::new(Step::Running, "it is not forgotten"));
            }
            Ask::Forget(_) => self.finish(),
        }
    }

    fn finish(&mut self) {
        self.commands.iter_mut().for_each(Command::kill);
        self.done.get_or_insert(Instant::now() + LAST);
    }

    fn watch(&mut self, number: u64) {
        let Some(one) = self.connection(number) else { return };
        one.watching = true;
        let state = Say::State(self.launched.state.clone());
        match self.exit.clone() {
            None => {
                let pidfd = self.launched.pidfd.try_clone().ok();
                self.tell(number, state, pidfd.as_ref());
            }
            Some(exit) => {
                self.tell(number, state, None);
                self.tell(number, Say::Exit(exit), None);
            }
        }
    }

    fn exec(&mut self, number: u64, exec: &Exec, streams: &[OwnedFd]) {
        let Some(one) = self.connection(number) else { return };
        if std::mem::replace(&mut one.used, true) {
            return self.refuse(number, Failure::new(Step::Running, "there is one command for each connection"));
        }
        if self.exit.is_some() {
            return self.refuse(number, Failure::new(Step::Ended, "no command can be run in it"));
        }
        self.started += 1;
        match Command::start(&self.plan, &self.launched.pidfd, exec, streams, (self.started, number)) {
            Err(failure) => self.not_started(number, failure),
            Ok(command) => self.commands.push(command),
        }
    }

    fn command_said(&mut self, pid: i32) {
        let Some(command) = self.commands.iter_mut().find(|one| one.pid == pid) else { return };
        let owner = command.owner;
        match (command.news(), owner) {
            (News::Started(terminal), Some(owner)) => {
                let started = Say::ExecStarted(ExecStarted { pid: pid.unsigned_abs() });
                self.tell(owner, started, terminal.as_ref());
            }
            (News::Failed(failure), owner) => {
                command.owner = None;
                command.kill();
                if let Some(owner) = owner {
                    self.not_started(owner, failure);
                }
            }
            (News::None | News::Started(_), _) => {}
        }
    }

    /// A command that failed because the task is about to end is told that.
    fn not_started(&mut self, number: u64, failure: Failure) {
        let mut pidfd = [PollFd::from_borrowed_fd(self.launched.pidfd.as_fd(), PollFlags::IN)];
        let ended = poll(&mut pidfd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        let ended = ended.then(|| Failure::new(Step::Ended, "no command can be run in it"));
        self.refuse(number, ended.unwrap_or(failure));
    }
}
