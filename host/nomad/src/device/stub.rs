//! For tests of the streams: a plugin that answers what it is given, and a log that can be looked at.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

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

/// Every message logged by this thread, from now on.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    pub(super) fn with(&self, words: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }
}
