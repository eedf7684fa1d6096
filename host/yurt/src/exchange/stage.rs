//! From a file that changed to a candidate: read when it is still, every stage of loading, the shadow run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use yurt_guest::{CURRENT, LoadError, Runtime, Source};

use super::{Concern, Report, Rules, Serves, Side};
use crate::{choice, record};

/// A file counts as written once it was the same twice, this long apart.
const STILL: Duration = Duration::from_millis(60);
/// One that does not come to rest is looked at with the next event.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two files that decide.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) guest: Source,
    pub(super) rules: Option<PathBuf>,
}

/// What tells one state of a file from another without reading it; none: there is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Option<[i64; 6]>);

/// A guest as it was read last: as long as nothing happens to its file, there is no need to read it once more.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    stamp: Stamp,
    digest: String,
}

/// What the files hold.
#[derive(Debug)]
pub(super) struct Found {
    /// Not read where it is the one that serves.
    pub(super) guest: Source,
    pub(super) digest: String,
    pub(super) rules: Option<Arc<Rules>>,
}

/// A guest with its rules that passed every stage.
pub(super) struct Candidate<S> {
    pub(super) serving: Arc<S>,
    pub(super) report: Report,
}

impl Stamp {
    fn of(file: &Path) -> Stamp {
        let status = fs::metadata(file)
            .and_then(|status| if status.is_dir() { fs::metadata(file.join(CURRENT)) } else { Ok(status) });
        Stamp(status.ok().map(|status| {
            let inode = i64::from_ne_bytes(status.ino().to_ne_bytes());
            let size = i64::try_from(status.size()).unwrap_or(i64::MAX);
            [inode, size, status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec()]
        }))
    }

    fn of_guest(source: &Source) -> Stamp {
        if let Source::File(path) = source { Stamp::of(path) } else { Stamp(None) }
    }
}

impl Known {
    /// Reads a guest.
    pub(crate) fn read(runtime: &Runtime, source: &Source) -> Result<(Source, Known), LoadError> {
        // Before it is read: what happens meanwhile is something new.
        let stamp = Stamp::of_guest(source);
        let read = runtime.read(source)?;
        let digest = read.digest().unwrap_or_default();
        Ok((read, Known { stamp, digest }))
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Nothing happened to it since.
    fn still_is(&self, source: &Source) -> bool {
        match source {
            Source::File(path) => self.stamp.0.is_some() && self.stamp == Stamp::of(path),
            Source::Embedded { .. } | Source::Read(_) => true,
        }
    }
}

impl Wanted {
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let guest = if let Source::File(path) = &self.guest { Some(path.as_path()) } else { None };
        guest.into_iter().chain(self.rules.as_deref())
    }

    /// Of the guest and of the rules.
    pub(super) fn stamps(&self) -> [Stamp; 2] {
        [Stamp::of_guest(&self.guest), self.rules.as_deref().map_or(Stamp(None), Stamp::of)]
    }

    /// Waits until nobody writes any more.
    pub(super) async fn still(&self) -> [Stamp; 2] {
        let end = Instant::now() + PATIENCE;
        let mut before = self.stamps();
        loop {
            tokio::time::sleep(STILL).await;
            let now = self.stamps();
            if now == before || Instant::now() > end {
                return now;
            }
            before = now;
        }
    }

    /// The guest is read only if it may be another than the one that serves, with this digest.
    pub(super) fn read(&self, runtime: &Runtime, known: &mut Option<Known>, serving: &str) -> Result<Found, String> {
        let (guest, digest) = match known {
            Some(same) if same.digest == serving && same.still_is(&self.guest) => {
                (self.guest.clone(), same.digest.clone())
            }
            _ => {
                let (read, now) = Known::read(runtime, &self.guest).map_err(|why| why.to_string())?;
                (read, known.insert(now).digest.clone())
            }
        };
        let rules = self.rules.as_deref().map_or(Ok(None), Rules::read)?.map(Arc::new);
        Ok(Found { guest, digest, rules })
    }
}

/// Every stage of loading beside what serves `now`, then the shadow run.
pub(super) fn candidate<S: Side>(
    side: &S,
    runtime: &Runtime,
    now: &S::Serving,
    found: &Found,
) -> Result<Candidate<S::Serving>, String> {
    // What is asked here is no real call.
    let _rehearsal = record::rehearsal();
    let another = now.guest().digest != found.digest;
    let guest = if another {
        let loaded = runtime.open(&found.guest).map_err(|why| why.to_string())?;
        Some(choice::ready(loaded).map_err(|why| why.to_string())?)
    } else {
        None
    };
    let serving = side.prepare(guest, found.rules.clone())?;
    let mut report = side.compare(now, &serving).map_err(|why| format!("in the shadow run: {why}"))?;
    for import in serving.imports().iter().filter(|import| !now.imports().contains(import)) {
        report.differs(format!("the guest imports {}", import.name), Some(Concern::NewImports));
    }
    let settings = &serving.common().swap;
    if let Some(factor) = report.slower().filter(|factor| *factor > settings.slower_than) {
        report.differs(
            format!("the guest takes {factor:.1} times as long, {} may be", settings.slower_than),
            Some(Concern::Slower),
        );
    }
    Ok(Candidate { serving: Arc::new(serving), report })
}
