//! What `yurt guest new` writes: the examples of `guests/examples` with the SDK and the contract, as they were when this binary was built.

use clap::ValueEnum;

use super::toolchain::Language;

/// A file of a template: where it goes, and what is in it.
type File = (&'static str, &'static [u8]);

/// The name that the examples bear.
pub(super) const PLACEHOLDER: &str = "shelf";

/// Files of one folder of `guests/examples`. Its links to the contract and the SDK are files like others.
macro_rules! files {
    ($folder:literal: $($path:literal)*) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/examples/", $folder, "/", $path)))),*]
    };
}

/// The contract, in every template.
const CONTRACT: &[File] = files!("python":
    "wit/0.1.0/common.wit" "wit/0.1.0/driver.wit" "wit/0.1.0/usb-policy.wit" "wit/0.1.0/usb.wit"
);

/// What an operator of a device plugin's template would write.
const DEVICE_DEMO: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/examples/demo.hcl"));

/// Golden cases of a device plugin's template, under `cases` there.
const DEVICE_CASES: &[File] = files!("corpus":
    "groups-by-rule.json" "groups-by-rule.expected.json"
    "health.json" "health.expected.json"
    "ids.json" "ids.expected.json"
    "reservation.json" "reservation.expected.json"
    "wrong-configuration.json" "wrong-configuration.expected.json"
);

/// Golden cases of a task driver's template.
const DRIVER_CASES: &[File] = files!("driver/cases":
    "no-interpreter.json" "no-interpreter.expected.json"
    "nothing-to-run.json" "nothing-to-run.expected.json"
    "script.json" "script.expected.json"
);

/// What a language needs beside the decisions: manifest, helper, bindings.
fn around(language: Language) -> &'static [File] {
    match language {
        Language::Rust => files!("rust":
            ".cargo/config.toml" ".gitignore" "Cargo.lock" "Cargo.toml"
            "vendor/yurt-sdk/Cargo.toml"
            "vendor/yurt-sdk/src/attribute.rs" "vendor/yurt-sdk/src/bindings.rs" "vendor/yurt-sdk/src/command.rs"
            "vendor/yurt-sdk/src/config.rs" "vendor/yurt-sdk/src/driver.rs" "vendor/yurt-sdk/src/ids.rs"
            "vendor/yurt-sdk/src/isolation.rs" "vendor/yurt-sdk/src/lib.rs"
            "vendor/yurt-sdk/src/log.rs" "vendor/yurt-sdk/src/nodes.rs" "vendor/yurt-sdk/src/policy.rs"
            "vendor/yurt-sdk/src/said.rs" "vendor/yurt-sdk/src/slug.rs"
            "vendor/yurt-sdk/src/signals.rs"
            "vendor/yurt-sdk/src/task_driver.rs" "vendor/yurt-sdk/src/testing.rs" "vendor/yurt-sdk/src/testing/driver.rs"
        ),
        Language::Python => files!("python": ".gitignore" "requirements.txt" "yurt.py"),
        Language::JavaScript => files!("javascript": ".gitignore" "package-lock.json" "package.json" "yurt.js"),
        Language::Go => files!("go":
            ".gitignore" "go.mod" "go.sum" "yurt/yurt.go"
            "bindings/export_yurt_plugin_usb_policy/export.go" "bindings/wit_exports/wit_exports.go"
            "bindings/yurt_plugin_common/empty.s" "bindings/yurt_plugin_common/wit_bindings.go"
            "bindings/yurt_plugin_log/empty.s" "bindings/yurt_plugin_log/wit_bindings.go"
            "bindings/yurt_plugin_usb/empty.s" "bindings/yurt_plugin_usb/wit_bindings.go"
            "bindings/yurt_plugin_usb_policy/empty.s" "bindings/yurt_plugin_usb_policy/wit_bindings.go"
        ),
        Language::C => files!("c":
            ".gitignore" "requirements.txt" "yurt.c" "yurt.h"
            "bindings/guest.c" "bindings/guest.h" "bindings/guest_component_type.o"
        ),
    }
}

/// The decisions themselves, first the file that an author opens first; none where that kind has no template in that language.
fn decisions(kind: Kind, language: Language) -> Option<&'static [File]> {
    Some(match (kind, language) {
        (Kind::Device, Language::Rust) => files!("rust": "src/lib.rs" "README.md"),
        (Kind::Device, Language::Python) => files!("python": "policy.py" "README.md"),
        (Kind::Device, Language::JavaScript) => files!("javascript": "policy.js" "README.md"),
        (Kind::Device, Language::Go) => files!("go": "policy.go" "README.md"),
        (Kind::Device, Language::C) => files!("c": "policy.c" "README.md"),
        (Kind::Driver, Language::Rust) => files!("driver/rust": "src/lib.rs" "README.md"),
        (Kind::Driver, Language::Python) => files!("driver/python": "driver.py" "README.md"),
        (Kind::Driver, Language::JavaScript | Language::Go | Language::C) => return None,
    })
}

/// What a guest decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// USB devices
    Device,
    /// Tasks
    Driver,
}

/// A template's files, first the one that an author opens first.
pub(super) fn template(kind: Kind, language: Language) -> Option<Vec<(String, &'static [u8])>> {
    let mut files: Vec<File> = decisions(kind, language)?.to_vec();
    files.extend(around(language).iter().chain(CONTRACT));
    let mut named: Vec<_> = files.into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
    let cases = match kind {
        Kind::Device => {
            named.push(("demo.hcl".to_owned(), DEVICE_DEMO));
            DEVICE_CASES
        }
        Kind::Driver => DRIVER_CASES,
    };
    named.extend(cases.iter().map(|(path, content)| (format!("cases/{path}"), *content)));
    Some(named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What a build leaves in a folder.
    const BUILT: [&str; 7] =
        ["target", "node_modules", ".venv", "__pycache__", "wit_world", "poll_loop.py", "Cargo.lock"];

    fn walk(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let built =
                BUILT.contains(&name.as_str()) || name.ends_with(".wasm") || name.starts_with("componentize_py");
            if built && !(below.is_empty() && name == "Cargo.lock") {
                continue;
            }
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{below}{name}/"), found);
            } else {
                found.insert(format!("{below}{name}"));
            }
        }
    }

    #[test]
    fn a_template_is_the_whole_example() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/examples");
        for (folder, language) in [
            ("rust", Language::Rust),
            ("python", Language::Python),
            ("javascript", Language::JavaScript),
            ("go", Language::Go),
            ("c", Language::C),
        ] {
            let mut there = BTreeSet::new();
            walk(&examples.join(folder), "", &mut there);
            let files = decisions(Kind::Device, language).unwrap().iter().chain(around(language)).chain(CONTRACT);
            let listed = files.map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(there, listed, "{folder}");
        }
    }
}
