//! Yurt measured against bare wasmtime (`policy_call/`) and, as an agent would see it, beside Nomad's own example device plugin
//! (`src/bin/peers.rs`) and beside Nomad's own task drivers (`src/bin/drivers`).

pub mod meter;
pub mod peer;
pub mod report;

use std::time::Duration;

/// For tables.
pub fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// For tables.
#[allow(clippy::cast_precision_loss)]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// How many this machine has.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lower quartile, median, upper quartile; zeros of nothing.
pub fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| all.get(all.len() * quarter / 4).copied().unwrap_or_default())
}

/// The machine's load over the last minute. Where it is above its number of processors, times are those of a queue.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
