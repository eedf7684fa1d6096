//! Tells when one of a few files may have become another: written to its end, replaced, linked elsewhere, made, removed, of another mode.
//!
//! Directories are watched, not files, since an editor or a deployment puts another file in the old one's place: for each link on the way to a
//! file, for the file at its end, and for the first thing that is missing. What else happens in those directories wakes nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;
use yurt_guest::CURRENT;

/// Where the kernel cannot watch, files are looked at this often.
const OTHERWISE: Duration = Duration::from_secs(2);
/// Links that are followed.
const LINKS: usize = 40;
/// How often a watch is begun anew because things changed meanwhile.
const ATTEMPTS: usize = 4;

/// A few files, watched.
pub(crate) enum Files {
    None,
    Watched(Watch),
    /// The kernel could not.
    LookedAt,
}

/// What the kernel watches.
pub(crate) struct Watch {
    /// Read like a pipe.
    events: pipe::Receiver,
    /// By the kernel's number of a directory: the names in it that matter.
    names: BTreeMap<i32, BTreeSet<OsString>>,
}

/// A directory, and a name in it that leads to a file.
type Step = (PathBuf, OsString);

impl Files {
    /// Of files that need not be there; of a directory of versions, its present one. What cannot be watched is looked at now and then.
    pub(crate) fn watch<'a>(files: impl IntoIterator<Item = &'a Path>) -> Files {
        let files: Vec<&Path> = files.into_iter().collect();
        if files.is_empty() {
            return Files::None;
        }
        Watch::of(&files).map_or_else(
            |why| {
                tracing::debug!("the kernel cannot watch the files of guests and rules: {why}");
                Files::LookedAt
            },
            Files::Watched,
        )
    }

    /// Returns once something happened to one of them.
    pub(crate) async fn changed(&self) {
        match self {
            Files::None => std::future::pending().await,
            Files::LookedAt => tokio::time::sleep(OTHERWISE).await,
            Files::Watched(watch) => {
                if watch.changed().await.is_err() {
                    tokio::time::sleep(OTHERWISE).await;
                }
            }
        }
    }
}

impl Watch {
    fn of(files: &[&Path]) -> io::Result<Watch> {
        let steps = || files.iter().flat_map(|file| steps_to(file)).collect::<BTreeSet<Step>>();
        let mut before = steps();
        for _ in 0..ATTEMPTS {
            let watch = Watch::begin(&before)?;
            let now = steps();
            if now == before {
                return Ok(watch);
            }
            // Made or linked elsewhere before anybody watched.
            before = now;
        }
        Err(io::Error::other("they change all the time"))
    }

    fn begin(steps: &BTreeSet<Step>) -> io::Result<Watch> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Not what is written to a file that stays open: what tells that somebody has finished.
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let mut names: BTreeMap<i32, BTreeSet<OsString>> = BTreeMap::new();
        for (directory, name) in steps {
            match inotify::add_watch(&events, directory, wanted) {
                Ok(number) => {
                    names.entry(number).or_default().insert(name.clone());
                }
                // Gone meanwhile, which shows when the steps are taken again.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(Watch { events: pipe::Receiver::from_owned_fd_unchecked(events)?, names })
    }

    async fn changed(&self) -> io::Result<()> {
        let mut bytes = [0_u8; 4096];
        loop {
            self.events.readable().await?;
            let mut matters = false;
            loop {
                match self.events.try_read(&mut bytes) {
                    Ok(read) => matters |= self.matters(bytes.get(..read).unwrap_or_default()),
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                    Err(why) => return Err(why),
                }
            }
            if matters {
                return Ok(());
            }
        }
    }

    /// Whether any of these events does.
    fn matters(&self, mut events: &[u8]) -> bool {
        while let Some((event, rest)) = Event::first_of(events) {
            // Without a name it is about the directory itself, or events were lost.
            let names = self.names.get(&event.directory);
            if event.name.is_empty() || names.is_some_and(|names| names.contains(OsStr::from_bytes(event.name))) {
                return true;
            }
            events = rest;
        }
        false
    }
}

/// As `inotify(7)` lays it out: the number of the watch, what happened, a cookie, the name's length, the name and zeros.
struct Event<'a> {
    directory: i32,
    name: &'a [u8],
}

impl Event<'_> {
    /// And what follows it.
    fn first_of(events: &[u8]) -> Option<(Event<'_>, &[u8])> {
        let (head, rest) = events.split_first_chunk::<16>()?;
        let (directory, _) = head.split_first_chunk()?;
        let (_, length) = head.split_last_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some((Event { directory: i32::from_ne_bytes(*directory), name }, rest))
    }
}

