//! From a file that changed to a candidate: read when it is still, every stage of loading, the shadow run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use yurt_guest::{Runtime, Source};

use super::{Concern, Report, Rules, Serves, Side};
use crate::choice;

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

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i64; 6]>>);

/// What the files hold.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) guest: Source,
    pub(super) digest: String,
    pub(super) rules: Option<Arc<Rules>>,
}

/// A guest with its rules that passed every stage.
pub(super) struct Candidate<S> {
    pub(super) serving: Arc<S>,
    pub(super) report: Report,
}

impl Wanted {
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let guest = if let Source::File(path) = &self.guest { Some(path.as_path()) } else { None };
        guest.into_iter().chain(self.rules.as_deref())
    }

    pub(super) fn stamp(&self) -> Stamp {
        let of = |file: &Path| {
            let status = fs::metadata(file).ok()?;
            let inode = i64::from_ne_bytes(status.ino().to_ne_bytes());
            let size = i64::try_from(status.size()).unwrap_or(i64::MAX);
            Some([inode, size, status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec()])
        };
        Stamp(self.files().map(of).collect())
    }

    /// Waits until nobody writes any more.
    pub(super) async fn still(&self) -> Stamp {
        let end = Instant::now() + PATIENCE;
        let mut before = self.stamp();
        loop {
            tokio::time::sleep(STILL).await;
            let now = self.stamp();
            if now == before || Instant::now() > end {
                return now;
            }
            before = now;
        }
    }

    pub(super) fn read(&self, runtime: &Runtime) -> Result<Found, String> {
        let guest = runtime.read(&self.guest).map_err(|why| why.to_string())?;
        let digest = guest.digest().unwrap_or_default();
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
