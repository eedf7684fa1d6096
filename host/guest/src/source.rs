//! Where a guest comes from, and whether anybody else could have written it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{LoadCause, LoadError, Stage};
use crate::identity::digest;
use crate::runtime::Runtime;

/// The link in a directory of versions that leads to the one that serves.
pub const CURRENT: &str = "current";

/// A component's bytes, or where to find them.
#[derive(Debug, Clone)]
pub enum Source {
    /// Built into this program.
    Embedded {
        /// For people.
        name: &'static str,
        /// The component.
        bytes: &'static [u8],
    },
    /// A file, or a directory of versions whose link [`CURRENT`] leads to one of them. Links are followed, that one not out of its
    /// directory; owner and mode are asked of the file at their end and of its directory, and of all that leads there from the
    /// directory of versions.
    File(PathBuf),
    /// A file that was read and found trustworthy already: see [`Runtime::read`].
    Read(Component),
}

/// A component's bytes as they were read once, with their digest, which is made once, too.
#[derive(Debug, Clone)]
pub struct Component {
    path: PathBuf,
    // As they were read: an `Arc<[u8]>` would be a copy, of megabytes.
    bytes: Arc<Vec<u8>>,
    digest: Arc<str>,
}

impl Component {
    /// `path`: where it was read; of a directory of versions, the version.
    pub fn new(path: PathBuf, bytes: Vec<u8>) -> Component {
        Component { path, digest: digest(&bytes).into(), bytes: bytes.into() }
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Source {
    /// The embedded guest's name, or the path.
    pub fn origin(&self) -> String {
        match self {
            Source::Embedded { name, .. } => (*name).to_owned(),
            Source::File(path) | Source::Read(Component { path, .. }) => path.display().to_string(),
        }
    }
}

impl Runtime {
    /// Reads a source once, so that what is known of its bytes holds for what is loaded later.
    ///
    /// # Errors
    /// [`crate::Stage::File`]: it cannot be read, is too big, or somebody else could have written it.
    pub fn read(&self, source: &Source) -> Result<Source, LoadError> {
        let Source::File(path) = source else { return Ok(source.clone()) };
        match read(path, &self.0.trusted_uids, self.0.limits().component) {
            Ok((path, bytes)) => Ok(Source::Read(Component::new(path, bytes))),
            Err(cause) => {
                Err(LoadError { origin: source.origin(), digest: None, stage: Stage::File, cause: Box::new(cause) })
            }
        }
    }
}

impl Source {
    /// SHA-256 of the component in hexadecimal; none of a file that was not read.
    pub fn digest(&self) -> Option<String> {
        match self {
            Source::Embedded { bytes, .. } => Some(digest(bytes)),
            Source::Read(component) => Some(component.digest.to_string()),
            Source::File(_) => None,
        }
    }
}

/// Reads a small file that goes with a guest, by the same rules: root or one of `trusted` owns it, nobody else may write it, and it has
/// at most `most` bytes.
///
/// # Errors
/// Which of these does not hold.
pub fn read_trusted(path: &Path, trusted: &[u32], most: u64) -> Result<Vec<u8>, LoadCause> {
    let file = open(path)?;
    content(path, file, trusted, most)
}

/// Reads a component that root or one of `trusted` owns and nobody else may write, of at most `most` bytes: the file at `path`, or the
/// present version where that is a directory. Also where it lies.
///
/// Everything is asked of the open file, so that it cannot be another one a moment later.
pub(crate) fn read(path: &Path, trusted: &[u32], most: u64) -> Result<(PathBuf, Vec<u8>), LoadCause> {
    let file = open(path)?;
    if !file.metadata().map_err(LoadCause::Read)?.is_dir() {
        return Ok((path.to_owned(), content(path, file, trusted, most)?));
    }
    let (version, file) = current(path, &file, trusted)?;
    let bytes = content(&version, file, trusted, most)?;
    Ok((version, bytes))
}

/// Not to block on a pipe, nor become a terminal's owner.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open(path: &Path) -> Result<File, LoadCause> {
    let file = rustix::fs::open(path, FLAGS, Mode::empty()).map_err(|errno| LoadCause::Read(errno.into()))?;
    Ok(File::from(file))
}

/// The present one of a directory of versions: it lies in it, and nobody else could have let the link lead to another.
fn current(given: &Path, directory: &File, trusted: &[u32]) -> Result<(PathBuf, File), LoadCause> {
    let real = std::fs::canonicalize(given).map_err(LoadCause::Read)?;
    trust_directory(&real, trusted)?;
    let link = real.join(CURRENT);
    let advice = format!("ln -sfn VERSION {}", given.join(CURRENT).display());
    let wrong = |what: String| LoadCause::Version(format!("{} {what}: {advice}", given.join(CURRENT).display()));
    let status = match std::fs::symlink_metadata(&link) {
        Ok(status) if status.is_symlink() => status,
        Ok(_) => return Err(wrong("must be a link to one of the versions beside it".to_owned())),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong("is not there, and would say which version serves".to_owned()));
        }
        Err(why) => return Err(LoadCause::Read(why)),
    };
    trust(&link, status.uid(), 0, trusted)?;
    let to = std::fs::read_link(&link).map_err(LoadCause::Read)?;
    let leads = |what: &str| wrong(format!("leads to {}, {what}", to.display()));
    let within = if to.is_absolute() {
        // As the operator writes the directory, or as it really is.
        [given, real.as_path()].into_iter().find_map(|directory| to.strip_prefix(directory).ok())
    } else {
        Some(to.as_path())
    };
    let out = || leads(&format!("out of {}", given.display()));
    let within = within.ok_or_else(out)?;
    let opened = rustix::fs::openat2(directory, within, FLAGS, Mode::empty(), ResolveFlags::BENEATH);
    let file = File::from(opened.map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => leads("which is not there"),
        Errno::LOOP => leads("and that in a circle"),
        Errno::XDEV => out(),
        other => LoadCause::Read(other.into()),
    })?);
    if file.metadata().map_err(LoadCause::Read)?.is_dir() {
        return Err(leads("a directory: it must lead to the component in it"));
    }
    let version = std::fs::canonicalize(real.join(within)).map_err(LoadCause::Read)?;
    for between in version.ancestors().skip(2).take_while(|between| between.starts_with(&real)) {
        trust_directory(between, trusted)?;
    }
    Ok((version, file))
}

