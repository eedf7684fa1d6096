//! Starting a task: an entry, its streams, its control groups, a keeper, the keeper's word. Each may fail, and then what came before is
//! taken back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use yurt_keeper::answer::Say;
use yurt_keeper::{Carried, RECORD_MAX, Start, Step};

use crate::cgroup::devices::{self, Rule};
use crate::cgroup::{self, Groups, Prepared, Wish, Written, keepers};
use crate::channel::Channel;
use crate::entry::{self, Entry, Found};
use crate::error::{Reason, StartError, StepError};
use crate::launch::{Cgroup, Isolation, Launch};
use crate::record::{record, resolve};
use crate::task::KILL;
use crate::task::{Origin, Task};
use crate::tasks::{Life, Notes, Room, watched};
use crate::{host_paths, landlock, spawn, streams, sys};

/// Longest that a keeper may take to start a task; many mounts on a loaded machine take a while.
const START: Duration = Duration::from_secs(30);
/// How often an entry is looked for that others make and remove.
const TRIES: usize = 20;
/// How long what is killed after a failure may take to be gone.
const UNDO: Duration = Duration::from_secs(5);

/// See [`crate::Tasks::start`].
pub(crate) async fn start(room: &Arc<Room>, launch: Launch) -> Result<Task, StartError> {
    let lost = |e: &dyn std::fmt::Display| StepError::text("starting the task", "", e.to_string());
    let (channel, socket) = Channel::pair().map_err(|e| io_step("making a socket", "", &e))?;
    let kept = Arc::clone(room);
    let begun =
        tokio::task::spawn_blocking(move || Begun::new(kept, &launch, socket)).await.map_err(|e| lost(&e))??;
    let mut begun = begun;
    match tell(&channel, &mut begun).await {
        Ok(task) => Ok(task),
        Err(why) => {
            // Awaited, so that nothing is left once the caller knows.
            let _ = tokio::task::spawn_blocking(move || begun.undo()).await;
            Err(why.into())
        }
    }
}

/// A child that has ended stays until it is reaped.
async fn reap(keeper: Arc<AsyncFd<OwnedFd>>) {
    if keeper.readable().await.is_ok() {
        sys::reap(keeper.get_ref().as_fd());
    }
}

/// A start under way: what has to be taken back if it fails.
struct Begun {
    room: Arc<Room>,
    entry: Option<Entry>,
    groups: Groups,
    made: Vec<PathBuf>,
    written: Written,
    directories: Vec<(bool, PathBuf)>,
    keeper: Option<OwnedFd>,
    record: Start,
    with: Vec<(Carried, OwnedFd)>,
}

impl Begun {
    /// All that blocks.
    fn new(room: Arc<Room>, launch: &Launch, socket: OwnedFd) -> Result<Begun, StartError> {
        let hierarchies =
            room.hierarchies().map_err(|errno| StepError::errno("reading", "/proc/self/mountinfo", errno))?;
        let directories = keepers::directories(&launch.cgroup, hierarchies);
        let entry = claim(&room, launch)?;
        let mut begun = Begun {
            room,
            entry: Some(entry),
            groups: Groups::None,
            made: Vec::new(),
            written: Written::default(),
            directories,
            keeper: None,
            record: Start::default(),
            with: Vec::new(),
        };
        match begun.prepare(launch, socket) {
            Ok(()) => Ok(begun),
            Err(why) => {
                begun.undo();
                Err(why.into())
            }
        }
    }

