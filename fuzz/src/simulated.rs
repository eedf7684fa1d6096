//! A place for a simulated bus: below `TMPDIR`, which run.sh provides and clears away.

use std::path::PathBuf;

use yurt_usb::{Events, Roots};

/// Fresh roots, and where their events go.
///
/// # Panics
/// If the directory cannot be made.
pub fn roots(name: &str) -> (Roots, PathBuf) {
    let dir = std::env::temp_dir().join(format!("yurt-fuzz-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory for the simulated bus");
    let roots = Roots::simulated(&dir);
    let Events::Socket(socket) = roots.events.clone() else { panic!("a simulated bus has a socket") };
    (roots, socket)
}
