//! Doors for the fuzz targets to what writes and reads the log. Not part of the interface: it may change any day.

use tracing::Level;

use crate::client::{self, LogLine};
use crate::log;

/// The line, newline included, of an event with these fields; the one called `message` is its message.
pub fn log_line(level: Level, module: &str, fields: &[(&str, &str)]) -> String {
    log::line(level, module, fields)
}

/// All that an application reads on a plugin's stderr.
pub async fn read_log(stderr: &[u8]) -> Vec<LogLine> {
    client::read_log(stderr).await
}