fn content(path: &Path, file: File, trusted: &[u32], most: u64) -> Result<Vec<u8>, LoadCause> {
    let status = file.metadata().map_err(LoadCause::Read)?;
    if !status.is_file() {
        return Err(LoadCause::NotAFile);
    }
    trust(path, status.uid(), status.mode(), trusted)?;
    if let Some(directory) = std::fs::canonicalize(path).map_err(LoadCause::Read)?.parent() {
        trust_directory(directory, trusted)?;
    }
    if status.len() > most {
        return Err(LoadCause::TooBig { size: status.len(), limit: most });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(status.len()).unwrap_or(0));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(LoadCause::Read)?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= most => Ok(bytes),
        _ => Err(LoadCause::TooBig { size: most.saturating_add(1), limit: most }),
    }
}

fn trust_directory(directory: &Path, trusted: &[u32]) -> Result<(), LoadCause> {
    let status = std::fs::metadata(directory).map_err(LoadCause::Read)?;
    // In a sticky directory (/tmp) others may add files, but not put another in place of this one.
    let sticky = status.mode() & 0o1000 != 0;
    trust(directory, status.uid(), if sticky { 0 } else { status.mode() }, trusted)
}

fn trust(path: &Path, uid: u32, mode: u32, trusted: &[u32]) -> Result<(), LoadCause> {
    if uid != 0 && !trusted.contains(&uid) {
        return Err(LoadCause::Owner { path: path.to_owned(), uid });
    }
    if mode & 0o022 != 0 {
        return Err(LoadCause::Mode { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}
