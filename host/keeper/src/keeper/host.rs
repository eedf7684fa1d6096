//! Directories of the host at the same paths in a task's root, without a copy: each is the lower layer of an overlay whose upper one is
//! the root's own directory of that path. So the task sees both, what it writes lands in its own directory, and the host's stays as it is.
//!
//! Where the file system cannot hold an upper layer, all of them are bound read-only instead: a root that is in part one and in part the
//! other is nobody's wish.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mkdirat, openat, readlinkat, statat,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use yurt_keeper::{Failed, Propagation, Step};

use crate::child::by_number;
use crate::failure::{During as _, Failure, Outcome};
use crate::root::{attach, copy, file_system, set, set_alone};
use crate::walk::{Make, kind, walk};

const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// One of them, picked up while the host's mounts can be seen.
pub(crate) struct Host {
    path: String,
    directory: bool,
    /// Detached.
    mount: OwnedFd,
    /// Nothing of the host's own can be written there anyway.
    overlay: bool,
}

impl Host {
    /// Those that are there. `work` is what an overlay works in; with it, why there are none all the same. A path that is a link on the
    /// host is one in the root, where nothing else stands there.
    pub(crate) fn gather(
        root: &OwnedFd,
        work: Option<&OwnedFd>,
        paths: &[String],
    ) -> Outcome<(Vec<Host>, Option<Failed>)> {
        let mut present = Vec::new();
        for path in paths {
            if !linked(root, path).during(Step::Root, path)?
                && let Some(source) = source(path).during(Step::Mount, path)?
            {
                present.push((path.as_str(), source));
            }
        }
        let Some(work) = work else { return Ok((bound(&present)?, None)) };
        let laid = |(number, (path, source)): (usize, &(&str, OwnedFd))| match is_directory(source) {
            false => bind(path, source),
            true => Ok(Host {
                path: (*path).to_owned(),
                directory: true,
                mount: overlay(root, work, number, path, source).during(Step::Overlay, path)?,
                overlay: true,
            }),
        };
        match present.iter().enumerate().map(laid).collect() {
            Ok(laid) => Ok((laid, None)),
            Err(Failure(why)) => Ok((bound(&present)?, Some(why))),
        }
    }

    /// Puts it at its place.
    pub(crate) fn attach(&self, tree: &OwnedFd, read_only: bool) -> Outcome<()> {
        let put = || {
            let place = walk(tree, &self.path, if self.directory { Make::Directory } else { Make::File })?;
            attach(&self.mount, &place)?;
            match (self.overlay, read_only) {
                (true, false) => Ok(()),
                (true, true) => set_alone(&self.mount, RDONLY),
                (false, _) => set(&self.mount, RDONLY, Propagation::Private),
            }
        };
        put().during(Step::Mount, &self.path)
    }
}

/// The host's file or directory; none: nothing is there.
fn source(path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(why) => Err(why),
    }
}

fn is_directory(found: &OwnedFd) -> bool {
    fstat(found).is_ok_and(|meta| kind(&meta) == FileType::Directory)
}

/// Whether the root has the host's link now, or one of its own: `/bin`, which leads to `usr/bin`.
fn linked(root: &OwnedFd, path: &str) -> rustix::io::Result<bool> {
    let Ok(target) = readlinkat(CWD, path, Vec::new()) else { return Ok(false) };
    let target = target.into_string().map_err(|_| Errno::ILSEQ)?;
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent_dir = walk(root, parent, Make::Directory)?;
    match statat(&parent_dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(meta) => return Ok(kind(&meta) == FileType::Symlink),
        Err(Errno::NOENT) => {}
        Err(why) => return Err(why),
    }
    // Relative, so that it leads nowhere else for who sees the root from outside.
    let target = match target.strip_prefix('/') {
        Some(below) => "../".repeat(parent.split('/').filter(|name| !name.is_empty()).count()) + below,
        None => target,
    };
    symlinkat(target, &parent_dir, name).map(|()| true)
}

fn bound(present: &[(&str, OwnedFd)]) -> Outcome<Vec<Host>> {
    present.iter().map(|(path, source)| bind(path, source)).collect()
}

fn bind(path: &str, source: &OwnedFd) -> Outcome<Host> {
    let mount = copy(source, "").during(Step::Mount, path)?;
    Ok(Host { path: path.to_owned(), directory: is_directory(source), mount, overlay: false })
}

/// Layers go by descriptor, so that no colon or comma in a path means anything.
fn overlay(root: &OwnedFd, work: &OwnedFd, number: usize, path: &str, lower: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let upper = match walk(root, path, Make::Nothing) {
        Err(Errno::NOENT) => like(lower, walk(root, path, Make::Directory)?)?,
        upper => upper?,
    };
    let name = number.to_string();
    match mkdirat(work, &name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(why) => return Err(why),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let work = openat(work, &name, flags, Mode::empty())?;
    let [lower, upper, work] = [lower, &upper, &work].map(|fd| by_number(fd.as_fd()));
    // What a task has that was killed a moment ago is no hindrance.
    let options = [("lowerdir", lower.as_str()), ("upperdir", &upper), ("workdir", &work), ("index", "off")];
    file_system("overlay", &options, MountAttrFlags::empty())
}

/// A new upper directory is what the task sees of the merged one: the host's owner and mode.
fn like(lower: &OwnedFd, new: OwnedFd) -> rustix::io::Result<OwnedFd> {
    let meta = fstat(lower)?;
    let path = format!("/proc/self/fd/{}", new.as_raw_fd());
    chownat(CWD, &path, Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)), AtFlags::empty())?;
    chmodat(CWD, &path, Mode::from_raw_mode(meta.st_mode), AtFlags::empty())?;
    Ok(new)
}
