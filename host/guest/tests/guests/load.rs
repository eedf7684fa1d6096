//! What is refused before it serves, at which stage, and in which words.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use yurt_guest::{Grant, Limits, LoadCause, LoadError, Options, Runtime, Source, Stage, Trial};

use crate::calls::{active, no_devices};
use crate::log;
use crate::make::Guest;

fn runtime() -> Runtime {
    Runtime::new(Options::default()).unwrap()
}

fn embedded(bytes: Vec<u8>) -> Source {
    Source::Embedded { name: "test", bytes: bytes.leak() }
}

fn refused(bytes: Vec<u8>) -> LoadError {
    let runtime = runtime();
    let why = runtime.open(&embedded(bytes.clone())).unwrap_err();
    println!("{why}");
    let inspection = runtime.inspect(&embedded(bytes));
    assert_eq!(inspection.refused.map(|again| (again.stage, again.to_string())), Some((why.stage, why.to_string())));
    why
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_core_module_is_told_apart_from_a_component() {
    let why = refused(wat::parse_str("(module)").unwrap());
    assert_eq!(why.stage, Stage::Component);
    assert!(
        why.to_string().contains("it is a core WebAssembly module, not a component: link it with wasm-component-ld"),
        "{why}"
    );
}

#[test]
fn what_is_no_component_or_cut_off_is_refused() {
    let whole = Guest::quiet().component();
    for bytes in [
        Vec::new(),
        b"#!/bin/sh\n".to_vec(),
        b"\0asm".to_vec(),
        whole[..8].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
    ] {
        let why = refused(bytes.clone());
        // The bare preamble is a component: an empty one.
        assert!(
            why.stage == Stage::Component || (bytes.len() == 8 && why.stage == Stage::World),
            "{} bytes: {why}",
            bytes.len()
        );
    }
}

#[test]
fn a_component_with_damaged_code_is_refused_by_the_compiler() {
    let mut bytes = Guest::quiet().component();
    let at = bytes
        .windows(5)
        .position(|window| window == b"\x41\x80\x02\x0b\x04" || window.starts_with(b"\x41\x80\x02\x0b"))
        .unwrap();
    bytes[at] = 0xff;
    assert_eq!(refused(bytes).stage, Stage::Compile);
}

#[test]
fn another_world_or_version_is_named_beside_ours() {
    let why = refused(Guest::quiet().of_version("0.2.0"));
    assert_eq!(why.stage, Stage::World);
    assert!(why.to_string().contains("it exports yurt:plugin/usb-policy@0.2.0, but this Yurt speaks yurt:plugin/usb-policy@0.1 (world usb-plugin): a newer Yurt is needed"), "{why}");

    let why =
        refused(wat::parse_str(r#"(component (instance) (export "acme:shop/till@1.0.0" (instance 0)))"#).unwrap());
    assert!(
        why.to_string()
            .contains("it exports acme:shop/till@1.0.0, but a device plugin needs yurt:plugin/usb-policy@0.1 (world usb-plugin) and a task driver yurt:plugin/driver@0.1 (world driver-plugin)"),
        "{why}"
    );
    let why = refused(wat::parse_str("(component)").unwrap());
    assert!(why.to_string().contains("it exports nothing, but a device plugin needs"), "{why}");
    let both = r#"(component (instance) (export "yurt:plugin/driver@0.1.0" (instance 0)) (export "yurt:plugin/usb-policy@0.1.0" (instance 0)))"#;
    let why = refused(wat::parse_str(both).unwrap());
    assert!(why.to_string().contains("but a guest is of one world: usb-plugin or driver-plugin"), "{why}");
}

#[test]
fn a_guest_of_a_later_patch_of_the_contract_loads() {
    active(&runtime(), Guest::quiet().of_version("0.1.7"));
}

#[test]
fn the_right_name_with_other_types_does_not_link() {
    for interface in ["usb-policy", "driver"] {
        let text = format!(r#"(component (instance) (export "yurt:plugin/{interface}@0.1.0" (instance 0)))"#);
        assert_eq!(refused(wat::parse_str(text).unwrap()).stage, Stage::Link, "{interface}");
    }
}

#[test]
fn every_import_without_a_grant_is_named() {
    let asks = |text: &str| {
        let guest = Guest::new(
            r#"(import "acme:net/http@1.2.0" "get" (func $get))
            (func $check_config (param i32 i32) (result i32) (call $get) (i32.const 256))"#,
        );
        let items = format!("import acme:net/http@1.2.0; {text}");
        guest.beside(&items, "package acme:net@1.2.0 { interface http { get: func(); } }").component()
    };
    let why = refused(asks(""));
    assert_eq!(why.stage, Stage::Imports);
    assert!(why.to_string().ends_with("it imports acme:net/http@1.2.0, and a grant of it would have to exist: a guest may import yurt:plugin/log@0.1 and, empty, wasi:{cli,clocks,filesystem,io,random,sockets}@0.2, nothing else"), "{why}");

    let inspection = runtime().inspect(&embedded(asks("")));
    assert!(
        inspection.imports.iter().any(|import| import.name == "acme:net/http@1.2.0" && import.grant == Grant::Missing)
    );
    assert!(
        inspection.imports.iter().any(|import| import.name == "yurt:plugin/log@0.1.0" && import.grant == Grant::Log)
    );
    for raw in [
        r#"(component (import "f" (func)))"#,
        r#"(component (import "wasi:http/types@0.2.6" (instance)))"#,
        r#"(component (import "wasi:cli/exit@0.3.0" (instance)))"#,
    ] {
        let inspection = runtime().inspect(&embedded(wat::parse_str(raw).unwrap()));
        assert_eq!(inspection.imports[0].grant, Grant::Missing, "{raw}");
    }
}

#[test]
fn nonsense_in_a_description_is_quoted() {
    let why = refused(Guest::hostile("rude-name").component());
    assert_eq!(why.stage, Stage::Describe);
    assert!(why.to_string().contains(r#"the name "Bad Name!" is not 1 to 63 lower-case letters"#), "{why}");
    let why = refused(Guest::hostile("no-version").component());
    assert!(why.to_string().contains(r#"the version "trial" is not a semantic version such as 1.2.3"#), "{why}");
}

#[test]
fn a_file_that_others_may_write_is_refused_and_links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let file = dir.path().join("policy.wasm");
    write(&file, &Guest::quiet().component());
    let open = |path: &Path| runtime.open(&Source::File(path.into()));
    open(&file).unwrap();

    let (one, two) = (dir.path().join("current"), dir.path().join("newest"));
    symlink("newest", &one).unwrap();
    symlink("policy.wasm", &two).unwrap();
    open(&one).unwrap();

    for mode in [0o664, 0o646, 0o666] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let why = open(&one).unwrap_err();
        assert_eq!(why.stage, Stage::File);
        assert!(
            why.to_string()
                .contains(&format!("may be written by its group or by others (mode 0{mode:o}): chmod go-w it")),
            "{why}"
        );
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();

    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let why = open(&file).unwrap_err();
    assert!(matches!(&*why.cause, LoadCause::Mode { path, mode: 0o777 } if path == dir.path()), "{why}");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    open(&file).unwrap();
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.wasm");
    write(&file, &Guest::quiet().component());
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_err() {
        // Not root: what is ours is somebody else's to a runtime that trusts only root.
        let strict = Runtime::new(Options { trusted_uids: Vec::new(), ..Options::default() }).unwrap();
        assert!(matches!(*strict.open(&Source::File(file)).unwrap_err().cause, LoadCause::Owner { .. }));
        return;
    }
    let why = runtime().open(&Source::File(file.clone())).unwrap_err();
    assert!(
        why.to_string().contains("belongs to user 12345, who is neither root nor the plugin's user: chown it"),
        "{why}"
    );
    let trusting = Runtime::new(Options { trusted_uids: vec![12_345], ..Options::default() }).unwrap();
    trusting.open(&Source::File(file)).unwrap();
}

#[test]
fn a_directory_of_versions_serves_the_one_that_its_link_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    let versions = dir.path().join("acme");
    fs::create_dir_all(versions.join("2.0")).unwrap();
    let guest = Guest::quiet().component();
    write(&versions.join("1.wasm"), &guest);
    write(&versions.join("2.0/acme.wasm"), &guest);
    let current = versions.join("current");
    let link = |to: &str| {
        drop(fs::remove_file(&current));
        symlink(to, &current).unwrap();
    };
    let runtime = runtime();
    let source = Source::File(versions.clone());
    let absolute = versions.join("1.wasm").display().to_string();
    for (to, file) in [("1.wasm", "1.wasm"), ("2.0/acme.wasm", "2.0/acme.wasm"), (absolute.as_str(), "1.wasm")] {
        link(to);
        assert_eq!(runtime.read(&source).unwrap().origin(), versions.join(file).display().to_string());
        runtime.open(&source).unwrap();
    }

    write(&dir.path().join("other.wasm"), &guest);
    let outside = dir.path().join("other.wasm").display().to_string();
    symlink("../other.wasm", versions.join("detour")).unwrap();
    let said = |runtime: &Runtime| {
        let why = runtime.read(&source).unwrap_err();
        assert_eq!(why.stage, Stage::File);
        why.to_string()
    };
    for (to, what) in [
        ("3.wasm", "leads to 3.wasm, which is not there: ln -sfn VERSION"),
        ("1.wasm/x", "which is not there"),
        ("2.0", "leads to 2.0, a directory"),
        ("current", "in a circle"),
        ("../other.wasm", "leads to ../other.wasm, out of"),
        (&outside, "out of"),
        ("detour", "leads to detour, out of"),
    ] {
        link(to);
        let why = said(&runtime);
        assert!(why.contains(&format!("{} {}", current.display(), "leads to")) && why.contains(what), "{why}");
    }
    fs::remove_file(&current).unwrap();
    assert!(said(&runtime).contains("is not there, and would say which version serves"));
    write(&current, &guest);
    assert!(said(&runtime).contains("must be a link to one of the versions beside it"));

    // Whoever may write one of the directories could have put another version there.
    link("2.0/acme.wasm");
    for writable in [versions.clone(), versions.join("2.0")] {
        fs::set_permissions(&writable, Permissions::from_mode(0o775)).unwrap();
        assert!(said(&runtime).contains(&format!("{} may be written by its group", writable.display())));
        fs::set_permissions(&writable, Permissions::from_mode(0o755)).unwrap();
    }
    if std::os::unix::fs::lchown(&current, Some(12_345), None).is_ok() {
        assert!(said(&runtime).contains(&format!("{} belongs to user 12345", current.display())));
    }
}

#[test]
fn what_is_no_file_of_a_decent_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let runtime =
        Runtime::new(Options { limits: Limits { component: 100, ..Limits::default() }, ..Options::default() }).unwrap();
    let cause = |path: PathBuf| *runtime.open(&Source::File(path)).unwrap_err().cause;
    assert!(matches!(cause(dir.path().to_owned()), LoadCause::Version(_)));
    assert!(matches!(cause(dir.path().join("absent")), LoadCause::Read(_)));
    assert!(matches!(cause("/dev/zero".into()), LoadCause::NotAFile));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(cause(pipe), LoadCause::NotAFile));
    let looped = dir.path().join("loop");
    symlink("loop", &looped).unwrap();
    assert!(matches!(cause(looped), LoadCause::Read(_)));
    let big = dir.path().join("big");
    write(&big, &[0; 101]);
    assert!(matches!(cause(big), LoadCause::TooBig { size: 101, limit: 100 }));
}

/// Runtimes as in launches that follow each other, with one cache.
fn launch(cache: &Path) -> Runtime {
    Runtime::new(Options { cache_dir: Some(cache.into()), ..Options::default() }).unwrap()
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_guest_is_compiled_once_and_a_damaged_cache_entry_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("a/cache");
    let component = Guest::quiet().component();
    let compiles = || {
        let (inspection, lines) = log::of(|| launch(&cache).inspect(&embedded(component.clone())));
        assert!(inspection.refused.is_none(), "{:?}", inspection.refused);
        (inspection.compiling.is_some(), lines.iter().map(|line| line.field("message").to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(compiles(), (true, vec![]));
    assert_eq!(compiles(), (false, vec![]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let [entry] = &entries(&cache)[..] else { panic!("{:?}", entries(&cache)) };
    assert_eq!((mode(&cache), mode(entry)), (0o700, 0o600));

    let sound = fs::read(entry).unwrap();
    for damage in ["bit", "cut", "longer", "empty"] {
        let mut bytes = sound.clone();
        match damage {
            "bit" => bytes[sound.len() / 2] ^= 1,
            "cut" => bytes.truncate(sound.len() - 1),
            "longer" => bytes.push(0),
            _ => bytes.clear(),
        }
        fs::write(entry, bytes).unwrap();
        let (compiled, said) = compiles();
        assert!(
            compiled
                && said.len() == 1
                && said[0].contains("damaged entry of the compiled-code cache is deleted and made again"),
            "{damage}: {said:?}"
        );
        assert_eq!(fs::read(entry).unwrap(), sound, "{damage}");
        assert_eq!(compiles(), (false, vec![]), "{damage}");
    }

    // Sound, but another guest's, under this one's name.
    let other = Guest::quiet().pages(3).component();
    launch(&cache).open(&embedded(other)).unwrap();
    let others = entries(&cache).into_iter().find(|path| path != entry).unwrap();
    fs::rename(others, entry).unwrap();
    assert!(compiles().0);

    // Writable by others: not believed, though sound.
    fs::set_permissions(entry, Permissions::from_mode(0o666)).unwrap();
    assert!(compiles().0);
}

#[test]
fn a_cache_that_cannot_be_used_costs_one_warning_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for cache in [shared, file, PathBuf::from("/proc/nowhere")] {
        let ((), lines) = log::of(|| {
            let runtime = launch(&cache);
            runtime.open(&embedded(Guest::quiet().component())).unwrap();
            runtime.open(&embedded(Guest::quiet().component())).unwrap();
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].field("message").contains("the compiled-code cache cannot be used"), "{lines:?}");
    }
}

#[test]
fn the_cache_drops_what_was_not_used_for_longest() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let open = |pages| launch(&cache).inspect(&embedded(Guest::quiet().pages(pages).component())).compiling.is_some();
    assert!(open(2));
    let one = fs::metadata(&entries(&cache)[0]).unwrap().len();
    let limits = Limits { cache: one * 5 / 2, ..Limits::default() };
    assert!(open(3));
    // The older one is used again; the third then pushes out the second.
    assert!(!open(2));
    let full = Runtime::new(Options { cache_dir: Some(cache.clone()), limits, ..Options::default() }).unwrap();
    full.open(&embedded(Guest::quiet().pages(4).component())).unwrap();
    assert_eq!(entries(&cache).len(), 2);
    assert!(!open(2) && !open(4) && open(3));
}

#[test]
fn guests_run_in_little_address_space_too() {
    // A limit holds for the whole process, so the work is done by this test in a process of its own.
    const INSIDE: &str = "YURT_TEST_LITTLE_SPACE";
    if std::env::var_os(INSIDE).is_some() {
        let policy = active(&runtime(), Guest::quiet().component());
        policy.group("{}", &no_devices(), None).unwrap().unwrap();
        println!("{:?}", runtime());
        return;
    }
    for (kib, memory) in [(64_u64 << 20, "Mapped"), (2 << 20, "Small")] {
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                &format!(
                    "ulimit -v {kib} && exec \"$0\" --exact load::guests_run_in_little_address_space_too --nocapture"
                ),
            ])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(memory),
            "{kib} KiB: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn numbers_for_people() {
    let bytes = Guest::quiet().component();
    let source = embedded(bytes);
    let start = Instant::now();
    let runtime = runtime();
    let made = start.elapsed();
    let policy = runtime.open(&source).unwrap().activate(&Trial::default()).unwrap();
    let facts = no_devices();
    let start = Instant::now();
    for _ in 0..1000 {
        policy.group("{}", &facts, None).unwrap().unwrap();
    }
    println!("{runtime:?} made in {made:?}; an empty call {:?}", start.elapsed() / 1000);
}
