//! Compiled guests on disk, shared by all launches of a plugin: seconds of compiling become milliseconds of mapping.
//!
//! An entry is machine code that runs with the plugin's rights, so it is believed only where nobody else could have written it: a
//! directory of ours, 0700, files of ours, and a digest over guest, engine and content in the file's own name, checked on the open file
//! before it is mapped. Whoever can forge that already is us. A damaged entry is deleted and made again.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::journal::hex;

const ENDING: &str = "cwasm";
/// Marks files that are still being written.
const PARTIAL: &str = "partial";
/// Of names and digests; another one finds nothing that was written before.
const FORM: &str = "2";
/// Bytes that are digested by themselves.
const PIECE: u64 = 2 << 20;
/// Threads that digest, at most.
const THREADS: usize = 4;

/// The directory, and what entries of this engine are called.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: Option<PathBuf>,
    engine: String,
    /// Of its files. Who may not search the directory still reads a file that was handed over open.
    mode: u32,
    complained: AtomicBool,
}

impl Cache {
    /// The directory is made when the first entry is written.
    pub(crate) fn new(dir: Option<PathBuf>, engine: &Engine) -> Cache {
        let mut hash = Digesting(Sha256::new_with_prefix(FORM));
        engine.precompile_compatibility_hash().hash(&mut hash);
        let engine = hex(&hash.0.finalize());
        let engine = engine.get(..16).unwrap_or_default().to_owned();
        Cache { dir, engine, mode: 0o600, complained: AtomicBool::new(false) }
    }

    /// Of files that others open anew by a descriptor that they were given: a mapping takes that.
    pub(crate) fn for_others(self) -> Cache {
        Cache { mode: 0o644, ..self }
    }

