//! What a guest says on its way to an answer: the lines that a plugin would write to its log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// What guests log on this thread meanwhile, `info: sn-1 is offered`.
pub(super) fn of<T>(action: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Lines::default();
    let outcome = tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), action);
    let said = std::mem::take(&mut *lines.0.lock().unwrap_or_else(PoisonError::into_inner));
    (outcome, said)
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "guest" {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = event.metadata().level().as_str().to_lowercase();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{level}: {}", message.0));
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
