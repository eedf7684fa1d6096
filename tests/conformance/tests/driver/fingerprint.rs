//! Fingerprint: what the node gets to know of the driver.

use std::time::{Duration, Instant};

use yurt_conformance::driver::{each, of_yurt, soon};
use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::driver::Health;

#[tokio::test]
async fn f01_the_driver_is_healthy_within_five_seconds() {
    each("F01", async |node| {
        let began = Instant::now();
        let mut looks = soon(node.driver.fingerprint()).await.unwrap();
        let first = soon(looks.next()).await.unwrap();
        assert!(matches!(first.health, Health::Healthy { .. }), "{first:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let name = format!("driver.{}", node.subject.flavour.name());
        assert_eq!(first.attributes.get(&name), Some(&Attribute::flag(true)));
        assert!(first.attributes.keys().all(|key| key.starts_with(&name)), "{:?}", first.attributes);
    })
    .await;
}

#[tokio::test]
async fn f05_the_interpreters_version_is_an_attribute() {
    of_yurt("F05", "it has no interpreter", async |node| {
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