    /// The compiled form of the guest with this digest, if it is there and sound.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        self.found(digest, |file| map(engine, &file))
    }

    /// The same for somebody else to map: open for reading.
    pub(crate) fn file(&self, digest: &str) -> Option<File> {
        self.found(digest, Ok)
    }

    fn found<T>(&self, digest: &str, take: impl FnOnce(File) -> Result<T, String>) -> Option<T> {
        let dir = self.dir.as_deref()?;
        if let Err(why) = ours(dir) {
            self.complain(&why);
            return None;
        }
        let prefix = self.prefix(digest);
        let found = entries(dir).find(|path| name(path).is_some_and(|name| name.starts_with(&prefix)))?;
        match self.open(digest, &found).and_then(take) {
            Ok(taken) => Some(taken),
            Err(why) => {
                tracing::warn!(entry = %found.display(), "a damaged entry of the compiled-code cache is deleted and made again: {why}");
                drop(fs::remove_file(&found));
                None
            }
        }
    }

    fn open(&self, digest: &str, path: &Path) -> Result<File, String> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default())
            .open(path)
            .map_err(|why| why.to_string())?;
        let status = file.metadata().map_err(|why| why.to_string())?;
        if !status.is_file() || status.uid() != me() || status.mode() & 0o777 != self.mode {
            return Err("its owner or mode is not what we wrote".into());
        }
        let check = self.check(digest, &file, status.len()).map_err(|why| why.to_string())?;
        if name(path) != Some(&format!("{}{check}.{ENDING}", self.prefix(digest))) {
            return Err("its content is not what its name says".into());
        }
        // Read as "last used" when the cache is trimmed.
        drop(file.set_modified(SystemTime::now()));
        Ok(file)
    }

    /// Stores a compiled guest, and deletes what was not used for longest where the directory gets larger than `most` bytes.
    /// Failing costs a warning, once.
    pub(crate) fn store(&self, digest: &str, code: &[u8], most: u64) {
        let Some(dir) = self.dir.as_deref() else { return };
        if let Err(why) = self.write(dir, digest, code) {
            self.complain(&why);
            return;
        }
        trim(dir, most);
    }

    /// Deletes the compiled form of this guest, as there is better.
    pub(crate) fn forget(&self, digest: &str) {
        let Some(dir) = self.dir.as_deref().filter(|dir| ours(dir).is_ok()) else { return };
        let prefix = self.prefix(digest);
        for path in entries(dir).filter(|path| name(path).is_some_and(|name| name.starts_with(&prefix))) {
            // What stays is trimmed when there is too much.
            drop(fs::remove_file(&path));
        }
    }

    fn write(&self, dir: &Path, digest: &str, bytes: &[u8]) -> Result<(), String> {
        let broken = |why: io::Error| format!("{}: {why}", dir.display());
        if !dir.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(broken)?;
        }
        ours(dir)?;
        let prefix = self.prefix(digest);
        let check = self.check(digest, bytes, bytes.len() as u64).map_err(broken)?;
        let finished = dir.join(format!("{prefix}{check}.{ENDING}"));
        let partial = dir.join(format!("{prefix}{}-{:?}.{PARTIAL}", std::process::id(), thread::current().id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode)
            .open(&partial)
            // Whatever the umask is.
            .and_then(|file| file.set_permissions(Permissions::from_mode(self.mode)).map(|()| file))
            // Machine code is not worth an fsync: after a crash the digest tells, and it is made again.
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&partial, &finished));
        written.map_err(|why| {
            drop(fs::remove_file(&partial));
            broken(why)
        })
    }

    fn prefix(&self, digest: &str) -> String {
        format!("{digest}-{}-", self.engine)
    }

    /// The digest that ties an entry's content to its guest and engine: of the digests of its pieces, which are made side by side, since a
    /// launch waits for them.
    fn check(&self, digest: &str, content: &(impl Content + ?Sized), length: u64) -> io::Result<String> {
        let pieces = usize::try_from(length.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS).min(pieces);
        // Every so manieth piece, by the number of threads.
        let of_a_thread = |first: usize| -> io::Result<Vec<(usize, Sum)>> {
            let mut buffer = vec![0; 64 << 10];
            (first..pieces).step_by(threads.max(1)).map(|at| Ok((at, piece(content, at, &mut buffer)?))).collect()
        };
        let mut digests = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|first| scope.spawn(move || of_a_thread(first))).collect();
            let mut all = of_a_thread(0)?;
            for other in others {
                all.extend(other.join().map_err(|_| io::Error::other("a thread panicked"))??);
            }
            io::Result::Ok(all)
        })?;
        digests.sort_by_key(|(at, _)| *at);
        let mut sum = Sha256::new_with_prefix(self.prefix(digest));
        digests.iter().for_each(|(_, digest)| sum.update(digest));
        Ok(hex(&sum.finalize()))
    }

    fn complain(&self, why: &str) {
        if !self.complained.swap(true, Relaxed) {
            tracing::warn!("guests are compiled at every start, since the compiled-code cache cannot be used: {why}");
        }
    }
}

type Sum = sha2::digest::Output<Sha256>;

/// What an entry holds, or will hold.
trait Content: Sync {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Content for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }
}

impl Content for [u8] {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        (&*rest).read(buffer)
    }
}

/// The digest of one piece.
fn piece(content: &(impl Content + ?Sized), number: usize, buffer: &mut [u8]) -> io::Result<Sum> {
    let mut at = number as u64 * PIECE;
    let mut left = usize::try_from(PIECE).unwrap_or(usize::MAX);
    let mut sum = Sha256::new();
    while left > 0 {
        let most = left.min(buffer.len());
        let read = content.read_at(buffer.get_mut(..most).unwrap_or_default(), at)?;
        if read == 0 {
            break;
        }
        sum.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
        left -= read;
    }
    Ok(sum.finalize())
}

/// A guest from an entry that was found sound.
#[allow(unsafe_code)]
fn map(engine: &Engine, entry: &File) -> Result<Component, String> {
    let open = format!("/proc/self/fd/{}", entry.as_raw_fd());
    // SAFETY: the bytes come from `Cache::store`, hence from wasmtime's own serialisation: the file is ours, nobody else can write
    // it or its directory, and its content has the digest under which we stored it for this very guest and engine. It is opened
    // through the descriptor that was checked. Entries are only ever unlinked, never written in place or truncated, so the mapping
    // stays what it is.
    unsafe { Component::deserialize_file(engine, open) }.map_err(|why| format!("{why:#}"))
}

