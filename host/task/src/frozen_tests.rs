//! What earlier releases left behind, byte for byte, in `tests/frozen/<release>`: state, exit and memo of a task's entry, and a handle as the
//! agent has it. Today's code must read every field of every release, and must write what the release in work writes.
//!
//! The bytes are never made anew. A field that is added gets a folder of the release that brings it.

use std::time::{Duration, SystemTime};

use prost::Message;
use yurt_keeper::{Identity, State};

use crate::cgroup::Groups;
use crate::entry;
use crate::exit::Exit;
use crate::handle::Handle;
use crate::tasks::Notes;

const ID: &str = "8d1bc1b2-0c6f-4d2e-9a55-0f5a4c3b2a19/web/5e6f7a8b";
const BOOT: [u8; 16] = [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31];
const KEEPER: Identity = Identity { pid: 4241, start_time: 123_456, inode: 987_654_321 };
const TASK: Identity = Identity { pid: 4242, start_time: 123_457, inode: 987_654_322 };
const STARTED: u64 = 1_800_000_000_123_456_789;
const ENDED: u64 = 1_800_000_001_123_456_789;
const FREEZER: &str = "/sys/fs/cgroup/freezer/nomad/8d1bc1b2.web";
const MEMORY: &str = "/sys/fs/cgroup/memory/nomad/8d1bc1b2.web";
const PIDS: &str = "/sys/fs/cgroup/pids/nomad/8d1bc1b2.web";

/// A file of release 0.1.0.
macro_rules! frozen {
    ($file:literal) => {
        bytes(include_str!(concat!("../tests/frozen/0.1.0/", $file)))
    };
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn memo() -> Vec<u8> {
    include_str!("../tests/frozen/0.1.0/memo.json").trim_end().into()
}

fn state() -> State {
    State {
        protocol: 1,
        id: ID.to_owned(),
        boot_id: BOOT.to_vec(),
        keeper: Some(KEEPER),
        task: Some(TASK),
        started_at: STARTED,
        cgroups: vec![FREEZER.to_owned(), MEMORY.to_owned()],
        controllers: vec!["freezer".to_owned(), "memory".to_owned()],
        oom_before: 3,
        request: (0x20..0x40).collect(),
        memo: Notes { memo: memo(), made: vec![PIDS.to_owned()], ..Notes::default() }.encode_to_vec(),
        private_pid: true,
        private_root: true,
        ..State::default()
    }
}

fn exit() -> yurt_keeper::Exit {
    yurt_keeper::Exit {
        code: 137,
        signal: 9,
        oom_killed: true,
        at: ENDED,
        user_micros: 1500,
        system_micros: 2500,
        max_rss_kib: 51_200,
        unknown: "nobody saw it".to_owned(),
        log_bytes_dropped: 77,
    }
}

#[test]
fn every_field_of_a_frozen_state_is_read() {
    let read = State::decode(frozen!("state.hex").as_slice()).unwrap();
    assert_eq!(read, state());
    let notes = Notes::decode(read.memo.as_slice()).unwrap();
    assert_eq!((notes.memo, notes.made), (memo(), vec![PIDS.to_owned()]));
    assert_eq!(Groups::of(&read).main(), Some(&FREEZER.into()));
}

#[test]
fn a_frozen_state_is_taken_from_the_entry_of_its_task_and_from_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let put = |id: &str| {
        let entry = entry::Entry::make(dir.path(), entry::name(id)).unwrap().unwrap();
        std::fs::write(entry.path.join(yurt_keeper::names::STATE), frozen!("state.hex")).unwrap();
        std::fs::write(entry.path.join(yurt_keeper::names::EXIT), frozen!("exit.hex")).unwrap();
        entry
    };
    let own = put(ID);
    assert!(matches!(own.state(), Ok(entry::Found::Whole(read)) if read == state()));
    assert!(matches!(own.exit(), Ok(entry::Found::Whole(read)) if read == exit()));
    assert!(matches!(put("another").state(), Ok(entry::Found::Garbage(_))));
}

#[test]
fn every_field_of_a_frozen_exit_is_read() {
    let read = yurt_keeper::Exit::decode(frozen!("exit.hex").as_slice()).unwrap();
    assert_eq!(read, exit());
    let wanted = Exit {
        code: 137,
        signal: 9,
        oom_killed: true,
        at: SystemTime::UNIX_EPOCH + Duration::from_nanos(ENDED),
        unknown: Some("nobody saw it".to_owned()),
        user: Duration::from_micros(1500),
        system: Duration::from_micros(2500),
        max_rss: 50 << 20,
        log_bytes_dropped: 77,
    };
    assert_eq!(Exit::from_keeper(read), wanted);
}

#[test]
fn a_frozen_handle_leads_to_the_same_entry() {
    let read = Handle::from_bytes(&frozen!("handle.hex")).unwrap();
    assert_eq!(read, Handle::new(&BOOT, entry::name(ID), TASK, Some(KEEPER)));
    assert_eq!(read.entry(), entry::name(ID));
}

#[test]
fn the_same_values_are_written_as_the_same_bytes() {
    assert_eq!(state().encode_to_vec(), frozen!("state.hex"));
    assert_eq!(exit().encode_to_vec(), frozen!("exit.hex"));
    assert_eq!(Handle::new(&BOOT, entry::name(ID), TASK, Some(KEEPER)).to_bytes(), frozen!("handle.hex"));
}
