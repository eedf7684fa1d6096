//! Careful reading below a directory: bounded, without following links out of it, without ever waiting.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    str::FromStr,
};

use cap_std::{ambient_authority, fs::Dir};
use rustix::{
    fs::{FileType, Mode, OFlags, RawDir, openat, readlinkat},
    io::{Errno, pread, read, retry_on_intr},
};

/// An attribute of sysfs is a page at most.
const PAGE: usize = 4096;
/// Entries looked at in one directory.
const MAX_ENTRIES: usize = 4096;

/// An open directory. All names given to it are single names, never paths, and a name that is a link is not followed.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// An open file that holds one number, which changes.
#[derive(Debug)]
pub(crate) struct File(OwnedFd);

/// A name in a directory.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: FileType,
}

/// Opens the root of a tree. Paths given to what this returns stay below it, links included.
pub(crate) fn root(path: &Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

impl Directory {
    /// Opens `path` below `root`; links on the way are followed as long as they stay below it.
    pub(crate) fn open(root: &Dir, path: impl AsRef<Path>) -> io::Result<Self> {
        // A capability's handle only names the directory; listing needs one that is open for reading.
        let handle = root.open_dir(path)?;
        Ok(Self(openat(handle.as_fd(), ".", DIRECTORY, Mode::empty())?))
    }

    /// The same for names in it only: [`entries`](Self::entries) needs [`listed`](Self::listed).
    pub(crate) fn handle(root: &Dir, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(root.open_dir(path)?.into_std_file().into()))
    }

    /// This one, opened once more, so that it can be listed.
    pub(crate) fn listed(&self) -> Option<Self> {
        self.sub(".")
    }

    /// A directory in this one; none where it is missing, a link or not for us.
    pub(crate) fn sub(&self, name: &str) -> Option<Self> {
        openat(&self.0, name, DIRECTORY, Mode::empty()).ok().map(Self)
    }

    /// A file in this one, to be read more than once.
    pub(crate) fn file(&self, name: &str) -> Option<File> {
        openat(&self.0, name, FILE, Mode::empty()).ok().map(File)
    }

    /// The first page of a file. A device that vanished, or a driver that does not answer, is as good as no file.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.with_page(name, <[u8]>::to_vec)
    }

    /// All of a file, up to `limit` bytes; what was read before an error counts.
    pub(crate) fn blob(&self, name: &str, limit: usize) -> Option<Vec<u8>> {
        let file = openat(&self.0, name, FILE, Mode::empty()).ok()?;
        let mut all = Vec::new();
        let mut page = [0; PAGE];
        while all.len() < limit {
            match read(&file, &mut page) {
                Ok(0) => break,
                Ok(n) => all.extend(page.iter().take(n.min(limit - all.len()))),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        Some(all)
    }

    /// A file's text without outer blanks.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.with_page(name, |page| std::str::from_utf8(page).ok().map(|text| text.trim().to_owned()))?
    }

    /// A file that holds one decimal number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.with_page(name, |page| std::str::from_utf8(page).ok()?.trim().parse().ok())?
    }

    /// A file that holds one hexadecimal number, with or without `0x`.
    pub(crate) fn hex(&self, name: &str) -> Option<u32> {
        self.with_page(name, |page| {
            let text = std::str::from_utf8(page).ok()?.trim();
            u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
        })?
    }

    /// The last name of where a link leads; the link is not followed.
    pub(crate) fn link(&self, name: &str) -> Option<String> {
        let target = readlinkat(&self.0, name, Vec::new()).ok()?;
        let target = target.to_str().ok()?;
        target.rsplit('/').next().filter(|last| !last.is_empty()).map(str::to_owned)
    }

    /// What is in it, without `.` and `..`, in the file system's order. To be asked once.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut buffer = [MaybeUninit::uninit(); PAGE];
        let mut names = RawDir::new(&self.0, &mut buffer);
        let mut entries = Vec::new();
        while let Some(Ok(entry)) = names.next() {
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                entries.push(Entry { name: name.to_owned(), kind: entry.file_type() });
            }
            if entries.len() == MAX_ENTRIES {
                break;
            }
        }
        entries
    }

    fn with_page<T>(&self, name: &str, then: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let file = openat(&self.0, name, FILE, Mode::empty()).ok()?;
        let mut page = [0; PAGE];
        let n = retry_on_intr(|| read(&file, &mut page)).ok()?;
        page.get(..n).map(then)
    }
}

impl File {
    /// The decimal number that stands in it now.
    pub(crate) fn number(&self) -> Option<u64> {
        let mut digits = [0; 32];
        let n = retry_on_intr(|| pread(&self.0, &mut digits, 0)).ok()?;
        std::str::from_utf8(digits.get(..n)?).ok()?.trim().parse().ok()
    }
}

// Without NONBLOCK, a pipe in a made-up tree would hold us for ever.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
