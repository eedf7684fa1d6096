//! What must go on while the plugin, or the guest in it, becomes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use yurt_conformance::binary;
use yurt_conformance::driver::{Node, Program, Request, Task, exists, of_python, of_yurt, soon};
use yurt_nomad::driver::{ExitResult, Opaque};

const OTHERS: &str = "its releases are its own affair";
/// Ends with 42 when it is told to, by a file.
const ON_DEMAND: &str = "echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; exit 42";
/// What each release left behind: `host/task/src/frozen_tests.rs`.
const FROZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/task/tests/frozen");

/// A plugin of before knew fewer fields. What it would have written of a task that runs is made of today's by leaving the others out.
#[tokio::test]
async fn r06_a_task_is_recovered_by_the_records_of_each_release() {
    of_yurt("R06", OTHERS, async |node| {
        for release in fs::read_dir(FROZEN).unwrap() {
            let release = release.unwrap().path();
            let mut task = started(node).await;
            let pid = task.pid().await;
            node.kill_plugin().await;
            let state = entry_of(node, &task).join("state");
            let fields = Fields::of(&hex(&release.join("state.hex")));
            let own = fields.within(&fs::read(&state).unwrap());
            fs::write(&state, own).unwrap();
            let fields = Fields::of(&hex(&release.join("handle.hex")));
            task.handle.driver_state = Opaque(fields.within(&task.handle.driver_state.0));
            node.relaunch().await;
            goes_on(node, &task, pid).await;
        }
    })
    .await;
}

/// `YURT_PREVIOUS`: a binary of an earlier release. Its plugin starts the task, this one takes over, and back again.
#[tokio::test]
async fn r06_a_task_is_recovered_from_the_binary_of_an_earlier_release() {
    of_yurt("R06", OTHERS, async |node| {
        let Some(previous) = std::env::var_os("YURT_PREVIOUS").map(PathBuf::from) else {
            eprintln!("R06: YURT_PREVIOUS names no binary of an earlier release: from its records only");
            return;
        };
        let present = node.subject.flavour.binary();
        for (before, after) in [(&previous, &present), (&present, &previous)] {
            let mut other = Node::served_by(node.subject, before).await;
            let task = started(&mut other).await;
            let pid = task.pid().await;
            other.kill_plugin().await;
            let link = other.agent().program.clone();
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(after, &link).unwrap();
            other.relaunch().await;
            goes_on(&mut other, &task, pid).await;
            other.finish().await;
        }
    })
    .await;
}

/// Tasks that run while the guest is exchanged, and that are started meanwhile.
const RUNNING: usize = 50;
const STARTED: usize = 20;
/// A sentence of the guest's, and another one of the same length: what serves is told by it.
const NOTE: (&str, &str) = ("the interpreter refused an option", "THE INTERPRETER REFUSED AN OPTION");

/// A guest that says something else than another one.
fn other(component: &[u8]) -> Vec<u8> {
    let (was, is) = (NOTE.0.as_bytes(), NOTE.1.as_bytes());
    let mut other = component.to_vec();
    let at: Vec<usize> = (0..=other.len() - was.len()).filter(|at| other[*at..].starts_with(was)).collect();
    assert!(!at.is_empty(), "the guest does not say {:?} any more", NOTE.0);
    at.into_iter().for_each(|at| other[at..at + is.len()].copy_from_slice(is));
    other
}

