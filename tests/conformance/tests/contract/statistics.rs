//! The stream of figures.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use yurt_conformance::place::Place;
use yurt_conformance::process::PATIENCE;
use yurt_nomad::client::Figures;
use yurt_nomad::device::GroupStats;
use yurt_usb::sim::models;

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

/// What a scraper gets from a socket file.
async fn scraped(socket: &Path, question: &str) -> String {
    let (socket, question) = (socket.to_owned(), question.to_owned());
    tokio::task::spawn_blocking(move || said(&socket, &question)).await.unwrap()
}

fn said(socket: &Path, question: &str) -> String {
    let since = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(why) => assert!(since.elapsed() < Duration::from_secs(20), "{why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.write_all(format!("{question} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn figures_are_served_to_scrapers_of_this_machine_where_the_operator_says() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    bus.set_attribute("1-2", "authorized", "0\n").unwrap();
    let socket = place.root().join("metrics.sock");
    let config = format!("rule {{}}\nyurt {{\n settle = \"20ms\"\n metrics = \"unix:{}\"\n}}", socket.display());
    let mut launched = serving(&place, &config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups).len() == 2).await;
    let answer = scraped(&socket, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    let stick = |line: &&str| line.starts_with("yurt_usb_device_healthy{") && line.contains("id=\"sn-5B1C07A2\"");
    assert!(answer.lines().find(stick).is_some_and(|line| line.ends_with(" 0")), "{answer}");
    for sample in [
        "yurt_usb_plugged 3",
        "yurt_usb_device_link_megabits{id=\"sn-0001\",port=\"1-1\"} 12",
        "yurt_usb_device_info{id=\"sn-0001\",port=\"1-1\",vendor_id=\"0x10c4\",product_id=\"0xea60\"} 1",
    ] {
        assert!(answer.lines().any(|line| line == sample), "{sample}: {answer}");
    }
    assert!(
        answer.contains("yurt_usb_device_urbs_total{id=\"sn-0001\"")
            && answer.contains("yurt_guest_calls_total{plugin=\"usb\"")
    );
    assert!(scraped(&socket, "GET /").await.starts_with("HTTP/1.1 404 "));
    assert!(scraped(&socket, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
    assert!(scraped(&socket, "nonsense").await.starts_with("HTTP/1.1 400 "));
    assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
}
