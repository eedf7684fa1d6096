//! Where a guest comes from, and whether anybody else could have written it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::error::{LoadCause, LoadError, Stage};
use crate::identity::digest;
use crate::runtime::Runtime;

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
    /// A file. Links are followed; owner and mode are asked of the file at their end, and of its directory.
    File(PathBuf),
    /// A file that was read and found trustworthy already: see [`Runtime::read`].
    Read {
        /// Where it was read.
        path: PathBuf,
        /// The component.
        bytes: Arc<[u8]>,
    },
}

impl Source {
    /// The embedded guest's name, or the path.
    pub fn origin(&self) -> String {
        match self {
            Source::Embedded { name, .. } => (*name).to_owned(),
            Source::File(path) | Source::Read { path, .. } => path.display().to_string(),
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
            Ok(bytes) => Ok(Source::Read { path: path.clone(), bytes: bytes.into() }),
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
            Source::Read { bytes, .. } => Some(digest(bytes)),
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
    read(path, trusted, most)
}

/// Reads a file that root or one of `trusted` owns and nobody else may write, of at most `most` bytes.
///
/// Everything is asked of the open file, so that it cannot be another one a moment later.
pub(crate) fn read(path: &Path, trusted: &[u32], most: u64) -> Result<Vec<u8>, LoadCause> {
    // Not to block on a pipe, nor become a terminal's owner.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| LoadCause::Read(errno.into()))?;
    let file = File::from(file);
    let status = file.metadata().map_err(LoadCause::Read)?;
    if !status.is_file() {
        return Err(LoadCause::NotAFile);
    }
    trust(path, status.uid(), status.mode(), trusted)?;
    if let Some(directory) = std::fs::canonicalize(path).map_err(LoadCause::Read)?.parent() {
        let status = std::fs::metadata(directory).map_err(LoadCause::Read)?;
        // In a sticky directory (/tmp) others may add files, but not put another in place of this one.
        let sticky = status.mode() & 0o1000 != 0;
        trust(directory, status.uid(), if sticky { 0 } else { status.mode() }, trusted)?;
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

fn trust(path: &Path, uid: u32, mode: u32, trusted: &[u32]) -> Result<(), LoadCause> {
    if uid != 0 && !trusted.contains(&uid) {
        return Err(LoadCause::Owner { path: path.to_owned(), uid });
    }
    if mode & 0o022 != 0 {
        return Err(LoadCause::Mode { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}
