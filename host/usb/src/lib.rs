//! Facts about the USB devices of this machine: snapshots from sysfs, hot-plug, names.

mod counters;
mod descriptors;
mod device;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod link;
mod names;
mod nodes;
mod reader;
mod roots;
mod serials;
pub mod sim;
mod text;
mod tree;
pub mod uevent;
mod usage;
mod watcher;

pub use reader::{Reader, scan};
pub use roots::{Events, Roots};
pub use watcher::{Past, Settings, Watcher};
