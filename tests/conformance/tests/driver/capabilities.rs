//! Capabilities: what is said is so.

use yurt_conformance::driver::{Isolation, Program, each, of_python, soon};
use yurt_nomad::driver::{ExitResult, FsIsolation, NetworkMode};

#[tokio::test]
async fn k01_what_the_driver_can_do_arrives_whole() {
    each("K01", async |node| {
        let can = soon(node.driver.capabilities()).await.unwrap();
        let isolation = match node.subject.isolation {
            Isolation::Chroot => FsIsolation::Chroot,
            Isolation::Overlay => FsIsolation::Image,
            Isolation::Landlock => FsIsolation::Unveil,
            Isolation::None => FsIsolation::None,
        };
        assert_eq!(can.isolation, isolation);
        assert!(can.networks.contains(&NetworkMode::Group), "{:?}", can.networks);
        assert!(!can.makes_network, "{can:?}");
        // An agent that unveils has to give its mounts to somebody.
        assert_eq!(can.dynamic_users, node.subject.isolation == Isolation::Landlock);
    })
    .await;
}

#[tokio::test]
async fn k02_mounts_and_log_collection_are_told_on_the_wire() {
    each("K02", async |node| {
        let can = soon(node.driver.capabilities()).await.unwrap();
        assert_eq!(can.mounts, node.subject.isolation.has_a_root());
        assert!(!can.collects_logs);
    })
    .await;
}

#[tokio::test]
async fn k03_signals_and_commands_work_as_the_flags_say() {
    each("K03", async |node| {
        let can = soon(node.driver.capabilities()).await.unwrap();
        assert!(can.signals && can.exec, "{can:?}");
        let task =
            node.run(Program::shell("trap 'echo got it; exit 0' HUP; echo ready; while :; do sleep 0.1; done")).await;
        task.ready().await;
        assert_eq!(task.exec(&["/bin/true"]).await.exit, ExitResult::code(0));
        task.signal("SIGHUP").await.unwrap();
        task.stdout().says("got it").await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn k04_they_stay_the_same_until_the_driver_is_configured_anew() {
    of_python("K04", "its capabilities do not depend on its configuration", async |node| {
        let first = soon(node.driver.capabilities()).await.unwrap();
        let task = node.run(Program::idle()).await;
        node.try_run(Program::config("interpreter = \"/no/such/python\"\ncode = \"1\"")).await.unwrap_err();
        task.destroy(true).await.unwrap();
        for _ in 0..10 {
            assert_eq!(soon(node.driver.capabilities()).await.unwrap(), first);
        }
        let other = match node.subject.isolation {
            Isolation::Chroot => ("yurt { isolation = \"none\" }", FsIsolation::None),
            _ => ("", FsIsolation::Chroot),
        };
        node.configure(other.0).await.unwrap();
        assert_eq!(soon(node.driver.capabilities()).await.unwrap().isolation, other.1);
    })
    .await;
}