/// A guest from code that was compiled a moment ago and lay nowhere since.
#[allow(unsafe_code)]
pub(crate) fn fresh(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the bytes come from wasmtime's own serialisation, by this process or by a worker that is this same program, and were in
    // no place since that anybody else could write.
    unsafe { Component::deserialize(engine, code) }.map_err(|why| format!("{why:#}"))
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The directory is there, ours, and nobody else's to write; a missing one is fine.
fn ours(dir: &Path) -> Result<(), String> {
    let status = match fs::symlink_metadata(dir) {
        Ok(status) => status,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(format!("{}: {why}", dir.display())),
    };
    if !status.is_dir() {
        return Err(format!("{}: not a directory", dir.display()));
    }
    if status.uid() != me() || status.mode() & 0o022 != 0 {
        return Err(format!(
            "{}: others may write there, or it is not ours (user {}, mode {:04o})",
            dir.display(),
            status.uid(),
            status.mode() & 0o7777
        ));
    }
    Ok(())
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
}

/// Deletes the entries not used for longest until the rest fits, and files that a crash left half-written.
fn trim(dir: &Path, most: u64) {
    let hour_ago = SystemTime::now().checked_sub(std::time::Duration::from_secs(3600));
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let left = path.extension().is_some_and(|ending| ending == PARTIAL);
        if left && path.metadata().and_then(|status| status.modified()).is_ok_and(|at| Some(at) < hour_ago) {
            drop(fs::remove_file(&path));
        }
    }
    let mut all: Vec<(SystemTime, u64, PathBuf)> = entries(dir)
        .filter_map(|path| path.metadata().ok().and_then(|status| Some((status.modified().ok()?, status.len(), path))))
        .collect();
    all.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    let mut sum = 0_u64;
    for (_, size, path) in all {
        sum = sum.saturating_add(size);
        if sum > most {
            drop(fs::remove_file(&path));
        }
    }
}

/// A hasher whose result is a digest, since the engine only offers `Hash`.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component of nothing.
    const EMPTY: [u8; 8] = *b"\0asm\x0d\0\x01\0";

    #[test]
    fn code_for_another_engine_is_not_mapped_under_this_ones_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache");
        let engine = Engine::default();
        let code = engine.precompile_component(&EMPTY).unwrap();
        let ours = Cache::new(Some(place.clone()), &engine);
        ours.store("guest", &code, u64::MAX);
        assert!(ours.load(&engine, "guest").is_some());
        ours.forget("guest");

        let mut config = wasmtime::Config::new();
        config.consume_fuel(true);
        let other = Engine::new(&config).unwrap();
        let others = Cache::new(Some(place.clone()), &other);
        assert_ne!(others.engine, ours.engine);
        others.store("guest", &other.precompile_component(&EMPTY).unwrap(), u64::MAX);
        assert!(ours.load(&engine, "guest").is_none());
        // Somebody renames it.
        let entry = entries(&place).next().unwrap();
        let renamed = place.join(name(&entry).unwrap().replace(&others.engine, &ours.engine));
        fs::rename(entry, &renamed).unwrap();
        assert!(ours.load(&engine, "guest").is_none());
        assert!(!renamed.exists(), "what is no entry of ours is deleted");
    }

    #[test]
    fn a_digest_does_not_depend_on_who_makes_it_and_changes_with_every_piece() {
        let cache = Cache { dir: None, engine: "e".into(), mode: 0o600, complained: AtomicBool::new(false) };
        let mut content = vec![7_u8; usize::try_from(3 * PIECE).unwrap() + 5];
        let of = |content: &[u8]| cache.check("guest", content, content.len() as u64).unwrap();
        let whole = of(&content);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("content");
        fs::write(&file, &content).unwrap();
        assert_eq!(cache.check("guest", &File::open(&file).unwrap(), content.len() as u64).unwrap(), whole);
        let mut seen = vec![whole];
        for at in [0, usize::try_from(PIECE).unwrap(), usize::try_from(3 * PIECE).unwrap() + 4] {
            content[at] ^= 1;
            seen.push(of(&content));
        }
        seen.push(of(&content[..content.len() - 1]));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
        assert_eq!(of(&[]).len(), 64);
    }
}
