//! `yurt guest new`: a folder in which a guest can be written at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::templates::{self, Kind, PLACEHOLDER};
use super::toolchain::Language;
use crate::cli::term::{Out, Style};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Name of the plugin, which is the folder's, too: lower-case letters, digits and -, a letter first
    #[arg(value_parser = name)]
    name: String,
    /// The language to write it in
    #[arg(long, value_enum)]
    lang: Language,
    /// What it decides about
    #[arg(long, value_enum, default_value = "device")]
    kind: Kind,
    /// Where to make the folder
    #[arg(long, default_value = ".", value_name = "DIR")]
    at: PathBuf,
}

/// Nomad's name of a plugin, a crate's, a module's and a package's at once.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain);
    if good && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("allowed are 1 to 63 lower-case letters, digits and inner -, a letter first".to_owned())
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = if arguments.at == Path::new(".") {
        PathBuf::from(&arguments.name)
    } else {
        arguments.at.join(&arguments.name)
    };
    if folder.exists() {
        bail!("{} is there already: choose another name, or move it away", folder.display());
    }
    let language = arguments.lang.name();
    let Some(files) = templates::template(arguments.kind, arguments.lang) else {
        bail!(
            "a task driver begins in Rust or Python; for {language} there is only the contract, wit/0.1.0/driver.wit"
        );
    };
    for (path, content) in &files {
        write(&folder.join(path), &arguments.name, content)?;
    }
    // Whatever the umask is: from a folder that others may write nothing would be loaded.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).with_context(|| folder.display().to_string())?;

    let mut out = Out::new();
    let made = out.paint(Style::Strong, &folder.display().to_string());
    let what = match arguments.kind {
        Kind::Device => "a USB policy",
        Kind::Driver => "a task driver",
    };
    let main = files.first().map_or("README.md", |(path, _)| path.as_str());
    out.line(&format!("{made}  {what} in {language}; the decisions are in {main}"))?;
    out.line("next:")?;
    out.line(&format!("  cd {}", folder.display()))?;
    for command in arguments.lang.install().into_iter().chain(["yurt guest build", "yurt guest check"]) {
        out.line(&format!("  {}", out.paint(Style::Name, command)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The example's name becomes the author's wherever it stands.
fn write(path: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let content = match std::str::from_utf8(content) {
        Ok(text) => text.replace(PLACEHOLDER, name).into_bytes(),
        Err(_) => content.to_owned(),
    };
    fs::write(path, content).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_nomad_and_for_every_language() {
        for good in ["acme", "a", "lab-2", "usb3"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "Acme", "2lab", "-a", "a-", "a_b", "a/b", "ä", &"a".repeat(64)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_the_example_s_name_is_left_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        for lang in [Language::Rust, Language::Python, Language::JavaScript, Language::Go, Language::C] {
            for kind in [Kind::Device, Kind::Driver] {
                let name = format!("acme-{kind:?}-{}", lang.name()).to_lowercase();
                let arguments = Arguments { name, lang, kind, at: dir.path().to_owned() };
                if templates::template(kind, lang).is_none() {
                    assert!(run(&arguments).unwrap_err().to_string().contains("Rust or Python"));
                    continue;
                }
                run(&arguments).unwrap();
                left(&dir.path().join(&arguments.name));
                let why = run(&arguments).unwrap_err().to_string();
                assert!(why.contains("is there already"), "{why}");
            }
        }
    }

    fn left(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left(&path);
            } else {
                let bytes = fs::read(&path).unwrap();
                assert!(!String::from_utf8_lossy(&bytes).to_lowercase().contains(PLACEHOLDER), "{}", path.display());
            }
        }
    }
}
