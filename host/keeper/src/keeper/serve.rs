//! The life of a keeper once its task runs: signals, plugins that connect, the task's end. One loop that waits for nothing but all of
//! them.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use prost::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};
use rustix::process::{Signal, pidfd_send_signal};
use yurt_keeper::answer::Say;
use yurt_keeper::request::Ask;
use yurt_keeper::{ExecStarted, Exit, Request, Step, names};

use crate::cgroup::{self, Own};
use crate::command::{self, Command};
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

/// Serves until nobody asks about the task any more.
pub(crate) fn serve(plan: Plan, launched: Launched, signals: OwnedFd) {
    let mut keeper = Keeper {
        logs: Logs::of(&plan),
        plan,
        launched,
        exit: None,
        connections: Vec::new(),
        lingering: Vec::new(),
        commands: 0,
        kill_at: None,
        done: false,
    };
    while !keeper.done {
        keeper.turn(&signals);
    }
    entry::remove(&keeper.plan.entry, names::SOCKET);
}

struct Keeper {
    plan: Plan,
    launched: Launched,
    logs: Logs,
    exit: Option<Exit>,
    connections: Vec<Connection>,
    /// Groups of commands that have ended, with something still running in them.
    lingering: Vec<Own>,
    commands: u64,
    kill_at: Option<Instant>,
    done: bool,
}

struct Connection {
    socket: OwnedFd,
    watching: bool,
    command: Option<Command>,
    gone: bool,
}

