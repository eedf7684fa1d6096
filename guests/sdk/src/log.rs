//! The one way out of a guest besides its answer: lines in the plugin's log.
//!
//! In a component they go to the host, which bounds them in size and number. In a native build (a unit test) they are kept per
//! thread and taken with [`crate::testing::logged`].

pub use crate::bindings::yurt::plugin::log::Level;

/// Writes one line. The macros [`crate::error!`], [`crate::warn!`], [`crate::info!`], [`crate::debug!`] and [`crate::trace!`] call it.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::yurt::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep(level, message);
}

/// Without WASI a panic has nowhere to print to: its message becomes an error line, the trap that follows is the host's to report.
/// A native test keeps the usual hook.
pub(crate) fn panics_to_log() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}

/// Writes an error line, formatted as `format!` does.
#[macro_export]
macro_rules! error { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($part)*)) }; }
/// Writes a warning, formatted as `format!` does.
#[macro_export]
macro_rules! warn { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($part)*)) }; }
/// Writes an information line, formatted as `format!` does.
#[macro_export]
macro_rules! info { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($part)*)) }; }
/// Writes a debug line, formatted as `format!` does.
#[macro_export]
macro_rules! debug { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($part)*)) }; }
/// Writes a trace line, formatted as `format!` does.
#[macro_export]
macro_rules! trace { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($part)*)) }; }
