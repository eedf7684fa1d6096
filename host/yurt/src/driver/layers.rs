//! Paths of a task's root that shows directories of the host, before it is made: what the task's directory holds lies over what is the
//! host's. Links are followed as the task will follow them, and never by the kernel, so that none leads out of either.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;

/// Most links on one way: the kernel's own number.
const LINKS_MAX: usize = 40;

/// What a path leads to, and how it is called where no link is left in it. With `O_NOFOLLOW` a link at the end is what it leads to.
pub(super) fn open(root: &Path, host: &[String], path: &str, flags: OFlags) -> rustix::io::Result<(OwnedFd, String)> {
    let mut rest: Vec<String> = parts(path);
    let mut at = String::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.truncate(at.rfind('/').unwrap_or_default());
            continue;
        }
        let next = format!("{at}/{name}");
        let found = top(root, host, &next, OFlags::PATH | OFlags::NOFOLLOW)?;
        let last = rest.is_empty() && flags.contains(OFlags::NOFOLLOW);
        if kind(&found)? != FileType::Symlink || last {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&found, "", Vec::new())?.into_string().map_err(|_| Errno::ILSEQ)?;
        if target.starts_with('/') {
            at.clear();
        }
        rest.extend(parts(&target));
    }
    let found = top(root, host, if at.is_empty() { "/" } else { &at }, flags)?;
    Ok((found, at))
}

/// All that stands at a path, the uppermost first.
pub(super) fn all(root: &Path, host: &[String], path: &str, flags: OFlags) -> Vec<OwnedFd> {
    let Ok((_, real)) = open(root, host, path, OFlags::PATH | OFlags::CLOEXEC) else { return Vec::new() };
    layers(root, host, &real).into_iter().filter_map(|layer| within(layer, &real, flags).ok()).collect()
}

/// Whether what stands at this path, which has no link in it, is the host's.
pub(super) fn is_host_s(root: &Path, host: &[String], path: &str) -> bool {
    is_shown(host, path) && matches!(within(root, path, OFlags::PATH), Err(Errno::NOENT | Errno::NOTDIR))
}

fn top(root: &Path, host: &[String], path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut why = Errno::NOENT;
    for layer in layers(root, host, path) {
        match within(layer, path, flags) {
            Ok(found) => return Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(other) => why = other,
        }
    }
    Err(why)
}

fn layers<'a>(root: &'a Path, host: &[String], path: &str) -> Vec<&'a Path> {
    // The allocation's directory, beside the task's, will be mounted there.
    if Path::new(path).starts_with("/alloc") {
        return root.parent().into_iter().collect();
    }
    let host_s = is_shown(host, path).then_some(Path::new("/"));
    [Some(root), host_s].into_iter().flatten().collect()
}

/// Whether a path is one of the host's that are in the root, or on the way to one.
fn is_shown(host: &[String], path: &str) -> bool {
    host.iter().any(|shown| Path::new(path).starts_with(shown) || Path::new(shown).starts_with(path))
}

/// Opens in one layer a path without links.
fn within(layer: &Path, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let layer = openat2(CWD, layer, directory, Mode::empty(), ResolveFlags::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    openat2(layer, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn kind(found: &OwnedFd) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(found)?.st_mode))
}

/// Names in a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|name| !["", "."].contains(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_task_s_files_lie_over_the_host_s_and_links_lead_from_one_to_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (root, shown) = (dir.path().join("task"), dir.path().join("host"));
        for path in ["task/local", "host/bin", "other", "alloc/data"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (path, text) in [("host/bin/tool", "host"), ("host/bin/both", "host"), ("other/file", "other")] {
            fs::write(dir.path().join(path), text).unwrap();
        }
        let over = root.join(shown.strip_prefix("/").unwrap()).join("bin");
        fs::create_dir_all(&over).unwrap();
        fs::write(over.join("both"), "task").unwrap();
        symlink(shown.join("bin/tool"), root.join("local/tool")).unwrap();
        symlink("../other/file", shown.join("out")).unwrap();
        symlink("/alloc/data", root.join("local/data")).unwrap();
        fs::write(dir.path().join("alloc/data/file"), "shared").unwrap();
        symlink("/local/tool", shown.join("bin/back")).unwrap();
        let host = [shown.to_string_lossy().into_owned()];
        let read = |path: &str| {
            let (found, real) = open(&root, &host, path, OFlags::RDONLY)?;
            let mut text = String::new();
            fs::File::from(found).read_to_string(&mut text).unwrap();
            Ok((text, real.replace(&*dir.path().to_string_lossy(), "")))
        };
        let at = |path: &str| dir.path().join(path).to_string_lossy().into_owned();
        let found = |text: &str, real: &str| Ok((text.to_owned(), real.to_owned()));
        assert_eq!(read(&at("host/bin/tool")), found("host", "/host/bin/tool"));
        assert_eq!(read(&at("host/bin/both")), found("task", "/host/bin/both"));
        assert_eq!(read("/local/tool"), found("host", "/host/bin/tool"));
        assert_eq!(read("/alloc/data/file"), found("shared", "/alloc/data/file"));
        assert_eq!(read("/local/data/file"), found("shared", "/alloc/data/file"));
        assert_eq!(read("/../local/../local/tool"), found("host", "/host/bin/tool"));
        assert_eq!(read(&at("host/bin/back")), found("host", "/host/bin/tool"));
        for path in ["host/out", "other/file"] {
            assert_eq!(read(&at(path)), Err(Errno::NOENT), "{path} is not in the root");
        }
        assert_eq!(all(&root, &host, &at("host/bin"), OFlags::RDONLY | OFlags::DIRECTORY).len(), 2);
        assert!(is_host_s(&root, &host, &at("host/bin/tool")) && !is_host_s(&root, &host, &at("host/bin/both")));
    }
}
