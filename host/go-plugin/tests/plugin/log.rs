//! What a plugin logs, as an application reads it.

use tracing::Level;
use yurt_go_plugin::client::{Form, LogLine};

use crate::common::launch;

async fn said(deed: &str, last: &str) -> Vec<LogLine> {
    let plugin = launch(deed).start().await.unwrap();
    let mut log = plugin.log();
    let mut lines = Vec::new();
    loop {
        let line = log.next().await.unwrap();
        let is_last = line.message.starts_with(last);
        lines.push(line);
        if is_last {
            assert!(plugin.kill().await.graceful);
            return lines;
        }
    }
}

#[tokio::test]
async fn events_spans_and_panics_are_entries_that_no_parent_chokes_on() {
    let lines = said("talk", "end of talk").await;
    for line in &lines {
        assert_eq!((line.form, line.module.as_deref()), (Form::Entry, Some("echo")), "{}", line.raw);
        assert!(line.fields.keys().all(|name| !name.starts_with('@')), "{}", line.raw);
        assert!(!line.message.contains(char::is_control), "{:?}", line.message);
    }
    let find = |message: &str| lines.iter().find(|line| line.message.starts_with(message)).unwrap();

    let numbers = find("numbers");
    assert_eq!(numbers.level, Level::DEBUG);
    let numbers = serde_json::Value::Object(numbers.fields.clone());
    let wanted =
        serde_json::json!({ "count": 3, "ratio": 0.5, "ok": true, "big": "18446744073709551615", "nan": "NaN" });
    assert_eq!(numbers, wanted);

    let span = find("in a");
    assert_eq!(span.level, Level::WARN);
    assert_eq!(span.message, "in a\\nspan\\u{1b}[31m \\u{202e}");
    assert_eq!((&span.fields["device"], &span.fields["attempt"]), (&"1-2".into(), &2.into()));

    let parents = find("names of the parent's");
    assert_eq!(
        serde_json::Value::Object(parents.fields.clone()),
        serde_json::json!({
            "_level": 7, "_message": true, "_timestamp": "now", "_module": 1.5
        })
    );
    assert_eq!(find("5").level, Level::INFO);
    assert!(find("zzz").message.ends_with('…'));

    let panic = find("panic: out of\\nideas");
    assert_eq!((panic.level, &panic.fields["thread"]), (Level::ERROR, &"worker".into()));
    assert!(panic.fields["location"].as_str().unwrap().contains("echo.rs:"), "{}", panic.raw);
    assert!(!lines.iter().any(|line| line.message == "too low"));
}

#[tokio::test]
async fn the_level_can_be_changed_while_it_runs() {
    let lines = said("quieten", "end of").await;
    let seen: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(seen, ["debug at debug", "warn at debug", "warn at warn", "end of quieten"]);
}

#[tokio::test]
async fn a_flood_arrives_whole_and_in_order() {
    let lines = said("flood", "end of flood").await;
    assert_eq!(lines.len(), 5001);
    for (number, line) in lines.iter().take(5000).enumerate() {
        assert_eq!((line.form, line.fields["number"].as_u64()), (Form::Entry, Some(number as u64)));
    }
}

#[tokio::test]
async fn threads_do_not_mix_their_lines() {
    let lines = said("chorus", "end of chorus").await;
    assert_eq!(lines.len(), 8 * 50 + 1);
    assert!(lines.iter().all(|line| line.form == Form::Entry));
}