#[tokio::test]
async fn l05_a_guest_is_exchanged_while_tasks_run_and_start_and_nothing_fails() {
    of_python("L05", "it has no guest", async |node| {
        let Some(built) = binary::guest("python") else {
            eprintln!("L05: skipped: YURT_GUESTS_DIR does not say where the built-in guest's component is");
            return;
        };
        let alpha = fs::read(&built).unwrap();
        let beta = other(&alpha);
        let file = node.dir().join("guest.wasm");
        fs::write(&file, &alpha).unwrap();
        let mut node = Node::with_args(node.subject, &["--guest", file.to_str().unwrap()]).await;
        let config = node.subject.plugin_config();
        node.configure(config).await.unwrap();
        node.learn().await;
        let mut events = soon(node.driver.events()).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..RUNNING {
            tasks.push(node.run(Program::idle()).await);
        }
        let mut pids = BTreeMap::new();
        for task in &tasks {
            task.ready().await;
            pids.insert(task.id().to_owned(), task.pid().await);
        }
        // Calls of every kind go on without a pause.
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let callers = tasks.chunks(RUNNING / 2).map(|some| {
            let (some, over, calls) = (some.to_vec(), Arc::clone(&over), Arc::clone(&calls));
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    for task in &some {
                        assert!(task.runs().await);
                        task.signal("SIGCONT").await.unwrap();
                        soon(task.driver.clone().task_schema()).await.unwrap();
                        calls.fetch_add(3, Relaxed);
                    }
                    assert_eq!(some[0].sh("echo x").await, "x");
                    calls.fetch_add(1, Relaxed);
                }
            })
        });
        let callers: Vec<_> = callers.collect();

        let exchanged = |node: &Node| node.log().iter().filter(|line| line.contains("serves from now on")).count();
        let (mut exchanges, mut started) = (0, Vec::new());
        while started.len() < STARTED || exchanges < 2 {
            let next = if exchanges % 2 == 0 { &beta } else { &alpha };
            let draft = file.with_extension("draft");
            fs::write(&draft, next).unwrap();
            fs::rename(&draft, &file).unwrap();
            exchanges += 1;
            while exchanged(&node) < exchanges {
                started.push(node.run(Program::idle()).await);
            }
        }
        for task in &started {
            task.ready().await;
        }
        over.store(true, Relaxed);
        for caller in callers {
            soon(caller).await.unwrap();
        }
        eprintln!("L05: {exchanges} exchanges, {} starts, {} other calls", started.len(), calls.load(Relaxed));
        for task in &tasks {
            assert!(exists(pids[task.id()]) && task.pid().await == pids[task.id()]);
        }
        // Another guest plans now, and each of those that ran was told so once.
        let last = node.run(Request::of(Program::shell("exit 2"))).await;
        last.exit().await;
        let note = if exchanges % 2 == 0 { NOTE.0 } else { NOTE.1 };
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let event = soon(events.next()).await.unwrap();
            if event.message.contains("guest was exchanged") {
                *told.entry(event.task_id.clone()).or_default() += 1;
            }
            if event.task_id == last.id() && event.message.starts_with("Exit code 2") {
                assert!(event.message.contains(note), "{}", event.message);
                break;
            }
        }
        assert!(tasks.iter().all(|task| told.get(task.id()) == Some(&1)), "{told:?}");
        node.finish().await;
    })
    .await;
}

#[tokio::test]
async fn a08_the_loss_of_a_keeper_is_told_once() {
    of_yurt("A08", "it tells no events", async |node| {
        let mut events = soon(node.driver.events()).await.unwrap();
        let task = started(node).await;
        let keeper = i32::try_from(task.supervisor()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
        let mut lost = 0;
        let mut noted = |message: &str| lost += usize::from(message.contains("keeper was killed"));
        loop {
            let event = soon(events.next()).await.unwrap();
            noted(&event.message);
            if event.message.contains("keeper was killed") {
                break;
            }
        }
        assert!(task.runs().await);
        fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        let end = task.wait().await;
        assert!(end.exit == ExitResult::code(42) || end.unknown.is_some(), "{end:?}");
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), events.next()).await {
            noted(&event.unwrap().message);
        }
        assert_eq!(lost, 1);
    })
    .await;
}

async fn started(node: &mut Node) -> Task {
    let task = node.run(Program::shell(ON_DEMAND)).await;
    task.ready().await;
    task
}

/// It is found again, takes commands and signals, and its end is known; then nothing of it is left.
async fn goes_on(node: &mut Node, task: &Task, pid: u32) {
    let task = node.recover(task).await.unwrap();
    assert_eq!(task.pid().await, pid);
    assert_eq!(task.sh("echo still here").await, "still here");
    task.signal("SIGCONT").await.unwrap();
    fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
    assert_eq!(task.exit().await, ExitResult::code(42));
    soon(node.driver.destroy(task.id(), false)).await.unwrap();
    node.nothing_is_left().await;
}

/// The directory that the plugin keeps of it.
fn entry_of(node: &Node, task: &Task) -> PathBuf {
    let mut dirs = vec![node.runtime_dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        let holds = |file: &Path| fs::read(file).is_ok_and(|bytes| text_in(&bytes, task.id()));
        if holds(&dir.join("state")) {
            return dir;
        }
        let below = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        dirs.extend(below.filter(|path| path.is_dir()));
    }
    panic!("{} has no entry", task.id());
}

fn text_in(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn hex(file: &Path) -> Vec<u8> {
    let text = fs::read_to_string(file).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The numbers of a message's fields.
struct Fields(BTreeSet<u64>);

impl Fields {
    fn of(message: &[u8]) -> Fields {
        Fields(parts(message).into_iter().map(|(number, _)| number).collect())
    }

    /// The message without all other fields.
    fn within(&self, message: &[u8]) -> Vec<u8> {
        let own = parts(message).into_iter().filter(|(number, _)| self.0.contains(number));
        own.flat_map(|(_, bytes)| bytes.to_vec()).collect()
    }
}

/// Each field of a protocol buffer message: number, and tag and value as they stand.
fn parts(message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut parts = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, head) = varint(rest);
        let (value, size) = varint(&rest[head..]);
        let length = match tag & 7 {
            0 => head + size,
            2 => head + size + usize::try_from(value).unwrap(),
            other => panic!("wire type {other}"),
        };
        parts.push((tag >> 3, &rest[..length]));
        rest = &rest[length..];
    }
    parts
}

/// The number, and how many bytes it takes.
fn varint(bytes: &[u8]) -> (u64, usize) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    (bytes[..length].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)), length)
}
