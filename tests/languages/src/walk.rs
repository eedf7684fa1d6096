//! The new author's walk of `docs/authors.md`: its commands, as they stand there.
//!
//! What follows `sh` at the head of a block says how it is meant: a language, `fails` where a command is to end with an error, `demo` for
//! what runs in another terminal.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::Yurt;

/// Where the page puts an agent's plugins.
const PLUGINS: &str = "/opt/nomad/plugins";

/// Walks it, and returns how long that took.
pub(crate) fn walk(yurt: &Yurt, page: &Path, language: &str, empty: &Path) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let begin = Instant::now();
    fs::create_dir_all(empty)?;
    let mut terminal = Terminal::new(yurt, empty)?;
    let mut demos = Vec::new();
    for (kind, commands) in blocks(&text) {
        match kind.as_str() {
            "" => terminal.run(&commands, true)?,
            "fails" => terminal.run(&commands, false)?,
            "demo" => demos.push(terminal.demo(&commands)?),
            other if other == language => terminal.run(&commands, true)?,
            _ => {}
        }
    }
    let shown = |at: usize, id: &str| demos.get(at).is_some_and(|demo: &String| demo.contains(id));
    ensure!(shown(0, "port-1-1.2  healthy"), "the first demo does not show the key: {demos:?}");
    ensure!(shown(1, "bay-1-1.2  healthy"), "the changed line does not show in the second demo: {demos:?}");
    let plugins = empty.join("plugins");
    ensure!(plugins.join("acme").is_symlink() && plugins.join("acme.wasm").is_file(), "nothing was installed");
    Ok(begin.elapsed())
}

/// The page's blocks of commands, with what they are.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some("") => inside = false,
            Some(head) => {
                if let Some(kind) = head.strip_prefix("sh") {
                    inside = true;
                    found.push((kind.trim().to_owned(), String::new()));
                }
            }
            None if inside => {
                if let Some((_, commands)) = found.last_mut() {
                    commands.push_str(line);
                    commands.push('\n');
                }
            }
            None => {}
        }
    }
    found
}

/// A shell that stays where it went.
struct Terminal {
    path: String,
    directory: PathBuf,
    empty: PathBuf,
}

impl Terminal {
    fn new(yurt: &Yurt, empty: &Path) -> anyhow::Result<Terminal> {
        let empty = fs::canonicalize(empty)?;
        let bin = yurt.0.parent().context("the binary lies nowhere")?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Ok(Terminal { path, directory: empty.clone(), empty })
    }

    fn shell(&self, commands: &str) -> Command {
        let mut shell = Command::new("bash");
        let commands = commands.replace(PLUGINS, &self.empty.join("plugins").display().to_string());
        shell.args(["-euo", "pipefail", "-c", &commands]).current_dir(&self.directory).env("PATH", &self.path);
        // Not among this machine's own.
        shell.env("YURT_STATE_DIR", self.empty.join("state"));
        shell
    }

    fn run(&mut self, commands: &str, succeeds: bool) -> anyhow::Result<()> {
        if commands.starts_with("rustup") && std::env::var_os("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS").is_some()
        {
            // This machine has the target from elsewhere, because rustup cannot download it here.
            return Ok(());
        }
        print!("{commands}");
        let place = self.empty.join("where");
        let output = self.shell(&format!("{commands}pwd >{}", place.display())).output().context("bash")?;
        if output.status.success() != succeeds {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("{commands} ended with {}:\n{out}{err}", output.status);
        }
        if succeeds {
            self.directory = fs::read_to_string(&place)?.trim_end().into();
        }
        Ok(())
    }

    /// What a demo shows, up to its first offer.
    fn demo(&self, commands: &str) -> anyhow::Result<String> {
        print!("{commands}");
        let mut demo = Ended(self.shell(&format!("exec {commands}")).stdout(Stdio::piped()).spawn().context("bash")?);
        let out = demo.0.stdout.take().context("no output")?;
        let mut shown = String::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            shown.push_str(&line);
            shown.push('\n');
            // The last of the groups.
            if line.contains("vendors=0x12f7") {
                return Ok(shown);
            }
        }
        bail!("the demo ended without an offer:\n{shown}")
    }
}

/// A demo that is interrupted in the end, as by Ctrl-C: it ends its plugin then.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let interrupted = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        if !interrupted.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
