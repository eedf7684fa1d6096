//! `yurt guest inspect`: what a component asks for, as permissions.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::make::Guest;

fn inspect(guest: &Path) -> (bool, Value) {
    let output = Command::new(yurt_conformance::binary::binary())
        .args(["guest", "inspect", "--json"])
        .arg(guest)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let object = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
    (output.status.success(), object)
}

#[test]
fn the_built_in_guests_ask_for_the_log_and_python_for_one_interpreter_more() {
    // Every device plugin does without; a driver may look for programs of its own name.
    let more = "yurt {\n  grants {\n    programs = [\"python*\", \"pypy3\"]\n  }\n}";
    for (guest, grant) in [("usb", Value::Null), ("python", more.into())] {
        let (served, said) = inspect(Path::new(guest));
        assert!(served && said["grant"] == grant, "{said:#}");
        let imports = said["imports"].as_array().unwrap();
        assert!(imports.iter().any(|import| import["interface"] == "yurt:plugin/log@0.1.0"), "{said:#}");
        assert!(imports.iter().all(|import| import["granted"] == "always"), "{said:#}");
    }
}

#[test]
fn every_import_is_granted_always_or_empty_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("guest.wasm");
    let of = |guest: Guest, interface: &str| {
        fs::write(&file, guest.component()).unwrap();
        let (served, said) = inspect(&file);
        let import = said["imports"].as_array().unwrap().iter().find(|import| import["interface"] == interface);
        let import = import.unwrap_or_else(|| panic!("no {interface}: {said:#}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (served, text(&import["granted"]), text(&import["allows"]), text(&said["refused"]))
    };
    let more = Guest::new(
        "(import \"acme:net/http@1.2.0\" \"get\" (func $get))
         (func $check_config (param i32 i32) (result i32) (call $get) (i32.const 256))",
    )
    .beside("import acme:net/http@1.2.0;", "package acme:net@1.2.0 { interface http { get: func(); } }");
    let (served, granted, allows, refused) = of(more, "acme:net/http@1.2.0");
    assert!(!served && granted == "refused", "{allows}");
    assert!(refused.contains("acme:net/http@1.2.0") && refused.contains("grant"), "{refused}");
}
