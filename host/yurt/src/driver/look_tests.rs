use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A root directory with two interpreters, one of them under two names, and things around.
fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |path: &str| dir.path().join(path);
    script(&at("usr/bin/python3.11"), "#!/bin/sh\n");
    script(&at("usr/local/bin/python3"), "#!/bin/sh\n");
    script(&at("usr/bin/perl"), "#!/bin/sh\n");
    fs::write(at("usr/bin/python-notes"), "no program").unwrap();
    symlink("usr/bin", at("bin")).unwrap();
    symlink("/usr/bin/python3.11", at("usr/bin/python")).unwrap();
    fs::create_dir_all(at("local")).unwrap();
    fs::create_dir_all(at("secrets")).unwrap();
    fs::write(at("local/app.py"), "print()").unwrap();
    fs::write(at("secrets/token"), "s3cret").unwrap();
    symlink("/etc/shadow", at("local/shadow")).unwrap();
    dir
}

fn place(root: &Path) -> Place {
    Place::node("python", &Grants { files: vec!["/etc/os-release".to_owned()], ..Grants::default() }).root(root)
}

fn text(trouble: Trouble) -> String {
    let (Trouble::Absent(why) | Trouble::Refused(why) | Trouble::Failed(why)) = trouble;
    why
}

fn found(place: &Place, look: wit::Look) -> Result<wit::Found, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let findings = runtime.block_on(place.look(&[wit::Probe { id: "x".to_owned(), look }]));
    findings.into_iter().next().unwrap().outcome
}

#[test]
fn programs_are_found_by_glob_in_the_fixed_path_once_each() {
    let root = root();
    let found = found(&place(root.path()), wit::Look::Programs("python*".to_owned()));
    let wanted = ["/usr/local/bin/python3", "/usr/bin/python", "/usr/bin/python3.11"].map(str::to_owned);
    assert_eq!(found, Ok(wit::Found::Paths(wanted.to_vec())));
}

#[test]
fn only_programs_that_are_granted_are_run() {
    let root = root();
    let run = |program: &str| found(&place(root.path()), wit::Look::Run(vec![program.to_owned()]));
    let Err(Trouble::Refused(why)) = run("/usr/bin/perl") else { panic!("perl was run") };
    assert!(why.contains("/usr/bin/perl may not be run") && why.contains("python*"), "{why}");
    for absent in ["python9", "/opt/python9"] {
        let Err(Trouble::Absent(why)) = run(absent) else { panic!("{absent} was found") };
        assert!(why.contains(&format!("no program {absent}")), "{why}");
    }
    let granted = Grants { programs: Some(vec!["/bin/echo".to_owned()]), ..Grants::default() };
    let answer = found(&Place::node("python", &granted), wit::Look::Run(vec!["/bin/echo".to_owned(), "hi".to_owned()]));
    let Ok(wit::Found::Output(output)) = answer else { panic!("{answer:?}") };
    assert_eq!((output.stdout.as_str(), output.exit_code), ("hi\n", 0));
}

#[test]
fn links_stay_within_the_root() {
    let root = root();
    let status = found(&place(root.path()), wit::Look::Stat("/usr/bin/python".to_owned())).unwrap();
    let wit::Found::Status(status) = status else { panic!("{status:?}") };
    assert_eq!((status.kind, status.target.as_deref()), (wit::PathKind::File, Some("/usr/bin/python3.11")));
    assert!(status.executable);
    let dangling = found(&place(root.path()), wit::Look::Stat("/local/shadow".to_owned())).unwrap();
    let wit::Found::Status(dangling) = dangling else { panic!("{dangling:?}") };
    assert_eq!((dangling.kind, dangling.target.as_deref()), (wit::PathKind::Link, Some("/etc/shadow")));
    assert_eq!(place(root.path()).resolved("/bin/python"), "/usr/bin/python3.11");
    // There is no /etc in this root, so the link leads nowhere.
    assert!(found(&place(root.path()), wit::Look::Read("/local/shadow".to_owned())).is_err());
}

#[test]
fn a_task_s_own_files_may_be_looked_at_but_its_secrets_may_not() {
    let root = root();
    let place = place(root.path());
    assert_eq!(
        found(&place, wit::Look::Read("/local/app.py".to_owned())),
        Ok(wit::Found::Content("print()".to_owned()))
    );
    for secret in ["/secrets/token", "/private/x", "/local/../secrets/token", "secrets/token"] {
        for look in [wit::Look::Read(secret.to_owned()), wit::Look::Stat(secret.to_owned())] {
            let why = text(found(&place, look).unwrap_err());
            assert!(why.contains("secrets are") || why.contains("without .."), "{secret}: {why}");
        }
    }
}

#[test]
fn on_the_node_only_granted_files_are_read_and_absence_is_a_finding() {
    let node = Place::node("python", &Grants { files: vec!["/proc/version".to_owned()], ..Grants::default() });
    assert!(found(&node, wit::Look::Read("/proc/version".to_owned())).is_ok());
    let why = text(found(&node, wit::Look::Read("/etc/passwd".to_owned())).unwrap_err());
    assert!(why.contains("/etc/passwd") && why.contains("yurt.grants.files"), "{why}");
    let absent = found(&node, wit::Look::Stat("/usr/bin/python-that-is-not-there".to_owned()));
    assert!(matches!(absent, Ok(wit::Found::Status(status)) if status.kind == wit::PathKind::Absent));
    let own = node.with_own(Path::new("/proc/self"));
    assert!(found(&own, wit::Look::Read("/proc/self/comm".to_owned())).is_ok());
}
