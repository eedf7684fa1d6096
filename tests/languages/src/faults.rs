//! Mistakes of an author: a line is added to a copy of the policy, and what an operator gets to read must name the place.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::Yurt;

/// A mistake in one file: a line put after another.
struct Fault {
    language: &'static str,
    file: &'static str,
    after: &'static str,
    line: &'static str,
    /// What is read where the case `reserve` meets it. `LINE` is the number of the added line.
    read: &'static str,
}

const FAULTS: [Fault; 6] = [
    Fault {
        language: "rust",
        file: "src/lib.rs",
        after: "    fn reserve(",
        line: "        let _ = &reserved[reserved.len()];",
        read: "error: panicked at src/lib.rs:LINE:",
    },
    Fault {
        language: "python",
        file: "policy.py",
        after: "    def reserve(self, config, facts, group, reserved):",
        line: "        reserved[len(reserved)]",
        read: "IndexError: list index out of range (policy.py:LINE, in reserve)",
    },
    Fault {
        language: "javascript",
        file: "policy.js",
        after: "  reserve(config, facts, group, reserved) {",
        line: "    reserved[reserved.length].members.length;",
        read: "TypeError: cannot read property 'members' of undefined (policy.js:LINE:",
    },
    Fault {
        language: "go",
        file: "policy.go",
        after: "func (guest) Reserve(",
        line: "\t_ = reserved[len(reserved)]",
        read: "runtime error: index out of range [1] with length 1 (policy.go:LINE, in Reserve)",
    },
    Fault {
        language: "c",
        file: "policy.c",
        after: "    *answer = (exports_policy_reservation_t){0};",
        line: "    if (reserved->len > 0) return BROKEN(err, \"nobody can reserve this\");",
        read: "nobody can reserve this (policy.c:LINE, in exports_policy_reserve)",
    },
    Fault {
        language: "c",
        file: "policy.c",
        after: "    *answer = (exports_policy_reservation_t){0};",
        line: "    ENSURE(reserved->len == 0);",
        read: "error: reserved->len == 0 does not hold (policy.c:LINE, in exports_policy_reserve)",
    },
];

const CASE: &str = r#"{
  "says": "a mistake is met",
  "config": { "rule": [{ "vendor": "0x1209", "group": "board" }] },
  "facts": { "devices": [{ "key": "1-1" }] },
  "reserve": [["port-1-1"]]
}"#;

/// Builds the language's policy once for each of its mistakes and reads what becomes of it.
pub(crate) fn arrive(yurt: &Yurt, source: &Path, language: &str, copy: &Path) -> anyhow::Result<()> {
    for (at, fault) in FAULTS.iter().filter(|fault| fault.language == language).enumerate() {
        let copy = copy.join(at.to_string());
        self::copy(source, &copy)?;
        let file = copy.join(fault.file);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let number = text.lines().position(|line| line.starts_with(fault.after));
        let number = number.with_context(|| format!("{}: no line begins with {:?}", file.display(), fault.after))? + 1;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.insert(number, fault.line);
        fs::write(&file, lines.join("\n") + "\n")?;

        if language == "rust" {
            // Cargo tells components in one target folder apart by the package's name alone.
            for manifest in ["Cargo.toml", "Cargo.lock"].map(|manifest| copy.join(manifest)) {
                fs::write(&manifest, fs::read_to_string(&manifest)?.replace("name = \"shelf\"", "name = \"broken\""))?;
            }
        }

        let cases = copy.join("cases");
        fs::create_dir(&cases)?;
        fs::write(cases.join("reserve.json"), CASE)?;
        let component = copy.join("broken.wasm");
        yurt.build(&copy, &component)?;
        let checked = yurt.run("check", &[&component])?;
        let said = String::from_utf8_lossy(&checked.stdout);
        let read = fault.read.replace("LINE", &(number + 1).to_string());
        if !said.contains(&read) {
            bail!("{}: a mistake in line {} does not read {read:?}:\n{said}", fault.file, number + 1);
        }
        println!("✓ a mistake reads: {read}");
    }
    Ok(())
}

/// A folder with all its files. Links are followed by what is linked to: the contract and the SDK lie outside.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() && entry.file_name() == "node_modules" {
            symlink(fs::canonicalize(&path)?, target)?;
        } else if path.is_dir() {
            if !["target", "node_modules", ".venv"].iter().any(|own| entry.file_name() == *own) {
                copy(&path, &target)?;
            }
        } else {
            fs::copy(&path, &target).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
