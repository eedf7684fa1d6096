//! One driver that is measured, with an agent around it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use yurt_conformance::driver::{Node, Request, Site, Subject, soon};
use yurt_nomad::driver::{ExitResult, Health, WaitResult};

use crate::program::Words;
use crate::thing::{Measured, Thing};

/// A driver and what was measured of it.
pub(crate) struct Side {
    pub(crate) node: Node,
    pub(crate) measured: Measured,
    lost: u32,
    streams: JoinSet<()>,
    /// As long as there is one, the root directories that come after it are linked and not made anew.
    first_site: Arc<Site>,
}

impl Side {
    /// Launched, configured, found healthy; its streams open, as an agent has them.
    pub(crate) async fn start(subject: Subject, binary: &Path) -> Result<Side> {
        let binary = std::fs::canonicalize(binary).with_context(|| format!("no plugin {}", binary.display()))?;
        let mut node = Node::served_by(subject, &binary).await;
        let first_site = node.site(false);
        node.forget_sites();
        let mut driver = node.driver.clone();
        let mut streams = JoinSet::new();
        let mut fingerprints = driver.fingerprint().await?;
        let first = soon(fingerprints.next()).await?;
        ensure!(matches!(first.health, Health::Healthy { .. }), "{subject} is not healthy: {:?}", first.health);
        streams.spawn(async move { while fingerprints.next().await.is_ok() {} });
        let mut events = driver.events().await?;
        streams.spawn(async move { while events.next().await.is_ok() {} });
        Ok(Side { node, measured: Measured::default(), lost: 0, streams, first_site })
    }

    /// What runs this program: as the same user on all sides, with a share of the processors that does not let others on a busy machine
    /// go first.
    pub(crate) fn request(&self, words: Words<'_>) -> Request {
        Request { cpu: 4000, ..Request::of(words.program(self.node.subject.flavour)).user("nobody") }
    }

    /// Whether a task ended with this code. Nomad's drivers now and then lose it, when a task is stopped on a busy machine: then what was
    /// measured does not count.
    pub(crate) fn ended_with(&mut self, code: i32, result: &WaitResult) -> Result<bool> {
        let lost = result.unknown.is_some() && !self.node.is_yurt();
        ensure!(
            lost || (result.unknown.is_none() && result.exit == ExitResult::code(code)),
            "ended by {result:?}, not {code}"
        );
        self.lost += u32::from(lost);
        Ok(!lost)
    }

    /// Looks for what is left of tasks that were destroyed, and removes their places.
    pub(crate) async fn clear(&mut self) {
        self.node.nothing_is_left().await;
        self.node.forget_sites();
    }

    /// Ends the driver; what was measured.
    pub(crate) async fn finish(mut self) -> Measured {
        self.streams.shutdown().await;
        drop(self.first_site);
        self.node.finish().await;
        self.measured.put(Thing::Lost, f64::from(self.lost));
        self.measured
    }
}
