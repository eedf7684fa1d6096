//! How tasks ended that are forgotten.
//!
//! An agent has a task forgotten before it has noted for itself that it is over. If it dies in between, the next one asks for that task again, and
//! where nothing is known of it, it starts it a second time. So the last of them are remembered, until the machine is started anew.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prost::Message;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use yurt_keeper::{Exit, Identity, State};

use crate::files;
use crate::tasks::Notes;

/// One after the other, newest last.
const FILE: &str = "ended";
/// Longest that the file may get before its older half goes, in bytes: several hundred tasks.
const MOST: u64 = 256 << 10;
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// One task.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    state: Option<State>,
    #[prost(message, optional, tag = "2")]
    exit: Option<Exit>,
}

/// Notes it. Of its control groups nothing is kept: they may be another task's by the time that somebody asks.
pub(crate) fn note(runtime: BorrowedFd<'_>, state: &State, memo: &[u8], exit: Exit) -> Result<(), Errno> {
    let memo = Notes { memo: memo.to_vec(), ..Notes::default() }.encode_to_vec();
    let state = State { cgroups: Vec::new(), controllers: Vec::new(), memo, ..state.clone() };
    let record = Record { state: Some(state), exit: Some(exit) }.encode_length_delimited_to_vec();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(runtime, FILE, flags, MODE)?;
    let length = || rustix::fs::fstat(file.as_fd()).map(|stat| u64::try_from(stat.st_size).unwrap_or_default());
    let before = length()?;
    // In one piece, or another plugin's could come between; a part of one would hide all that follow.
    if rustix::io::write(&file, &record)? < record.len() {
        rustix::fs::ftruncate(&file, before)?;
        return Err(Errno::NOSPC);
    }
    if length()? > MOST {
        let bytes = files::read(runtime, FILE)?;
        files::replace(runtime, FILE, newer_half(&bytes), MODE)?;
    }
    Ok(())
}

/// What is known of the task that was this process.
pub(crate) fn find(runtime: BorrowedFd<'_>, task: &Identity) -> Option<(State, Exit)> {
    let bytes = files::read(runtime, FILE).ok()?;
    let mut rest = bytes.as_slice();
    let mut found = None;
    while let Ok(Record { state: Some(state), exit: Some(exit) }) = Record::decode_length_delimited(&mut rest) {
        if state.task.as_ref() == Some(task) {
            found = Some((state, exit));
        }
    }
    found
}

/// Nothing, where it makes no sense.
fn newer_half(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while rest.len() > bytes.len() / 2 {
        if Record::decode_length_delimited(&mut rest).is_err() {
            return &[];
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_the_file_stays_small() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("it");
        let task = |pid: u32| Identity { pid, start_time: 7, inode: 8 };
        assert_eq!(find(runtime.as_fd(), &task(1)), None);
        for pid in 1..=5000 {
            let state =
                State { id: format!("task/{pid}"), task: Some(task(pid)), request: vec![1; 64], ..State::default() };
            let exit = Exit { code: i32::try_from(pid).expect("small"), ..Exit::default() };
            note(runtime.as_fd(), &state, b"memo", exit).expect("room");
        }
        let length = std::fs::metadata(dir.path().join(FILE)).expect("it").len();
        assert!(length <= MOST, "{length}");
        for pid in [5000, 4900, 4500] {
            let (state, exit) = find(runtime.as_fd(), &task(pid)).expect("one of the last");
            assert_eq!((state.id, exit.code), (format!("task/{pid}"), i32::try_from(pid).expect("small")));
            assert_eq!(Notes::decode(state.memo.as_slice()).expect("own bytes").memo, b"memo");
        }
        assert_eq!(find(runtime.as_fd(), &task(1)), None);
        assert_eq!(find(runtime.as_fd(), &Identity { start_time: 8, ..task(5000) }), None);
    }

    #[test]
    fn what_somebody_has_cut_off_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("it");
        let task = Identity { pid: 5, start_time: 7, inode: 8 };
        let state = State { id: "task".to_owned(), task: Some(task), ..State::default() };
        note(runtime.as_fd(), &state, b"", Exit::default()).expect("room");
        let whole = std::fs::read(dir.path().join(FILE)).expect("it");
        for length in 0..whole.len() {
            std::fs::write(dir.path().join(FILE), &whole[..length]).expect("room");
            assert_eq!(find(runtime.as_fd(), &task), None);
        }
        // Begun anew once it is too long.
        std::fs::write(dir.path().join(FILE), vec![0xff; usize::try_from(MOST).expect("small")]).expect("room");
        for _ in 0..2 {
            note(runtime.as_fd(), &state, b"", Exit::default()).expect("room");
        }
        assert!(find(runtime.as_fd(), &task).is_some());
    }
}
