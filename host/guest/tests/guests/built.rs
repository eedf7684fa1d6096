//! The default guests, as `guests/build.sh` builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The component of that name, from the folder that `YURT_GUESTS_DIR` names, or built now.
pub(crate) fn component(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(folder).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("YURT_GUESTS_DIR") {
        return folder.into();
    }
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = ours.join("components");
    let status = Command::new("sh")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/build.sh"))
        .arg(&out)
        // Where the build of the binary has them, too.
        .env("YURT_GUESTS_TARGET", ours.with_file_name("guests"))
        .status()
        .unwrap();
    assert!(status.success(), "guests/build.sh failed, see above");
    out
}
