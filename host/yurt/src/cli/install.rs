//! `yurt install`: links in the agent's plugin directory and the stanzas that make the agent use them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use yurt_guest::Source;

use super::term::{Out, Style};
use crate::choice::{self, Named};
use crate::places::Places;
use crate::say;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The agent's plugin_dir; made if it is missing
    #[arg(long, value_name = "DIR")]
    plugin_dir: PathBuf,
    /// Name of a link, which the agent's stanza must bear; may be given more than once. Without any: usb and python, or the guest's
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// A component to serve: copied beside the link, as NAME.wasm
    #[arg(long, value_name = "FILE")]
    guest: Option<PathBuf>,
}

impl Arguments {
    fn names(&self) -> anyhow::Result<Vec<String>> {
        let guest =
            self.guest.as_deref().map(|guest| guest.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        let names = match (self.name.as_slice(), guest) {
            ([], None) => vec!["usb".to_owned(), "python".to_owned()],
            ([], Some(guest)) => vec![guest],
            ([_], _) | (_, None) => self.name.clone(),
            (_, Some(_)) => bail!("--guest goes with one --name"),
        };
        match names.iter().find(|name| name.is_empty() || name.contains('/')) {
            Some(wrong) => bail!("--name {wrong:?}: must be a file name"),
            None => Ok(names),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let dir = std::path::absolute(&arguments.plugin_dir).context("plugin_dir")?;
    let names = arguments.names()?;
    let binary = std::env::current_exe().and_then(fs::canonicalize).context("where this binary is")?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if let Some(warning) = others_may_change(&binary) {
        say(&format!("yurt: warning: {warning}"));
    }
    let mut out = Out::new();
    for name in &names {
        if let Some(guest) = &arguments.guest {
            let fresh = copied(guest, &dir, name)?;
            let places = Places::of(&Named::from_argv0(Some(dir.join(name).into())));
            choice::prepared(&fresh, &places).map_err(anyhow::Error::msg)?;
            swapped(&fresh, &dir.join(format!("{name}.wasm")))?;
        }
        let link = dir.join(name);
        place(&link, &binary)?;
        let made = format!("{} → {}", link.display(), binary.display());
        say(&format!("linked {}", out.paint(Style::Name, &made)));
    }
    say("Add this to the agent's configuration and restart the agent:");
    out.line(&format!("plugin_dir = {:?}", dir.display().to_string()))?;
    for name in &names {
        out.line(&format!("\n{}", stanza(name, dir.join(format!("{name}.wasm")).exists())))?;
    }
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What the agent's configuration needs for a link of this name, beside which there may be a component.
fn stanza(name: &str, component: bool) -> String {
    match choice::built_in(name, true) {
        Some(Source::Embedded { name: "python" | "exec" | "java" | "wasi", .. }) => format!("plugin {name:?} {{}}"),
        Some(Source::Embedded { name: "raw-exec", .. }) => {
            format!("plugin {name:?} {{\n  config {{\n    enabled = true\n  }}\n}}")
        }
        None if component => {
            format!("plugin {name:?} {{\n  config {{\n    # keys: yurt guest inspect {name}.wasm\n  }}\n}}")
        }
        built_in => {
            let args = if built_in.is_some() { "" } else { "  args = [\"--guest\", \"usb\"]\n" };
            format!("plugin {name:?} {{\n{args}  config {{\n    rule {{\n      class = \"storage\"\n    }}\n  }}\n}}")
        }
    }
}

/// A component on its way into the plugin directory, as it would have to lie there.
fn copied(guest: &Path, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let fresh = dir.join(format!("{name}.wasm.new"));
    fs::copy(guest, &fresh).with_context(|| guest.display().to_string())?;
    // One that others may write would not be loaded.
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
    Ok(fresh)
}

/// A plugin may be reading the one that is there.
fn swapped(fresh: &Path, place: &Path) -> anyhow::Result<()> {
    fs::rename(fresh, place).with_context(|| format!("cannot put {}", place.display()))?;
    say(&format!("put {}", place.display()));
    Ok(())
}

/// Links, replacing only an older link of ours: nothing that somebody else put there is touched.
fn place(link: &Path, binary: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(link) {
        Err(_) => {}
        Ok(meta) if meta.is_symlink() => {
            if fs::read_link(link).is_ok_and(|target| target == binary) {
                return Ok(());
            }
            fs::remove_file(link).with_context(|| format!("cannot replace {}", link.display()))?;
        }
        Ok(_) => bail!("{} is in the way and is no link: move it, or give another --name", link.display()),
    }
    symlink(binary, link).with_context(|| format!("cannot link {}", link.display()))
}

/// The agent runs this file as its own user, usually root.
fn others_may_change(binary: &Path) -> Option<String> {
    let mut at = Some(binary);
    while let Some(path) = at {
        let meta = fs::metadata(path).ok()?;
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.mode() & 0o022 != 0 && !sticky {
            return Some(format!("{} can be changed by others, and the agent will run it", path.display()));
        }
        at = path.parent();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_made_renewed_and_left_alone_where_it_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb");
        for target in ["/opt/yurt-1", "/opt/yurt-2", "/opt/yurt-2"] {
            place(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
    }

    #[test]
    fn each_link_has_the_stanza_of_its_plugin() {
        assert_eq!(stanza("python-driver", false), "plugin \"python-driver\" {}");
        assert_eq!(stanza("yurt-exec", false), "plugin \"yurt-exec\" {}");
        assert!(stanza("yurt-raw-exec", false).contains("enabled = true"));
        assert!(stanza("usb", false).contains("rule {") && !stanza("usb", false).contains("args"));
        assert!(stanza("acme", false).contains("args = [\"--guest\", \"usb\"]"));
        assert!(stanza("acme", true).contains("inspect acme.wasm") && !stanza("acme", true).contains("args"));
    }

    #[test]
    fn a_guest_stands_beside_its_link_under_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let guest = dir.path().join("acme.wasm");
        fs::write(&guest, "component").unwrap();
        let arguments = |name: &[&str]| Arguments {
            plugin_dir: dir.path().join("plugins"),
            name: name.iter().map(|name| (*name).to_owned()).collect(),
            guest: Some(guest.clone()),
        };
        assert!(arguments(&["a", "b"]).names().is_err());
        assert_eq!(arguments(&["lab"]).names().unwrap(), ["lab"]);
        assert_eq!(arguments(&[]).names().unwrap(), ["acme"]);
        let fresh = copied(&guest, dir.path(), "lab").unwrap();
        let place = dir.path().join("lab.wasm");
        swapped(&fresh, &place).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"component");
        assert!(!fresh.exists() && guest.exists());
    }

    #[test]
    fn a_file_in_the_way_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb");
        fs::write(&link, "somebody's").unwrap();
        let why = place(&link, Path::new("/opt/yurt")).unwrap_err().to_string();
        assert!(why.contains("in the way"), "{why}");
        assert_eq!(fs::read(&link).unwrap(), b"somebody's");
    }

    #[test]
    fn a_binary_that_others_can_change_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("yurt");
        fs::write(&binary, "").unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o775)).unwrap();
        assert!(others_may_change(&binary).unwrap().contains("changed by others"));
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(others_may_change(&binary), None);
    }
}
