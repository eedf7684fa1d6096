//! Programs that a row makes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file. Not from this process: what others fork here meanwhile would have it open for writing, too, until they
/// execute something else, and for so long it cannot be executed.
pub fn put_program(path: &Path, text: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = command.spawn().expect("a shell");
    writer.stdin.take().expect("its input").write_all(text.as_bytes()).expect("a shell that reads");
    assert!(writer.wait().expect("its end").success(), "{} cannot be written", path.display());
}
