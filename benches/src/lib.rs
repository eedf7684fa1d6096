//! Yurt measured against bare wasmtime (`policy_call/`) and, as an agent would see it, beside Nomad's own example device plugin
//! (`src/bin/peers.rs`).

pub mod meter;
pub mod peer;
pub mod report;

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
