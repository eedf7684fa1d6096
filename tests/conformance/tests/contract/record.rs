//! What a plugin's guest was asked, in a file: who may read it, how large it gets, and that it is answered the same again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use yurt_conformance::binary::binary;
use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::PATIENCE;

use crate::guests::{acme, file};
use crate::swap::{Served, replace, served, version};

fn config(record: &Path, more: &str) -> String {
    format!("yurt {{\n settle = \"20ms\"\n record = {:?}\n {more}\n}}", record.display().to_string())
}

/// The call of each line, and none of a guest's.
fn calls(recording: &Path) -> Vec<String> {
    let text = fs::read_to_string(recording).unwrap_or_default();
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter_map(|line| line["call"].as_str().map(str::to_owned)).collect()
}

/// Waits until so many reservations stand in the file.
fn recorded(recording: &Path, reservations: usize) {
    let end = Instant::now() + PATIENCE;
    while calls(recording).iter().filter(|call| *call == "reserve").count() < reservations {
        assert!(Instant::now() < end, "{:?}", calls(recording));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn yurt(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("YURT_RUNTIME_DIR", place.runtime()).env("YURT_STATE_DIR", place.state());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn component(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let file = place.root().join(name);
    replace(&file, bytes);
    file
}

#[tokio::test]
async fn what_was_recorded_is_answered_the_same_again_and_otherwise_by_a_changed_guest() {
    let place = acme(&version("alpha").component());
    let record = place.root().join("record");
    let mut served = served(place, &config(&record, "")).await;
    for ids in [&["thing-1"][..], &["thing-2"], &["thing-1", "thing-2"]] {
        served.device.reserve(ids.iter().map(|id| (*id).to_owned()).collect()).await.unwrap();
    }
    let recording = record.join("acme.jsonl");
    recorded(&recording, 3);
    assert_eq!(fs::metadata(&recording).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&record).unwrap().mode() & 0o777, 0o700);
    let kinds: BTreeSet<String> = calls(&recording).into_iter().collect();
    assert!(kinds.contains("group") && kinds.contains("reserve"), "{kinds:?}");
    let Served { place, process, .. } = served;
    drop(process);

    let file_name = recording.display().to_string();
    let same = yurt(&place, &["guest", "replay", &file_name]);
    assert!(same.status.success() && text(&same).contains("every answer as it was recorded"), "{}", text(&same));
    let beta = component(&place, "beta.wasm", &version("beta").component()).display().to_string();
    let other = yurt(&place, &["guest", "replay", &file_name, "--guest", &beta]);
    let said = text(&other);
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("instead") && said.contains("alpha") && said.contains("beta"), "{said}");
    let found: Value =
        serde_json::from_slice(&yurt(&place, &["guest", "replay", &file_name, "--guest", &beta, "--json"]).stdout)
            .unwrap();
    assert!(found["different"].as_array().unwrap().len() >= 4 && found["cut"] == false, "{found:#}");

    // As it is, it is a case of a guest's folder.
    let cases = place.root().join("cases");
    fs::create_dir(&cases).unwrap();
    fs::copy(&recording, cases.join("recorded.jsonl")).unwrap();
    let folder = cases.display().to_string();
    let alpha = file(&place).display().to_string();
    let holds = yurt(&place, &["guest", "check", &alpha, "--cases", &folder]);
    assert!(holds.status.success() && text(&holds).contains("all 1 cases hold"), "{}", text(&holds));
    let fails = yurt(&place, &["guest", "check", &beta, "--cases", &folder]);
    assert!(!fails.status.success() && text(&fails).contains("1 of 1 cases do not hold"), "{}", text(&fails));

    // What it is measured with, too.
    let bench = yurt(&place, &["guest", "bench", &alpha, "--recording", &file_name, "--seconds", "1", "--json"]);
    let figures: Value = serde_json::from_slice(&bench.stdout).unwrap_or_else(|why| panic!("{why}: {}", text(&bench)));
    let calls = figures["calls"].as_array().unwrap();
    assert!(calls.iter().any(|call| call["call"] == "reserve"), "{figures:#}");
    for call in calls {
        for figure in ["count", "median-nanoseconds", "p99-nanoseconds", "guest-nanoseconds", "bytes-in", "fuel"] {
            assert!(call[figure].as_u64().is_some_and(|value| value > 0), "{figure}: {figures:#}");
        }
    }

    // The guest that was recorded is not there any more.
    replace(&file(&place), &version("beta").component());
    let gone = yurt(&place, &["guest", "replay", &file_name]);
    assert!(!gone.status.success() && text(&gone).contains("name a component with --guest"), "{}", text(&gone));
}

#[tokio::test]
async fn a_recording_of_the_built_in_guest_needs_no_file_of_it_and_survives_a_kill_in_the_middle_of_a_line() {
    let place = Place::new();
    let record = place.root().join("record");
    let everything = format!("rule {{}}\n{}", config(&record, ""));
    let mut served = served(place, &everything).await;
    served.device.reserve(vec!["sn-0001".to_owned()]).await.unwrap();
    let name = served.place.program().file_name().unwrap().to_string_lossy().into_owned();
    let recording = record.join(format!("{name}.jsonl"));
    recorded(&recording, 1);
    let Served { place, process, .. } = served;
    drop(process);
    let whole = fs::read(&recording).unwrap();
    fs::write(&recording, &whole[..whole.len() - 7]).unwrap();
    let replayed = yurt(&place, &["guest", "replay", &recording.display().to_string()]);
    let said = text(&replayed);
    assert!(replayed.status.success() && said.contains("half a line") && said.contains("every answer"), "{said}");
}

#[tokio::test]
async fn the_file_holds_the_last_calls_and_no_more_than_twice_as_many() {
    let place = acme(&version("alpha").component());
    let record = place.root().join("record");
    let mut served = served(place, &config(&record, "record_calls = 4")).await;
    let recording = record.join("acme.jsonl");
    for _ in 0..60 {
        served.device.reserve(vec!["thing-1".to_owned()]).await.unwrap();
        let there = calls(&recording).len();
        assert!(there <= 8, "{there}");
    }
    recorded(&recording, 4);
    let same = yurt(&served.place, &["guest", "replay", &recording.display().to_string()]);
    assert!(same.status.success(), "{}", text(&same));
    let leftover: Vec<_> = fs::read_dir(&record).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(leftover, ["acme.jsonl"]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_one_sentence_and_no_call() {
    let place = acme(&version("alpha").component());
    let file = place.root().join("a-file");
    fs::write(&file, "x").unwrap();
    let mut served = served(place, &config(&file.join("record"), "")).await;
    served.process.says("calls are not recorded, and the plugin serves on");
    for _ in 0..5 {
        served.device.reserve(vec!["thing-1".to_owned()]).await.unwrap();
    }
    let lines = log::all_valid(&served.process.log());
    let said: Vec<_> = lines.iter().filter(|line| line.message.contains("recorded")).collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].message.contains("a-file"), "{said:#?}");
}

#[tokio::test]
async fn a_file_that_is_no_recording_is_not_written_to() {
    let place = acme(&version("alpha").component());
    fs::create_dir(place.root().join("taken")).unwrap();
    let taken = place.root().join("taken/acme.jsonl");
    fs::write(&taken, "mine\n").unwrap();
    fs::set_permissions(place.root().join("taken"), fs::Permissions::from_mode(0o700)).unwrap();
    let served = served(place, &config(taken.parent().unwrap(), "")).await;
    served.process.says("move it away");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine\n");
}

#[tokio::test]
async fn status_and_metrics_say_what_the_guest_took() {
    let place = acme(&version("alpha").component());
    let record = place.root().join("record");
    let mut served = served(place, &config(&record, "")).await;
    for _ in 0..3 {
        served.device.reserve(vec!["thing-1".to_owned()]).await.unwrap();
    }
    recorded(&record.join("acme.jsonl"), 3);
    let status: Value = serde_json::from_slice(&yurt(&served.place, &["guest", "status", "--json"]).stdout).unwrap();
    let status = &status["status"];
    let digest = status["serving"]["digest"].as_str().unwrap().to_owned();
    let guest = status["calls"].as_array().unwrap().iter().find(|guest| guest["digest"] == digest.as_str()).unwrap();
    let reserve = guest["calls"].as_array().unwrap().iter().find(|call| call["call"] == "reserve").unwrap();
    // One more was its trial's.
    assert!(reserve["count"].as_u64().is_some_and(|count| (3..=4).contains(&count)), "{reserve:#}");
    assert_eq!(status["recording"]["left_out"], 0);
    let shown = text(&yurt(&served.place, &["guest", "status"]));
    assert!(shown.contains("reserve") && shown.contains("p99") && shown.contains("acme.jsonl"), "{shown}");

    let metrics = text(&yurt(&served.place, &["guest", "metrics"]));
    let sample = metrics
        .lines()
        .find(|line| line.starts_with("yurt_guest_calls_total{plugin=\"acme\"") && line.contains("call=\"reserve\""));
    let count = reserve["count"].as_u64().unwrap();
    assert!(sample.is_some_and(|line| line.ends_with(&format!("}} {count}"))), "{metrics}");
    assert!(metrics.contains("yurt_recorded_calls_total{plugin=\"acme\",outcome=\"left_out\"} 0"), "{metrics}");
}