    fn prepare(&mut self, launch: &Launch, socket: OwnedFd) -> Result<(), StepError> {
        let mut record = record(launch)?;
        self.with.push((Carried::Stdout, streams::open("output", &launch.stdout)?));
        self.with.push((Carried::Stderr, streams::open("error", &launch.stderr)?));
        let mut rules = None;
        if let Isolation::Chroot(root) = &launch.isolation {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.with.push((Carried::Root, open("opening the root directory", &root.path, flags)?));
            if let Some(bare) = self.room.bare() {
                let bare = bare.try_clone().map_err(|e| io_step("handing over a mount namespace", "", &e))?;
                self.with.push((Carried::Mounts, bare));
            }
            if let Some(host) = &root.host {
                record.host_paths =
                    host_paths::with_mounts(&host.paths).map_err(|e| io_step("reading", "/proc/self/mountinfo", &e))?;
                self.with.push((Carried::Work, host_paths::work(host)?));
            }
            let allowed = rules.insert(devices::usual());
            for device in &root.devices {
                let (device, rule) = resolve(device)?;
                record.devices.push(device);
                allowed.push(rule);
            }
            allowed.extend(root.allowed.iter().map(Rule::from));
        }
        if let Isolation::Landlock(unveiled) = &launch.isolation {
            let (ruleset, later) = landlock::ruleset(unveiled)?;
            self.with.push((Carried::Ruleset, ruleset));
            record.allowed = later;
        }
        if let Some(network) = &launch.network {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            self.with.push((Carried::Network, open("opening the network namespace", network, flags)?));
        }
        let hierarchies = self.room.hierarchies().map_err(|errno| StepError::errno("reading", "mountinfo", errno))?;
        let (own, other) = (&launch.cgroup, &launch.elsewhere);
        let note = |paths: &[PathBuf]| {
            let noted = self.entry.as_ref().map_or(Ok(()), |entry| entry.note_groups(paths));
            noted.map_err(|errno| StepError::errno("noting control groups", "the task's entry", errno))
        };
        let prepared = cgroup::prepare(&Wish {
            wanted: own,
            elsewhere: other,
            hierarchies,
            limits: &launch.limits,
            rules: rules.as_deref(),
            note: &note,
        })?;
        let Prepared { groups, dirs, made, written } = prepared;
        (self.groups, self.made, self.written) = (groups, made, written);
        for dir in &dirs {
            let kind = if matches!(launch.cgroup, Cgroup::V2(_)) { Carried::CgroupV2 } else { Carried::CgroupV1 };
            let fd = dir.as_fd().try_clone_to_owned().map_err(|e| io_step("preparing control groups", "", &e))?;
            self.with.push((kind, fd));
            record.cgroups.push(dir.path.to_string_lossy().into_owned());
        }
        if let Groups::V1(groups) = &self.groups {
            record.controllers = groups.iter().map(|group| group.controllers.clone()).collect();
        }
        let made = self.made.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let agents = match own {
            Cgroup::V2(path) if !other.is_empty() => path.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        record.memo = Notes { memo: launch.memo.clone(), made, agents }.encode_to_vec();
        if let Some(entry) = &self.entry {
            let fd = entry.as_fd().try_clone_to_owned().map_err(|e| io_step("opening the task's entry", "", &e))?;
            self.with.push((Carried::Entry, fd));
        }
        if let Some(program) = &launch.program {
            let open = program.open.iter().map(|file| (Carried::Open, file));
            for (kind, file) in open.chain([(Carried::Program, &program.file)]) {
                let file = file.try_clone().map_err(|e| io_step("handing over the program", "", &e))?;
                self.with.push((kind, file));
            }
        }
        let Room { image, dir, .. } = &*self.room;
        self.keeper = Some(spawn::keeper(image, dir.as_fd(), socket, &self.directories)?);
        self.record = record;
        Ok(())
    }

    /// The record, and the file that holds it if it is long.
    fn encoded(&mut self) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
        self.record.carried = self.with.iter().map(|(kind, _)| i32::from(*kind)).collect();
        let record = self.record.encode_to_vec();
        if record.len() <= RECORD_MAX {
            return Ok((record, None));
        }
        let mut carried = std::mem::take(&mut self.record.carried);
        carried.push(Carried::Record.into());
        let head = Start { protocol: self.record.protocol, in_file: true, carried, ..Start::default() };
        Ok((head.encode_to_vec(), Some(in_file(&record)?)))
    }

