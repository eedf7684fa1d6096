//! For tests of the streams: a plugin that answers what it is given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{AgentConfig, DevicePlugin, Group, GroupStats, Info, PluginError, Reservation};
use crate::schema::Spec;

type Source = Option<watch::Receiver<Option<Arc<Vec<Group>>>>>;

/// Answers in order; `None` panics, and so does an empty list.
#[derive(Default)]
pub(super) struct Stub {
    pub(super) sources: Mutex<VecDeque<Source>>,
    pub(super) stats: Mutex<VecDeque<Result<Vec<GroupStats>, PluginError>>>,
}

#[tonic::async_trait]
impl DevicePlugin for Stub {
    fn info(&self) -> Info {
        Info { name: "stub".to_owned(), version: "0".to_owned() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(None)
    }

    async fn set_config(&self, _: &[u8], _: Option<AgentConfig>) -> Result<(), PluginError> {
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        let next = self.sources.lock().unwrap().pop_front().flatten();
        next.expect("a source")
    }

    async fn reserve(&self, _: Vec<String>) -> Result<Reservation, PluginError> {
        Ok(Reservation::default())
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        let next = self.stats.lock().unwrap().pop_front();
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}
