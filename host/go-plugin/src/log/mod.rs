//! The log on stderr: one JSON object per line, in the form of HashiCorp's hclog, which an application reads into its own log.
//!
//! An application trusts these lines more than it should: a level, message or timestamp that is no string makes a Go parent
//! panic, a line of 64 KiB or more comes out in pieces, and a plugin that writes to a parent that is gone dies. So lines have one
//! encoder (`encode.rs`) that cannot produce the first two, and one way out (`sink.rs`) that survives the third.

mod encode;
mod file;
mod panic;
mod sink;
mod time;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use encode::Fields;
use file::LogFile;
use sink::Sink;

/// Crates that carry this very connection. What they say below `info` is about every frame of it.
const WIRE: [&str; 8] = ["h2", "hyper", "hyper_util", "mio", "rustls", "tokio", "tonic", "tower"];

/// Makes this process log to stderr, panics too. `module` is the name of the lines' origin, mostly the program's.
///
/// Once per process, first thing; where another `tracing` subscriber is installed already, that one stays.
pub fn install(module: &str, level: Level) -> Control {
    let control = Control(Arc::new(Shared {
        module: module.to_owned(),
        level: AtomicU8::new(rank(level)),
        sink: Mutex::new(Sink::new(rustix::stdio::stderr())),
    }));
    panic::install(control.clone());
    let subscriber = tracing_subscriber::registry().with(HclogLayer { control: control.clone() });
    let _ = tracing::subscriber::set_global_default(subscriber);
    control
}

/// One event's line, for the fuzz targets.
pub(crate) fn line(level: Level, module: &str, texts: &[(&str, &str)]) -> String {
    let mut fields = Fields::of_event();
    texts.iter().for_each(|(name, value)| fields.text(name, value));
    encode::line(level, module, std::time::SystemTime::now(), &fields)
}

/// The log's settings, for as long as the process runs.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    module: String,
    level: AtomicU8,
    sink: Mutex<Sink>,
}

impl Control {
    /// Logs from `level` up, from now on. An application filters, too, but does not tell its plugins how.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(rank(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// The present level.
    pub fn level(&self) -> Level {
        level(self.0.level.load(Ordering::Relaxed))
    }

    /// Where lines go when nobody reads stderr any more, because the application died or was replaced. Created at the first
    /// such line, for this user only; at 4 MiB it becomes `….1` and a new one begins.
    pub fn fall_back_to(&self, path: PathBuf) {
        self.sink(|sink| sink.fall_back_to(LogFile::new(path)));
    }

    /// Writes a line past `tracing`: from the panic hook.
    fn say(&self, level: Level, fields: &Fields) {
        let line = encode::line(level, &self.0.module, std::time::SystemTime::now(), fields);
        self.sink(|sink| sink.write(line.as_bytes()));
    }

    fn sink(&self, with: impl FnOnce(&mut Sink)) {
        with(&mut self.0.sink.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("module", &self.0.module).field("level", &self.level()).finish_non_exhaustive()
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::TRACE => 0,
        Level::DEBUG => 1,
        Level::INFO => 2,
        Level::WARN => 3,
        Level::ERROR => 4,
    }
}

fn level(rank: u8) -> Level {
    match rank {
        0 => Level::TRACE,
        1 => Level::DEBUG,
        2 => Level::INFO,
        3 => Level::WARN,
        _ => Level::ERROR,
    }
}

/// Turns events, with the fields of the spans around them, into lines.
struct HclogLayer {
    control: Control,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HclogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        let level = self.control.level();
        let krate = metadata.target().split("::").next().unwrap_or_default();
        *metadata.level() <= if WIRE.contains(&krate) { level.min(Level::INFO) } else { level }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.control.level().into())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::of_span();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::of_event();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.take_over(of_span);
            }
        }
        event.record(&mut fields);
        self.control.say(*event.metadata().level(), &fields);
    }
}
