//! Tells when one of a few files may have changed: written, replaced, linked elsewhere, made, removed.
//!
//! Directories are watched, not files, since an editor or a deployment puts another file in the old one's place. Of a link both its
//! own directory and that of the file at its end are watched.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;

/// Where the kernel cannot watch, files are looked at this often.
const OTHERWISE: Duration = Duration::from_secs(2);
/// Links that are followed.
const LINKS: usize = 16;

/// A few files, watched.
pub(crate) enum Files {
    None,
    /// By the kernel, which tells through a descriptor that is read like a pipe.
    Watched(pipe::Receiver),
    /// The kernel could not.
    LookedAt,
}

impl Files {
    /// Of files that need not be there. What cannot be watched is looked at now and then.
    pub(crate) fn watch<'a>(files: impl IntoIterator<Item = &'a Path>) -> Files {
        let directories: BTreeSet<PathBuf> = files.into_iter().flat_map(directories).collect();
        if directories.is_empty() {
            return Files::None;
        }
        watched(&directories).map_or_else(
            |why| {
                tracing::debug!("the kernel cannot watch the files of guests and rules: {why}");
                Files::LookedAt
            },
            Files::Watched,
        )
    }

    /// Returns once something happened in one of their directories.
    pub(crate) async fn changed(&self) {
        let events = match self {
            Files::None => return std::future::pending().await,
            Files::LookedAt => return tokio::time::sleep(OTHERWISE).await,
            Files::Watched(events) => events,
        };
        let mut some = false;
        let mut bytes = [0_u8; 4096];
        while !some {
            if events.readable().await.is_err() {
                return tokio::time::sleep(OTHERWISE).await;
            }
            // What happened does not matter, only that something did.
            while events.try_read(&mut bytes).is_ok_and(|read| read > 0) {
                some = true;
            }
        }
    }
}

fn watched(directories: &BTreeSet<PathBuf>) -> io::Result<pipe::Receiver> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let wanted = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::MODIFY;
    let mut some = false;
    for directory in directories {
        match inotify::add_watch(&events, directory, wanted) {
            Ok(_) => some = true,
            // It may come: whoever watches its parent is told.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(why) => return Err(why.into()),
        }
    }
    if !some {
        return Err(io::Error::from(Errno::NOENT));
    }
    pipe::Receiver::from_owned_fd_unchecked(events)
}

/// The directories of a file, of every link on the way to it, and the nearest one that exists.
fn directories(file: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut at = file.to_owned();
    for _ in 0..LINKS {
        let Some(parent) = at.parent() else { break };
        let nearest = parent.ancestors().find(|directory| directory.is_dir());
        found.extend(nearest.map(Path::to_owned));
        match std::fs::read_link(&at) {
            Ok(to) => at = parent.join(to),
            Err(_) => break,
        }
    }
    // Links among the directories themselves.
    found.extend(std::fs::canonicalize(file).ok().and_then(|end| end.parent().map(Path::to_owned)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(files: &Files) -> bool {
        tokio::time::timeout(Duration::from_secs(5), files.changed()).await.is_ok()
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
        std::fs::remove_file(&file).unwrap();
        assert!(told(&files).await);
        let quiet = tokio::time::timeout(Duration::from_millis(50), files.changed()).await;
        assert!(quiet.is_err());
    }

    #[tokio::test]
    async fn a_link_is_watched_where_it_stands_and_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["v1", "v2"].map(|version| dir.path().join(version));
        for version in [&one, &two] {
            std::fs::create_dir(version).unwrap();
            std::fs::write(version.join("guest.wasm"), "x").unwrap();
        }
        let current = dir.path().join("current");
        std::os::unix::fs::symlink("v1/guest.wasm", &current).unwrap();
        let files = Files::watch([current.as_path()]);
        std::fs::write(one.join("guest.wasm"), "y").unwrap();
        assert!(told(&files).await);
        let next = dir.path().join("next");
        std::os::unix::fs::symlink("v2/guest.wasm", &next).unwrap();
        std::fs::rename(&next, &current).unwrap();
        assert!(told(&files).await);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_told_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::watch([dir.path().join("etc/yurt/rules.hcl").as_path()]);
        std::fs::create_dir_all(dir.path().join("etc/yurt")).unwrap();
        assert!(told(&files).await);
    }
}
