//! Yurt's guests: WebAssembly components that decide, loaded, checked, limited and called.
//!
//! This room knows the WIT contract and wasmtime; it knows neither Nomad nor USB hardware. A guest goes through stages, each a type
//! ([`Runtime::open`] → [`Loaded`] → [`Loaded::activate`] → [`UsbPolicy`], or [`Loaded::activate_driver`] → [`DriverLogic`]), and every call runs in a fresh instance that is dropped
//! after it: nothing of a guest outlives a call but its answer. What guests may use is one table, [`limits::TABLE`]. What goes
//! wrong is a value ([`LoadError`], [`GuestError`]), never a panic.
//!
//! ```no_run
//! use yurt_guest::{Options, Runtime, Source, Trial};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(Options::default())?;
//! let loaded = runtime.open(&Source::File("/etc/yurt/usb.wasm".into()))?;
//! // The default configuration, evaluated from loaded.about().config_spec.
//! let policy = loaded.activate(&Trial { config: r#"{"target_vendor_id": 0}"# })?;
//! for finding in policy.check_config(r#"{"target_vendor_id": 70000}"#)? {
//!     println!("{}: {}", finding.path, finding.message);
//! }
//! # Ok(())
//! # }
//! ```

mod about;
mod answer;
mod cache;
mod call;
mod compiled;
mod engine;
mod error;
mod guest;
mod identity;
mod improve;
mod inspect;
mod journal;
pub mod limits;
mod load;
mod logic;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/guests/make.rs"]
mod make;
pub mod notation;
mod outline;
mod policy;
mod prints;
mod question;
mod receipt;
mod runtime;
mod size;
mod source;
mod state;
mod tally;
mod task;
mod ticker;
mod tier;
mod trial;
mod wasi;
mod worker;
mod worlds;

pub use engine::engine_settings;
pub use error::{Cause, CompileCause, GuestError, LoadCause, LoadError, Phase, RuntimeError, Stage};
pub use inspect::Inspection;
pub use limits::Limits;
pub use load::Loaded;
pub use logic::DriverLogic;
pub use outline::{Grant, Import, World};
pub use policy::UsbPolicy;
pub use question::{Answer, Called, Observer, Question};
pub use receipt::Receipt;
pub use runtime::{FirstTier, Options, Runtime};
pub use source::{CURRENT, Component, Source, read_trusted};
pub use tally::{CallTotals, GuestTotals};
pub use task::{TaskCause, TaskCode, TaskEngine};
pub use trial::{DriverTrial, Trial};
pub use worker::{Compiler, take_over};
pub use worlds::v0_1_0::{driver, usb};
