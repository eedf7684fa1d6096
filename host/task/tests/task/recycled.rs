//! The number of a process that has ended goes to others, again and again: none of them is ever taken for the task, or for its keeper.
//!
//! A few hundred times here; `just chaos` has it 65536 times, as often as there are numbers on many machines.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use yurt_task::{Handle, Whom};

use crate::rig::{Rig, end, eventually, is_alive, is_root, keeper_of};

fn times() -> u32 {
    std::env::var("YURT_RECYCLED").map_or(200, |times| times.parse().unwrap())
}

#[tokio::test]
async fn a_number_that_comes_again_and_again_is_never_taken_for_the_task() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let (id, pid, keeper) = (task.id().to_owned(), task.pid(), keeper_of(&rig));
    let handle = Handle::from_bytes(&task.handle().to_bytes()).unwrap();
    drop(task);
    for ended in [keeper, pid] {
        kill_process(Pid::from_raw(ended.cast_signed()).unwrap(), Signal::KILL).unwrap();
        assert!(eventually(|| !fs::exists(format!("/proc/{ended}")).unwrap()).await);
    }
    let entry = rig.entries().pop().unwrap();
    for round in 0..times() {
        let number = if round % 2 == 0 { pid } else { keeper };
        let stranger = stranger(number);
        // As the first plugin that looks does: nobody has written down yet how it ended.
        let _ = fs::remove_file(entry.join("exit"));
        let tasks = rig.tasks();
        assert!(tasks.adopt(&id).await.unwrap().is_none(), "round {round}: nobody of it lives");
        let task = tasks.recover(&handle).await.unwrap();
        let exit = task.exit().expect("it has ended");
        assert_eq!((exit.code, exit.unknown.is_some()), (-1, true), "round {round}");
        assert!(task.signal(9, Whom::Main).is_err() && task.signal(9, Whom::All).is_err(), "round {round}");
        if round % 16 == 0 {
            task.kill(Duration::from_secs(5)).await.unwrap();
        }
        assert!(is_alive(stranger.0.as_raw_pid().cast_unsigned()), "round {round}: the stranger was killed");
    }
    let task = rig.tasks().recover(&handle).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

pub(crate) struct Stranger(Pid);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}

/// A process of this very number: `set_tid` of `clone3(2)`.
#[allow(unsafe_code)]
pub(crate) fn stranger(number: u32) -> Stranger {
    let pid = Pid::from_raw(number.cast_signed()).unwrap();
    for _ in 0..1000 {
        let wanted = [pid.as_raw_pid()];
        // SAFETY: all zeroes is a valid value of a structure of integers.
        let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
        how.exit_signal = libc::SIGCHLD.unsigned_abs().into();
        how.set_tid = wanted.as_ptr() as u64;
        how.set_tid_size = 1;
        // SAFETY: as fork(2), and the child calls pause(2) only.
        match unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of_val(&how)) } {
            0 => loop {
                // SAFETY: takes nothing, touches nothing.
                unsafe { libc::pause() };
            },
            -1 => {
                let why = std::io::Error::last_os_error();
                // Somebody else of this machine has it just now.
                assert_eq!(why.raw_os_error(), Some(libc::EEXIST), "{why}");
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => return Stranger(pid),
        }
    }
    panic!("process {number} does not end");
}
