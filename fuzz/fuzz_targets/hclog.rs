//! The log between a plugin and its parent, both ways: no event makes a line that a parent chokes on, and no bytes make ours choke.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tracing::Level;
use yurt_fuzz::text;
use yurt_go_plugin::client::{Form, LogLine};
use yurt_go_plugin::fuzzing;

/// Go's library reads with a buffer of this many bytes.
const BUFFER: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    is_written_well(bytes);
    is_read_whole(bytes);
});

/// Fields are names and values between zero bytes. The first byte says how often each value is repeated, mostly once, so that a
/// short input can make a long line.
fn is_written_well(bytes: &[u8]) {
    let Some((often, rest)) = bytes.split_first() else { return };
    let often = 1 << often.saturating_sub(0xf3);
    let mut texts = rest.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        fields.push((name.into_owned(), value.repeat(often)));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let module = fields.last().map_or("", |(name, _)| name);
    let written = fuzzing::log_line(Level::WARN, module, &fields);

    assert!(written.len() < BUFFER, "a line of {} bytes", written.len());
    let line = written.strip_suffix('\n').expect("a newline at the end");
    let Ok(Value::Object(entry)) = serde_json::from_str(line) else { panic!("no JSON object: {line}") };
    let own = ["@level", "@message", "@module", "@timestamp"];
    assert!(own.iter().all(|key| entry[*key].is_string()), "{line}");
    assert!(entry.keys().all(|key| !key.starts_with('@') || own.contains(&key.as_str())), "{line}");
    for value in entry.values().filter_map(Value::as_str) {
        text::is_fit_for_a_log(value, BUFFER);
    }

    let lines = read(written.as_bytes());
    let [read] = lines.as_slice() else { panic!("{} lines instead of one", lines.len()) };
    assert_eq!((read.form, read.level), (Form::Entry, Level::WARN), "{line}");
    assert_eq!(Some(read.message.as_str()), entry["@message"].as_str());
    assert_eq!(read.fields.len(), entry.len() - own.len());
}

/// Two bytes that no text holds stand for a stretch of text, so that lines outgrow the buffer.
fn is_read_whole(bytes: &[u8]) {
    let mut stderr = Vec::new();
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        match rest {
            [0xff, 0xfe, behind @ ..] if stderr.len() < 3 * BUFFER => {
                stderr.resize(stderr.len() + BUFFER / 4, b'y');
                rest = behind;
            }
            _ => {
                stderr.push(*byte);
                rest = behind;
            }
        }
    }
    let lines = read(&stderr);
    assert!(lines.iter().all(is_consistent));
    if stderr.is_ascii() && !stderr.contains(&b'\r') {
        let newlines = stderr.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines.iter().map(|line| line.raw.len()).sum::<usize>() + newlines, stderr.len());
        assert!(lines.iter().all(|line| line.raw.len() <= BUFFER));
    }
}

fn is_consistent(line: &LogLine) -> bool {
    match line.form {
        Form::Entry => ["@message", "@level", "@timestamp"].iter().all(|key| !line.fields.contains_key(*key)),
        Form::Text | Form::Piece | Form::Fatal => line.message == line.raw && line.fields.is_empty(),
    }
}

/// Bytes in memory are always there to be read.
fn read(stderr: &[u8]) -> Vec<LogLine> {
    match pin!(fuzzing::read_log(stderr)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(lines) => lines,
        Poll::Pending => panic!("reading waits"),
    }
}
