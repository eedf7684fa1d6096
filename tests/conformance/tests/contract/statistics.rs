//! The stream of figures.

use std::time::{Duration, Instant, SystemTime};

use yurt_conformance::place::Place;
use yurt_conformance::process::PATIENCE;
use yurt_nomad::client::Figures;
use yurt_nomad::device::GroupStats;

use crate::agents::{EVERYTHING, adapter_and_key, ids, serving, until};

async fn next(figures: &mut Figures) -> Vec<GroupStats> {
    tokio::time::timeout(PATIENCE, figures.next()).await.expect("no figures").unwrap()
}

#[tokio::test]
async fn every_offered_instance_has_figures_with_the_time_they_were_taken() {
    let mut agent = adapter_and_key().await;

    let mut figures = agent.launched.device.stats(Duration::from_millis(100)).await.unwrap();
    let groups = next(&mut figures).await;
    let names = |vendor: &str, kind: &str, name: &str| format!("{vendor}/{kind}/{name}");
    let expected: Vec<_> = agent.offered.iter().map(|g| names(&g.vendor, &g.kind, &g.name)).collect();
    assert_eq!(groups.iter().map(|g| names(&g.vendor, &g.kind, &g.name)).collect::<Vec<_>>(), expected);
    // The client leaves out what has no time, as an agent does.
    let measured: Vec<&str> = groups.iter().flat_map(|group| group.instances.keys().map(String::as_str)).collect();
    assert_eq!(measured, ids(&agent.offered));
    for stats in groups.iter().flat_map(|group| group.instances.values()) {
        let age = SystemTime::now().duration_since(stats.timestamp).unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{age:?} old");
        assert!(!stats.summary.description.is_empty() && !stats.stats.values.is_empty(), "{stats:?}");
    }
}

#[tokio::test]
async fn figures_come_as_often_as_asked_and_the_stream_survives_an_unplug() {
    let mut agent = adapter_and_key().await;
    let mut figures = agent.launched.device.stats(Duration::from_millis(200)).await.unwrap();
    next(&mut figures).await;
    let began = Instant::now();
    for _ in 0..5 {
        next(&mut figures).await;
    }
    // Never faster; slower only as the machine is.
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());

    agent.bus.unplug("1-2").unwrap();
    until(&mut agent.offers, |groups| ids(groups) == ["sn-0001"]).await;
    loop {
        let groups = next(&mut figures).await;
        if groups.iter().map(|group| group.instances.len()).sum::<usize>() == 1 {
            break;
        }
    }
}

#[tokio::test]
async fn with_nothing_to_measure_the_stream_is_open_all_the_same() {
    let place = Place::new();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut figures = launched.device.stats(Duration::from_millis(100)).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            let groups = figures.next().await.unwrap();
            assert_eq!(groups, []);
        }
    });
    assert!(end.await.is_err());
}
