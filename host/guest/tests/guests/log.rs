//! What guests logged, as the plugin's log would get it.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// One event: level, target, and fields as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Line {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(its, _)| its == name).map_or("", |(_, value)| value)
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        self.0.lock().unwrap().push(Line {
            level: *metadata.level(),
            target: metadata.target().into(),
            fields: fields.0,
        });
    }
}

struct Fields(Vec<(String, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name().into(), format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name().into(), value.into()));
    }
}

/// Runs something and returns what was logged on this thread.
pub(crate) fn everything<T>(action: impl FnOnce() -> T) -> (T, Vec<Line>) {
    let kept = Kept::default();
    let outcome = tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), action);
    let lines = std::mem::take(&mut *kept.0.lock().unwrap());
    (outcome, lines)
}

/// The same without what is neither guests' nor ours.
pub(crate) fn of<T>(action: impl FnOnce() -> T) -> (T, Vec<Line>) {
    let (outcome, mut lines) = everything(action);
    lines.retain(|line| line.target.starts_with("guest") || line.target.starts_with("yurt_guest"));
    (outcome, lines)
}
