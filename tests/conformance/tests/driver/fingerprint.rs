//! Fingerprint: what the node gets to know of the driver.

use std::fs;
use std::time::{Duration, Instant};

use yurt_conformance::driver::{Flavour, Isolation, Node, each, of_python, put_program, soon, until};
use yurt_conformance::patience;
use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::client::Fingerprints;
use yurt_nomad::driver::{Fingerprint, Health};

/// The driver on a node where this was done first, in a mount namespace of its own; its stream, and what it told first.
async fn elsewhere(node: &mut Node, setup: &str, config: &str) -> (Fingerprints, Fingerprint) {
    node.end_plugin().await;
    node.hide(setup);
    node.launch_again().await;
    node.configure(config).await.unwrap_or_else(|why| panic!("{why}"));
    let mut looks = soon(node.driver.fingerprint()).await.unwrap();
    let first = soon(looks.next()).await.unwrap();
    (looks, first)
}

/// The next that is like this.
async fn next(looks: &mut Fingerprints, like: impl Fn(&Fingerprint) -> bool) -> Fingerprint {
    loop {
        let look = soon(looks.next()).await.unwrap();
        if like(&look) {
            return look;
        }
    }
}

/// An empty directory where programs are looked for first.
const OWN_PROGRAMS: &str = "mount -t tmpfs none /usr/local/bin";

/// Puts a program there, from outside.
fn put(node: &Node, name: &str, text: &str) {
    let path = format!("/proc/{}/root/usr/local/bin/{name}", node.plugin_pid());
    put_program(path.as_ref(), text);
}