impl Keeper {
    fn turn(&mut self, signals: &OwnedFd) {
        let link = self.launched.link.as_ref().filter(|_| self.exit.is_none());
        let mut fds = vec![
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.launched.listener.as_fd(), PollFlags::IN),
        ];
        fds.extend(self.connections.iter().map(|one| PollFd::from_borrowed_fd(one.socket.as_fd(), PollFlags::IN)));
        fds.extend(link.map(|link| PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN)));
        if poll(&mut fds, self.pause().as_ref()).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let is = |at: usize| ready.get(at).copied().unwrap_or_default();
        let known = self.connections.len();
        if is(known + 2) {
            self.init_said();
        }
        if is(0) {
            self.signalled(signals);
        }
        for at in 0..known {
            if is(at + 2) {
                self.asked(at);
            }
        }
        if is(1) {
            self.accept();
        }
        self.connections.retain(|one| !one.gone);
        self.look();
    }

    fn pause(&self) -> Option<Timespec> {
        let logs = self.exit.is_none().then(|| self.logs.pause());
        let kill = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let least = logs.into_iter().chain(kill).min()?;
        Some(Timespec { tv_sec: least.as_secs() as i64, tv_nsec: least.subsec_nanos().into() })
    }

    /// What time brings.
    fn look(&mut self) {
        if self.exit.is_none() {
            self.logs.look();
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
            cgroup::kill_task(&self.plan);
        }
        self.lingering.retain(|own| !own.remove());
    }

    fn signalled(&mut self, signals: &OwnedFd) {
        while let Some(number) = sys::next_signal(signals.as_fd()) {
            if number != libc::SIGTERM {
                continue;
            }
            // The outcome stands on disk, for whoever asks later.
            self.done |= self.exit.is_some();
            if !self.done && self.kill_at.is_none() {
                let _ = pidfd_send_signal(&self.launched.pidfd, Signal::TERM);
                self.kill_at = Some(Instant::now() + GRACE);
            }
        }
        while let Some(ended) = sys::reap() {
            self.reaped(&ended);
        }
    }

    fn reaped(&mut self, ended: &Ended) {
        if ended.pid == self.launched.child {
            if self.launched.link.is_some() {
                self.init_said();
            }
            if self.exit.is_none() {
                // Init was killed, and the kernel has killed the task with it.
                self.ended(ended);
            }
            return;
        }
        let of = self
            .connections
            .iter()
            .position(|one| one.command.as_ref().is_some_and(|command| command.pid == ended.pid));
        let Some(one) = of.and_then(|at| self.connections.get_mut(at)) else { return };
        let exit = Exit { at: now(), ..outcome(ended) };
        let _ = wire::say(one.socket.as_fd(), Say::Exit(exit), &[]);
        self.lingering.extend(one.command.take().and_then(|command| command.own));
    }

    fn init_said(&mut self) {
        let Some(link) = self.launched.link.as_ref().filter(|_| self.exit.is_none()) else { return };
        match wire::receive(link.as_fd()) {
            Ok((bytes, _)) => match init::decoded(&bytes) {
                Some(ended) => self.ended(&ended),
                // It is gone, and its own end follows.
                None => self.launched.link = None,
            },
            Err(_) => self.launched.link = None,
        }
    }

    /// The task has ended: who was killed for memory is counted while the group is sure to be there, the outcome is written down, and
    /// then told.
    fn ended(&mut self, ended: &Ended) {
        let killed = cgroup::oom_kills(&self.plan) > self.launched.state.oom_before;
        self.logs.look();
        let exit = Exit {
            at: now(),
            oom_killed: killed && ended.status != 0,
            log_bytes_dropped: self.logs.dropped,
            ..outcome(ended)
        };
        let _ = entry::write(&self.plan.entry, names::EXIT, &exit);
        for one in self.connections.iter_mut().filter(|one| one.watching) {
            one.gone |= wire::say(one.socket.as_fd(), Say::Exit(exit.clone()), &[]).is_err();
        }
        for command in self.connections.iter().filter_map(|one| one.command.as_ref()) {
            command.kill();
        }
        self.kill_at = None;
        self.exit = Some(exit);
        if cgroup::is_empty(&self.plan) {
            self.close_logs();
        }
    }

    /// Who reads the logs sees their end once nobody can write any more.
    fn close_logs(&mut self) {
        self.logs = Logs::closed();
        self.plan.close_streams();
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(&self.launched.listener, flags) {
            // Nobody else can enter the directory; this is for the day when that is wrong.
            let ours = rustix::process::geteuid();
            let theirs = socket_peercred(&socket).map(|peer| peer.uid);
            let welcome = theirs.is_ok_and(|uid| uid == ours || uid.is_root());
            if welcome && self.connections.len() < CONNECTIONS {
                self.connections.push(Connection { socket, watching: false, command: None, gone: false });
            }
        }
    }

    fn asked(&mut self, at: usize) {
        let Some(one) = self.connections.get_mut(at) else { return };
        let (bytes, with) = match wire::receive(one.socket.as_fd()) {
            Ok((bytes, with)) if !bytes.is_empty() => (bytes, with),
            Err(rustix::io::Errno::AGAIN) => return,
            _ => return self.left(at),
        };
        let Ok(Request { ask: Some(ask) }) = Request::decode(bytes.as_slice()) else {
            return self.refuse(at, Failure::new(Step::Record, "this is no request"));
        };
        match ask {
            Ask::Watch(_) => self.watch(at),
            Ask::Exec(exec) => self.exec(at, &exec, &with),
            Ask::Kill(_) => {
                if let Some(command) = &one.command {
                    command.kill();
                }
            }
            Ask::Forget(_) if self.exit.is_none() => {
                self.refuse(at, Failure::new(Step::Running, "the task is not forgotten"))
            }
            Ask::Forget(_) => self.done = true,
        }
    }

    /// Whoever ran a command is gone: so is the command.
    fn left(&mut self, at: usize) {
        let Some(one) = self.connections.get_mut(at) else { return };
        one.gone = true;
        if let Some(command) = one.command.take() {
            command.kill();
            self.lingering.extend(command.own);
        }
    }

    fn refuse(&mut self, at: usize, Failure(failed): Failure) {
        if let Some(one) = self.connections.get_mut(at) {
            one.gone |= wire::say(one.socket.as_fd(), Say::Failed(failed), &[]).is_err();
        }
    }

    fn watch(&mut self, at: usize) {
        let Some(one) = self.connections.get_mut(at) else { return };
        one.watching = true;
        let running = self.exit.is_none().then(|| self.launched.pidfd.as_fd());
        let with: Vec<_> = running.into_iter().collect();
        let said = wire::say(one.socket.as_fd(), Say::State(self.launched.state.clone()), &with);
        let told = match &self.exit {
            Some(exit) => said.and_then(|()| wire::say(one.socket.as_fd(), Say::Exit(exit.clone()), &[])),
            None => said,
        };
        one.gone |= told.is_err();
    }

    fn exec(&mut self, at: usize, exec: &yurt_keeper::Exec, streams: &[OwnedFd]) {
        if self.exit.is_some() {
            return self.refuse(at, Failure::new(Step::Ended, "no command can be run in it"));
        }
        if self.connections.get(at).is_some_and(|one| one.command.is_some()) {
            return self.refuse(at, Failure::new(Step::Running, "one command per connection"));
        }
        self.commands += 1;
        match command::start(&self.plan, &self.launched, exec, streams, self.commands) {
            Err(failure) => self.refuse(at, failure),
            Ok((command, terminal)) => {
                let Some(one) = self.connections.get_mut(at) else { return };
                let started = Say::ExecStarted(ExecStarted { pid: command.pid.unsigned_abs() });
                let with: Vec<_> = terminal.iter().map(|fd| fd.as_fd()).collect();
                one.gone |= wire::say(one.socket.as_fd(), started, &with).is_err();
                one.command = Some(command);
                if one.gone {
                    self.left(at);
                }
            }
        }
    }
}

/// In Nomad's terms: a signal is code 128 and more.
fn outcome(ended: &Ended) -> Exit {
    let signal = ended.status & 0x7f;
    Exit {
        code: if signal == 0 { ended.status >> 8 & 0xff } else { 128 + signal },
        signal: signal.unsigned_abs(),
        user_micros: ended.user_micros,
        system_micros: ended.system_micros,
        max_rss_kib: ended.max_rss_kib,
        ..Exit::default()
    }
}
