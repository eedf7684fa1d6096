//! Which profile a task gets, and what is said where it gets none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;

/// A directory with files, each of which only its owner may write.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    directory
}

const STRICT: &str =
    r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;

fn profiles(for_all: Option<&str>) -> Profiles {
    let directory = directory(&[("strict.json", STRICT), ("lax.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#)]);
    let file = |name: &str| directory.path().join(name);
    let defined = json!([
        {"name": "strict", "file": file("strict.json")},
        {"name": "lax", "file": file("lax.json")},
    ]);
    Profiles::from_json(&json!({"seccomp_profile": defined, "seccomp": for_all})).unwrap()
}

fn granted(names: &[&str]) -> Grants {
    Grants { seccomp: names.iter().map(|name| (*name).to_owned()).collect(), ..Grants::default() }
}

fn kind(seccomp: &Seccomp) -> &'static str {
    match seccomp {
        Seccomp::None => "none",
        Seccomp::Default => "default",
        Seccomp::Profile(_) => "profile",
    }
}

#[test]
fn a_plan_that_asks_for_nothing_gets_what_is_for_all() {
    let of = |profiles: &Profiles, isolation| kind(&profiles.of(isolation, &granted(&[]), None).unwrap());
    for (profiles, chroot, none) in [
        (Profiles::default(), "default", "none"),
        (profiles(None), "default", "none"),
        (profiles(Some("none")), "none", "none"),
        (profiles(Some("default")), "default", "default"),
        (profiles(Some("strict")), "profile", "profile"),
    ] {
        assert_eq!((of(&profiles, Isolation::Chroot), of(&profiles, Isolation::None)), (chroot, none));
        assert_eq!(of(&profiles, Isolation::Landlock), chroot);
    }
}

#[test]
fn what_it_would_get_anyway_or_a_filter_instead_of_none_takes_no_grant_and_all_else_does() {
    for (for_all, isolation, asked, free) in [
        (None, Isolation::Chroot, "default", true),
        (None, Isolation::Chroot, "none", false),
        (None, Isolation::Chroot, "strict", false),
        (None, Isolation::None, "none", true),
        (None, Isolation::None, "default", true),
        (None, Isolation::None, "strict", false),
        (Some("none"), Isolation::Overlay, "default", true),
        (Some("strict"), Isolation::Chroot, "strict", true),
        (Some("strict"), Isolation::Chroot, "default", false),
        (Some("strict"), Isolation::Chroot, "none", false),
        (Some("strict"), Isolation::None, "lax", false),
    ] {
        let profiles = profiles(for_all);
        let got = profiles.of(isolation, &granted(&[]), Some(asked));
        assert_eq!(got.is_ok(), free, "{for_all:?} {isolation:?} {asked}");
        if let Err(why) = got {
            assert!(why.contains("the plan's wishes.seccomp") && why.contains("yurt.grants.seccomp"), "{why}");
        }
        let got = profiles.of(isolation, &granted(&["lax", asked]), Some(asked)).unwrap();
        assert_eq!(Some(got), profiles.named(asked));
    }
}

#[test]
fn one_that_nobody_defined_is_refused_by_its_name_whatever_is_granted() {
    let why = profiles(None).of(Isolation::Chroot, &granted(&["strickt"]), Some("strickt")).unwrap_err();
    assert!(why.contains("\"strickt\"") && why.contains("yurt.seccomp_profile"), "{why}");
    let why = profiles(None).check("yurt.grants", &granted(&["none", "strickt"])).unwrap_err();
    assert!(why.contains("yurt.grants.seccomp: \"strickt\"") && why.contains("\"lax\", \"strict\""), "{why}");
    profiles(None).check("yurt.grants", &granted(&["none", "default", "lax"])).unwrap();
}

#[test]
fn components_have_the_default_unless_all_have_none() {
    for (for_all, wanted) in [(None, "default"), (Some("strict"), "default"), (Some("none"), "none")] {
        assert_eq!(kind(&profiles(for_all).of_components()), wanted);
    }
}

#[test]
fn a_file_that_will_not_do_is_named_with_what_is_wrong() {
    let large = format!("{STRICT}{}", " ".repeat(1 << 20));
    let trace = STRICT.replace("ERRNO", "TRACE");
    let directory = directory(&[
        ("strict.json", STRICT),
        ("large", &large),
        ("broken", "{\"defaultAction\": "),
        ("trace", &trace),
        ("open", STRICT),
    ]);
    let file = |name: &str| directory.path().join(name);
    fs::set_permissions(file("open"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(file("binary"), [0xff; 4]).unwrap();
    fs::set_permissions(file("binary"), fs::Permissions::from_mode(0o600)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, file("pipe"), Mode::RUSR).unwrap();
    let one = |name: &str, path: &Path| json!({"seccomp_profile": [{"name": name, "file": path}]});
    for (block, word) in [
        (one("a", Path::new("strict.json")), "must be an absolute path"),
        (one("a", &file("absent")), "absent: it cannot be read: No such file"),
        (one("a", directory.path()), "it is no file"),
        (one("a", &file("pipe")), "it is no file"),
        (one("a", &file("open")), "others may write it"),
        (one("a", &file("large")), "more than 1048576 bytes"),
        (one("a", &file("binary")), "it cannot be read"),
        (one("a", &file("broken")), "it is no profile: EOF"),
        (one("a", &file("trace")), "trace: it is no profile: syscalls[0] (mkdirat): SCMP_ACT_TRACE"),
        (one("none", &file("strict.json")), "a name of its own"),
        (one("", &file("strict.json")), "a name of its own"),
    ] {
        let why = Profiles::from_json(&block).unwrap_err();
        assert!(why.starts_with("yurt.seccomp_profile ") && why.contains(word), "{why:?} lacks {word:?}");
    }
    let twice = json!({"name": "a", "file": file("strict.json")});
    assert!(
        Profiles::from_json(&json!({"seccomp_profile": [twice, twice]})).unwrap_err().contains("a name of its own")
    );
    assert!(Profiles::from_json(&json!({"seccomp": "strict"})).unwrap_err().contains("yurt.seccomp = \"strict\""));
}