fn versions(look: &Fingerprint) -> String {
    match look.attributes.get("driver.python.versions").map(|attribute| &attribute.value) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn f01_the_driver_is_healthy_within_five_seconds() {
    each("F01", async |node| {
        let began = Instant::now();
        let mut looks = soon(node.driver.fingerprint()).await.unwrap();
        let first = soon(looks.next()).await.unwrap();
        assert!(matches!(first.health, Health::Healthy { .. }), "{first:?}");
        assert!(began.elapsed() < patience(Duration::from_secs(5)));
        let name = format!("driver.{}", node.subject.flavour.name());
        assert_eq!(first.attributes.get(&name), Some(&Attribute::flag(true)));
        assert!(first.attributes.keys().all(|key| key.starts_with(&name)), "{:?}", first.attributes);
    })
    .await;
}

#[tokio::test]
async fn f05_the_interpreters_version_is_an_attribute() {
    of_python("F05", "it has no interpreter", async |node| {
        let first = soon(soon(node.driver.fingerprint()).await.unwrap().next()).await.unwrap();
        let Value::Text(version) = &first.attributes["driver.python.version"].value else { panic!("{first:?}") };
        let told = std::process::Command::new("/usr/bin/python3").arg("--version").output().unwrap();
        assert_eq!(format!("Python {version}"), String::from_utf8(told.stdout).unwrap().trim());
    })
    .await;
}

#[tokio::test]
async fn f06_every_stream_begins_at_once_and_stays() {
    each("F06", async |node| {
        let mut streams = Vec::new();
        let mut firsts = Vec::new();
        for _ in 0..3 {
            let mut looks = soon(node.driver.fingerprint()).await.unwrap();
            firsts.push(soon(looks.next()).await.unwrap());
            streams.push(looks);
        }
        assert!(firsts.iter().all(|first| *first == firsts[0]), "{firsts:?}");
        // An agent would ask again at once, without end.
        for looks in &mut streams {
            let more = tokio::time::timeout(Duration::from_millis(300), looks.next()).await;
            assert!(!matches!(more, Ok(Err(_))), "{more:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn f05_without_an_interpreter_the_driver_is_undetected() {
    of_python("F05", "it has no interpreter", async |node| {
        let hide = "mount -t tmpfs none /usr/local/bin
            for program in /usr/bin/python* /usr/bin/pypy*; do
                if [ -f $program ]; then mount --bind /dev/null $program; fi
            done";
        let (_, first) = elsewhere(node, hide, "").await;
        let Health::Undetected { reason } = &first.health else { panic!("{first:?}") };
        assert!(reason.contains("python3") && reason.contains("/usr/bin"), "{reason}");
        assert!(versions(&first).is_empty(), "{first:?}");
    })
    .await;
}

#[tokio::test]
async fn f05_an_interpreter_that_tells_its_version_on_stderr_is_one() {
    of_python("F05", "it has no interpreter", async |node| {
        let (mut looks, _) = elsewhere(node, OWN_PROGRAMS, "yurt { fingerprint_period = \"1s\" }").await;
        put(node, "python2.7", "#!/bin/sh\necho Python 2.7.99 >&2");
        let look = next(&mut looks, |look| versions(look).contains("2.7.99")).await;
        assert!(matches!(look.health, Health::Healthy { .. }), "{look:?}");
    })
    .await;
}

#[tokio::test]
async fn f07_not_root_where_root_is_needed_is_undetected() {
    each("F07", async |node| {
        let dir = node.dir().to_owned();
        let own = dir.join("nobody");
        // A copy: not every way to the binary is open to everybody.
        let setup = format!(
            "mkdir -p {own} {dir}/state
            cp -L \"$0\" {own}/
            chown -R nobody {own} {dir}/state
            export TMPDIR={own} YURT_RUNTIME_DIR={own}/run
            exec setpriv --reuid=nobody --regid=65534 --clear-groups {own}/$(basename \"$0\") \"$@\"",
            own = own.display(),
            dir = dir.display()
        );
        let (_, first) = elsewhere(node, &setup, node.subject.plugin_config()).await;
        match (&first.health, node.subject.isolation) {
            (Health::Undetected { reason }, Isolation::Chroot | Isolation::Overlay | Isolation::Landlock) => {
                assert!(reason.contains("Driver must run as root"), "{reason}");
            }
            (Health::Healthy { .. }, Isolation::None) => {}
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn f08_what_is_missing_is_named() {
    of_python("F08", "it needs nothing else", async |node| {
        let (_, first) = elsewhere(node, ":", "interpreters = [\"python-of-nowhere\", \"/opt/none/python\"]").await;
        let Health::Undetected { reason } = &first.health else { panic!("{first:?}") };
        assert!(reason.contains("python-of-nowhere") && reason.contains("/opt/none/python"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn f09_without_control_groups_the_driver_is_unhealthy() {
    each("F09", async |node| {
        let (_, first) = elsewhere(node, "umount -R -l /sys/fs/cgroup", node.subject.plugin_config()).await;
        let Health::Unhealthy { reason } = &first.health else { panic!("{first:?}") };
        assert!(reason.contains("Failed to discover cgroup mount point"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn f10_a_probe_that_hangs_is_killed_at_its_deadline_and_the_stream_goes_on() {
    of_python("F10", "it has no probes", async |node| {
        let setup = format!("{OWN_PROGRAMS}\nprintf \"#!/bin/sh\\nexec sleep 614\" > /usr/local/bin/python3\nchmod 755 /usr/local/bin/python3");
        let began = Instant::now();
        let (mut looks, first) = elsewhere(node, &setup, "yurt { fingerprint_period = \"1s\" }").await;
        let bad = if matches!(first.health, Health::Unhealthy { .. }) {
            first
        } else {
            next(&mut looks, |look| matches!(look.health, Health::Unhealthy { .. })).await
        };
        assert!(began.elapsed() < patience(Duration::from_secs(20)), "{:?}", began.elapsed());
        let Health::Unhealthy { reason } = &bad.health else { panic!("{bad:?}") };
        assert!(reason.contains("python3"), "{reason}");
        put(node, "python3", "#!/bin/sh\necho Python 3.98.0");
        next(&mut looks, |look| matches!(look.health, Health::Healthy { .. })).await;
        let hung = || {
            let names = std::process::Command::new("pgrep").args(["-f", "^sleep 614$"]).output().unwrap();
            !names.stdout.is_empty()
        };
        until("the end of the probe", || !hung()).await;
        assert_eq!(node.subject.flavour, Flavour::Python);
    })
    .await;
}

#[tokio::test]
async fn f11_an_interpreter_that_comes_or_goes_is_told_within_a_period() {
    of_python("F11", "it has no interpreter", async |node| {
        let (mut looks, first) = elsewhere(node, OWN_PROGRAMS, "yurt { fingerprint_period = \"1s\" }").await;
        assert!(!versions(&first).contains("3.7.99"), "{first:?}");
        put(node, "python3.7", "#!/bin/sh\necho Python 3.7.99");
        let came = Instant::now();
        let with = next(&mut looks, |look| versions(look).contains("3.7.99")).await;
        assert!(came.elapsed() < patience(Duration::from_secs(10)), "{:?}", came.elapsed());
        assert!(with.attributes.contains_key("driver.python.python3_7"), "{with:?}");
        fs::remove_file(format!("/proc/{}/root/usr/local/bin/python3.7", node.plugin_pid())).unwrap();
        next(&mut looks, |look| !versions(look).contains("3.7.99")).await;
    })
    .await;
}
