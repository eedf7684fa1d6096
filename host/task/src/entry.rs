//! The entry of a task: a directory that only this user may enter, with what its keeper writes, named by a digest of the task's id.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use yurt_keeper::{State, names};

use crate::files;
use crate::tasks::Notes;

/// See [`Entry::note_groups`].
const GROUPS: &str = "groups";

/// Bytes of an entry's name.
pub(crate) type Name = [u8; 16];

/// The name of an id's entry.
pub(crate) fn name(id: &str) -> Name {
    let digest = Sha256::digest(id.as_bytes());
    let mut name = Name::default();
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    name
}

/// An open entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) path: PathBuf,
    dir: OwnedFd,
}

impl AsFd for Entry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// What stands in a file of an entry.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// It is not there.
    Nothing,
    /// It makes no sense, because …
    Garbage(String),
    /// It.
    Whole(T),
}

impl Entry {
    /// Makes a new one; `None`: there is one already.
    pub(crate) fn make(runtime: &Path, name: Name) -> Result<Option<Entry>, Errno> {
        match rustix::fs::mkdir(place(runtime, name), Mode::RWXU) {
            Ok(()) => Entry::open(runtime, name),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// One that stands; `None`: there is none.
    pub(crate) fn open(runtime: &Path, name: Name) -> Result<Option<Entry>, Errno> {
        let path = place(runtime, name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(dir) => Ok(Some(Entry { name, path, dir })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// One that is gone: for a task of which nothing is left.
    pub(crate) fn gone(runtime: &Path, name: Name) -> Result<Option<Entry>, Errno> {
        let made = Entry::make(runtime, name)?;
        made.as_ref().map_or(Ok(()), Entry::remove)?;
        Ok(made)
    }

    /// Takes it for as long as anybody has it open, and so has its keeper while it lives. False: somebody else starts this task, or
    /// its keeper lives, or it was removed.
    pub(crate) fn take(&self) -> bool {
        rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive).is_ok() && self.is_in_place()
    }

    fn is_in_place(&self) -> bool {
        let (Ok(ours), Ok(there)) = (rustix::fs::fstat(&self.dir), rustix::fs::lstat(&self.path)) else { return false };
        (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
    }

    pub(crate) fn state(&self) -> Result<Found<State>, Errno> {
        let state = match self.read::<State>(names::STATE)? {
            Found::Whole(state) => state,
            other => return Ok(other),
        };
        let of_this_id = name(&state.id) == self.name;
        if state.protocol == 0 || state.boot_id.len() != 16 || !of_this_id {
            return Ok(Found::Garbage("is not of this task".to_owned()));
        }
        match state.task {
            Some(task) if task.pid > 1 && task.start_time > 0 => Ok(Found::Whole(state)),
            _ => Ok(Found::Garbage("names no process".to_owned())),
        }
    }

    pub(crate) fn exit(&self) -> Result<Found<yurt_keeper::Exit>, Errno> {
        self.read(names::EXIT)
    }

    /// Writes how the task ended, unless that stands there already; what stands there then.
    pub(crate) fn write_exit(&self, exit: yurt_keeper::Exit) -> yurt_keeper::Exit {
        let mode = Mode::RUSR | Mode::WUSR;
        match files::create(self.dir.as_fd(), names::EXIT, &exit.encode_to_vec(), mode) {
            Ok(()) => exit,
            Err(Errno::EXIST) => match self.exit() {
                Ok(Found::Whole(there)) => there,
                _ => exit,
            },
            Err(errno) => {
                tracing::warn!("cannot write how a task ended: {}: {}", self.path.display(), io::Error::from(errno));
                exit
            }
        }
    }

    /// Notes control groups that are about to be made for it. Once its keeper has written its state they stand there.
    pub(crate) fn note_groups(&self, paths: &[PathBuf]) -> Result<(), Errno> {
        let made = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let notes = Notes { made, ..Notes::default() };
        files::replace(self.dir.as_fd(), GROUPS, &notes.encode_to_vec(), Mode::RUSR | Mode::WUSR)
    }

    /// What a start has noted that came to no task.
    pub(crate) fn noted_groups(&self) -> Vec<PathBuf> {
        match self.read::<Notes>(GROUPS) {
            Ok(Found::Whole(notes)) => notes.made.into_iter().map(PathBuf::from).collect(),
            _ => Vec::new(),
        }
    }

    /// How long nothing was made or removed in it.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let stat = rustix::fs::fstat(&self.dir).ok()?;
        let seconds = u64::try_from(stat.st_mtime).ok()?;
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).ok()
    }

    fn read<T: Message + Default>(&self, name: &str) -> Result<Found<T>, Errno> {
        match files::read(self.dir.as_fd(), name) {
            Ok(bytes) if bytes.is_empty() => Ok(Found::Garbage("is empty".to_owned())),
            Ok(bytes) => Ok(match T::decode(bytes.as_slice()) {
                Ok(message) => Found::Whole(message),
                Err(e) => Found::Garbage(format!("makes no sense: {e}")),
            }),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(errno) => Err(errno),
        }
    }

    /// Removes it with its files. What somebody else made in its place meanwhile stays.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        for file in rustix::fs::Dir::read_from(&self.dir)?.filter_map(Result::ok) {
            if !matches!(file.file_name().to_bytes(), b"." | b"..") {
                let _ = rustix::fs::unlinkat(&self.dir, file.file_name(), AtFlags::empty());
            }
        }
        if !self.is_in_place() {
            return Ok(());
        }
        match rustix::fs::rmdir(&self.path) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

pub(crate) fn place(runtime: &Path, name: Name) -> PathBuf {
    runtime.join(name.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Makes a runtime directory that is open to this user only, or takes one that is. Returns it with its real path.
pub(crate) fn runtime(path: &Path) -> io::Result<Result<(PathBuf, OwnedFd), String>> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&dir)?;
    let uid = rustix::process::geteuid().as_raw();
    if stat.st_uid != uid {
        return Ok(Err(format!("belongs to user {}", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Ok(Err(format!("has mode {:04o}", stat.st_mode & 0o7777)));
    }
    Ok(Ok((fs::canonicalize(path)?, dir)))
}