/// Where something would have to happen for `file` to become another one.
fn steps_to(file: &Path) -> Vec<Step> {
    let Ok(file) = std::path::absolute(file) else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(&file).collect();
    let (mut links, mut versions) = (0, false);
    while let Some(name) = rest.pop_front() {
        match name.as_bytes() {
            b"/" => at = PathBuf::from("/"),
            b".." => drop(at.pop()),
            _ => {
                let path = at.join(&name);
                let status = std::fs::symlink_metadata(&path);
                match status {
                    Ok(status) if status.is_dir() && !rest.is_empty() => at = path,
                    Ok(status) if status.is_dir() && !versions => {
                        found.push((std::mem::replace(&mut at, path), name));
                        rest.push_back(CURRENT.into());
                        versions = true;
                    }
                    Ok(status) if status.is_symlink() && links < LINKS => {
                        links += 1;
                        found.push((at.clone(), name));
                        for part in std::fs::read_link(&path).iter().flat_map(|to| parts(to)).rev() {
                            rest.push_front(part);
                        }
                    }
                    _ => {
                        found.push((at, name));
                        break;
                    }
                }
            }
        }
    }
    found
}

/// Of a path, `.` left out.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    async fn told(files: &Files) -> bool {
        tokio::time::timeout(Duration::from_secs(5), files.changed()).await.is_ok()
    }

    async fn quiet(files: &Files) -> bool {
        tokio::time::timeout(Duration::from_millis(100), files.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_removed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.hcl");
        let files = Files::watch([file.as_path()]);
        std::fs::write(&file, "a").unwrap();
        assert!(told(&files).await);
        std::fs::write(dir.path().join("draft"), "b").unwrap();
        std::fs::rename(dir.path().join("draft"), &file).unwrap();
        assert!(told(&files).await);
        std::fs::hard_link(&file, dir.path().join("kept")).unwrap();
        assert!(quiet(&files).await);
        std::fs::remove_file(&file).unwrap();
        assert!(told(&files).await);
        assert!(quiet(&files).await);
    }

    #[tokio::test]
    async fn a_log_beside_the_file_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.hcl");
        std::fs::write(&file, "a").unwrap();
        let files = Files::watch([file.as_path()]);
        let log = dir.path().join("usb.log");
        for line in 0..100 {
            let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
            writeln!(log, "line {line}").unwrap();
        }
        assert!(quiet(&files).await);
        std::fs::rename(&log, dir.path().join("usb.log.1")).unwrap();
        assert!(quiet(&files).await);
        std::fs::write(&file, "b").unwrap();
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn what_is_written_is_told_once_its_writer_has_finished() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.hcl");
        std::fs::write(&file, "a").unwrap();
        let files = Files::watch([file.as_path()]);
        let mut writer = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        for _ in 0..100 {
            writer.write_all(b"b").unwrap();
        }
        assert!(quiet(&files).await);
        drop(writer);
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn every_link_is_watched_where_it_stands_and_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let versions = dir.path().join("versions");
        let [one, two] = ["v1", "v2"].map(|version| versions.join(version));
        for version in [&one, &two] {
            std::fs::create_dir_all(version).unwrap();
            std::fs::write(version.join("guest.wasm"), "x").unwrap();
        }
        let link = |to: &str, at: &Path| {
            let next = dir.path().join("next");
            symlink(to, &next).unwrap();
            std::fs::rename(&next, at).unwrap();
        };
        // A link to a directory on the way to a link to a file.
        let (latest, guest) = (versions.join("latest"), dir.path().join("guest.wasm"));
        link("v1", &latest);
        link("versions/latest/guest.wasm", &guest);
        let watch = || Files::watch([guest.as_path()]);
        let files = watch();
        std::fs::write(one.join("guest.wasm"), "y").unwrap();
        assert!(told(&files).await);
        std::fs::write(two.join("guest.wasm"), "y").unwrap();
        assert!(quiet(&files).await);
        link("v2", &latest);
        assert!(told(&files).await);
        let files = watch();
        std::fs::write(two.join("guest.wasm"), "z").unwrap();
        assert!(told(&files).await);
        link("versions/v1/guest.wasm", &guest);
        assert!(told(&files).await);
        let files = watch();
        std::fs::rename(&one, versions.join("v0")).unwrap();
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn a_directory_of_versions_is_watched_by_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let versions = dir.path().join("acme");
        std::fs::create_dir(&versions).unwrap();
        let files = Files::watch([versions.as_path()]);
        std::fs::write(versions.join("1.wasm"), "x").unwrap();
        assert!(quiet(&files).await);
        symlink("1.wasm", versions.join(CURRENT)).unwrap();
        assert!(told(&files).await);
        let files = Files::watch([versions.as_path()]);
        std::fs::write(versions.join("1.wasm"), "y").unwrap();
        assert!(told(&files).await);
        std::fs::rename(&versions, dir.path().join("old")).unwrap();
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_told_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::watch([dir.path().join("etc/yurt/rules.hcl").as_path()]);
        std::fs::create_dir_all(dir.path().join("etc/yurt")).unwrap();
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn a_circle_of_links_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let files = Files::watch([dir.path().join("a").as_path()]);
        std::fs::remove_file(dir.path().join("b")).unwrap();
        assert!(told(&files).await);
    }
}