    /// Leaves nothing. Blocks.
    fn undo(mut self) {
        if let Some(keeper) = self.keeper.take() {
            let _ = sys::send_signal(keeper.as_fd(), KILL);
            sys::reap(keeper.as_fd());
        }
        let until = Instant::now() + UNDO;
        let mut pause = Duration::from_micros(200);
        while !self.groups.processes().is_empty() && Instant::now() < until {
            self.groups.kill_once(pause > Duration::from_millis(10), None);
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.written.take_back();
        while !cgroup::remove(&self.groups, &self.made) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(entry) = self.entry.take()
            && let Err(errno) = entry.remove()
        {
            tracing::warn!("{} is left of a failed start: {}", entry.path.display(), io::Error::from(errno));
        }
        keepers::remove(&self.directories);
    }
}

/// Makes the entry of a task; one that an earlier task of this id left without anybody alive gives way.
fn claim(room: &Room, launch: &Launch) -> Result<Entry, StartError> {
    let name = entry::name(&launch.id);
    let failed = |errno| StepError::errno("making the task's entry", room.path.display().to_string(), errno);
    for tries in 1..=TRIES {
        if let Some(entry) = Entry::make(&room.path, name).map_err(failed)?
            && entry.take()
        {
            return Ok(entry);
        }
        let Some(there) = Entry::open(&room.path, name).map_err(failed)? else { continue };
        let free = there.take();
        let state = there.state().map_err(failed)?;
        let already = |same_request| StartError::AlreadyRunning { id: launch.id.clone(), same_request };
        match &state {
            Found::Whole(state) => match room.life(&there, state) {
                Life::Running { .. } | Life::Ended(_) => return Err(already(state.request == launch.request)),
                Life::OtherBoot | Life::Lost => {}
            },
            // Somebody is just making it or removing it, or did a moment ago.
            Found::Nothing | Found::Garbage(_) if !free && tries < TRIES => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            Found::Nothing | Found::Garbage(_) if !free => return Err(already(false)),
            Found::Nothing | Found::Garbage(_) => {}
        }
        tracing::info!(task = launch.id, "removing what is left of an earlier start");
        there.remove().map_err(failed)?;
    }
    Err(failed(Errno::BUSY).into())
}

fn open(step: &str, path: &Path, flags: OFlags) -> Result<OwnedFd, StepError> {
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| StepError::errno(step, path.display().to_string(), errno))
}

/// Gives the keeper its orders and waits for its word.
async fn tell(channel: &Channel, begun: &mut Begun) -> Result<Task, StepError> {
    const STEP: &str = "starting the task";
    let (record, file) = begun.encoded().map_err(|errno| StepError::errno(STEP, "a memory file", errno))?;
    let with: Vec<BorrowedFd<'_>> = begun.with.iter().map(|(_, fd)| fd).chain(&file).map(AsFd::as_fd).collect();
    let heard = async {
        channel.send(&record, &with).await?;
        channel.hear().await
    };
    let mut fds = match tokio::time::timeout(START, heard).await {
        Ok(Ok(Some((Say::Started(_), fds)))) => fds,
        Ok(Ok(Some((Say::Failed(failed), _)))) => return Err(step(&failed)),
        Ok(Ok(_)) => return Err(StepError::text(STEP, "", "its keeper ended without a word")),
        Ok(Err(e)) => return Err(io_step("speaking with the task's keeper", "", &e)),
        Err(_) => {
            let why = format!("its keeper gave no word within {START:?}");
            return Err(StepError { step: STEP.to_owned(), what: String::new(), reason: Reason::Late(why) });
        }
    };
    let lacking = |what: &str| StepError::text(STEP, "", format!("its keeper gave no {what}"));
    let task = fds.pop().ok_or_else(|| lacking("descriptor of the task"))?;
    let Some(Ok(Found::Whole(state))) = begun.entry.as_ref().map(Entry::state) else {
        return Err(lacking("state of the task"));
    };
    let watch = |fd: OwnedFd| watched(fd).map_err(|e| io_step(STEP, "watching its process", &e));
    let task = watch(task)?;
    let keeper = begun.keeper.as_ref().map(|keeper| keeper.try_clone()).transpose();
    let keeper = keeper.map_err(|e| io_step(STEP, "watching its keeper", &e))?.map(watch).transpose()?;
    // From here on nothing fails.
    let Some(entry) = begun.entry.take() else { return Err(lacking("entry")) };
    begun.keeper = None;
    if let Some(keeper) = &keeper {
        tokio::spawn(reap(Arc::clone(keeper)));
    }
    Ok(Task::new(Arc::clone(&begun.room), entry, state, Origin::Running { keeper, task: Some(task) }))
}

/// What a keeper says of its failure.
pub(crate) fn step(failed: &yurt_keeper::Failed) -> StepError {
    let reason = if failed.errno == 0 { Reason::Said } else { Reason::Errno(Errno::from_raw_os_error(failed.errno)) };
    StepError { step: Step::from_number(failed.step).to_string(), what: failed.detail.clone(), reason }
}

pub(crate) fn io_step(step: &str, what: &str, e: &io::Error) -> StepError {
    match Errno::from_io_error(e) {
        Some(errno) => StepError::errno(step, what, errno),
        None => StepError::text(step, what, e.to_string()),
    }
}

fn in_file(record: &[u8]) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::memfd_create("start", MemfdFlags::CLOEXEC)?;
    let mut rest = record;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}
