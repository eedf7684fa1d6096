//! A plugin's stderr, line by line, judged as Go's library does.

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tracing::Level;

use super::log::Log;

/// The buffer of Go's library; what does not fit with its newline comes in pieces.
const BUFFER: usize = 64 * 1024;

/// A line of a plugin's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// The level at which an application logs it.
    pub level: Level,
    /// `@message`, or the whole line where it is no entry.
    pub message: String,
    /// `@module`.
    pub module: Option<String>,
    /// `@timestamp`, as written.
    pub timestamp: Option<String>,
    /// Everything else of an entry.
    pub fields: Map<String, Value>,
    /// The line as it came.
    pub raw: String,
    /// What an application takes it for.
    pub form: Form,
}

/// What a line on stderr is to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An entry: JSON with level, message and timestamp in the right form.
    Entry,
    /// Text, logged as it is.
    Text,
    /// A piece of a line of 64 KiB or more, logged at debug.
    Piece,
    /// An entry whose level, message or timestamp is no string: a Go parent panics over it.
    Fatal,
}

impl LogLine {
    /// Reads one whole line, without its newline, as an application reads a plugin's first.
    pub fn parse(line: &str) -> LogLine {
        Judge::default().judge(line.as_bytes(), false)
    }
}

/// Until end of file.
pub(super) async fn read_stderr(stderr: impl AsyncRead + Unpin, log: &Log) {
    let mut stderr = BufReader::with_capacity(BUFFER, stderr);
    let mut judge = Judge::default();
    let mut line = Vec::new();
    let mut piece = false;
    while let Ok(chunk) = stderr.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let room = chunk.get(..chunk.len().min(BUFFER - line.len())).unwrap_or_default();
        let newline = room.iter().position(|byte| *byte == b'\n');
        let used = newline.map_or(room.len(), |newline| newline + 1);
        line.extend_from_slice(room.get(..used).unwrap_or_default());
        stderr.consume(used);
        let full = newline.is_none() && line.len() == BUFFER;
        if newline.is_some() || full {
            log.push(judge.judge(&line, piece || full));
            line.clear();
            piece = full;
        }
    }
    if !line.is_empty() {
        log.push(judge.judge(&line, piece));
    }
}

/// Knows whether a Go program has begun to print its panic.
#[derive(Default)]
struct Judge {
    in_panic: bool,
}

impl Judge {
    fn judge(&mut self, line: &[u8], piece: bool) -> LogLine {
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        let raw = String::from_utf8_lossy(line).into_owned();
        if piece {
            return plain(Level::DEBUG, raw, Form::Piece);
        }
        match serde_json::from_str(&raw) {
            Ok(Value::Object(entry)) => judge_entry(entry, raw).unwrap_or_else(|raw| self.judge_text(raw)),
            _ => self.judge_text(raw),
        }
    }

    fn judge_text(&mut self, raw: String) -> LogLine {
        const PREFIXES: [(&str, Level); 5] = [
            ("[TRACE]", Level::TRACE),
            ("[DEBUG]", Level::DEBUG),
            ("[INFO]", Level::INFO),
            ("[WARN]", Level::WARN),
            ("[ERROR]", Level::ERROR),
        ];
        let level = PREFIXES.iter().find(|(prefix, _)| raw.starts_with(prefix)).map(|(_, level)| *level);
        self.in_panic |= level.is_none() && (raw.starts_with("panic: ") || raw.starts_with("fatal error: "));
        plain(level.unwrap_or(if self.in_panic { Level::ERROR } else { Level::DEBUG }), raw, Form::Text)
    }
}

fn plain(level: Level, raw: String, form: Form) -> LogLine {
    LogLine { level, message: raw.clone(), module: None, timestamp: None, fields: Map::new(), raw, form }
}

/// The line itself back when it counts as text.
fn judge_entry(mut entry: Map<String, Value>, raw: String) -> Result<LogLine, String> {
    // In this order, since a bad timestamp ends the reading before what follows it.
    let [message, level, timestamp] = ["@message", "@level", "@timestamp"].map(|key| match entry.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(()),
    });
    let (Ok(message), Ok(level), Ok(timestamp)) = (message, level, timestamp) else {
        return Ok(plain(Level::ERROR, raw, Form::Fatal));
    };
    if timestamp.as_deref().is_some_and(|timestamp| !is_timestamp(timestamp)) {
        return Err(raw);
    }
    let Some(level) = level.as_deref().and_then(named) else {
        // JSON of something other than hclog: logged as it is.
        return Ok(plain(Level::DEBUG, raw, Form::Text));
    };
    let module = match entry.remove("@module") {
        Some(Value::String(module)) => Some(module),
        other => {
            entry.extend(other.map(|module| ("@module".to_owned(), module)));
            None
        }
    };
    let message = message.unwrap_or_default();
    Ok(LogLine { level, message, module, timestamp, fields: entry, raw, form: Form::Entry })
}

fn named(level: &str) -> Option<Level> {
    match level.trim().to_lowercase().as_str() {
        "trace" => Some(Level::TRACE),
        "debug" => Some(Level::DEBUG),
        "info" => Some(Level::INFO),
        "warn" => Some(Level::WARN),
        "error" => Some(Level::ERROR),
        _ => None,
    }
}

/// Whether Go's library would read it: `2006-01-02T15:04:05.000000` with exactly six digits, then `Z` or an offset.
fn is_timestamp(text: &str) -> bool {
    let Some((time, zone)) = text.split_at_checked(26) else { return false };
    let shape = time.bytes().zip("0000-00-00T00:00:00.000000".bytes()).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    let number = |from, to| time.get(from..to).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(u32::MAX);
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    shape
        && (1..=days).contains(&day)
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) < 60
        && is_zone(zone)
}

fn is_zone(zone: &str) -> bool {
    let Some((hours, minutes)) = zone.strip_prefix(['+', '-']).and_then(|offset| offset.split_once(':')) else {
        return zone == "Z";
    };
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if two { digits.parse::<u32>().ok() } else { None }
    };
    number(hours).is_some_and(|hours| hours <= 24) && number(minutes).is_some_and(|minutes| minutes < 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TIME: &str = "2026-03-01T12:00:00.000001Z";

    fn entry(entry: Value) -> LogLine {
        LogLine::parse(&entry.to_string())
    }

    async fn read(stderr: &[u8]) -> Vec<LogLine> {
        let log = std::sync::Arc::new(Log::default());
        read_stderr(stderr, &log).await;
        let mut reader = log.read();
        std::iter::from_fn(|| reader.ready()).collect()
    }

    #[test]
    fn an_entry_is_taken_apart() {
        let line = entry(json!({
            "@level": "Warn", "@message": "hot", "@module": "m", "@timestamp": TIME, "degrees": 90, "timestamp": "x"
        }));
        assert_eq!((line.form, line.level), (Form::Entry, Level::WARN));
        assert_eq!(
            (line.message.as_str(), line.module.as_deref(), line.timestamp.as_deref()),
            ("hot", Some("m"), Some(TIME))
        );
        assert_eq!(Value::Object(line.fields), json!({ "degrees": 90, "timestamp": "x" }));
    }

    #[test]
    fn what_would_make_a_go_parent_panic_is_fatal() {
        for key in ["@level", "@message", "@timestamp"] {
            for value in [json!(1), json!(null), json!(["x"]), json!({}), json!(true)] {
                assert_eq!(entry(json!({ "@level": "info", key: value })).form, Form::Fatal, "{key} {value}");
            }
        }
        assert_eq!(entry(json!({ "@level": "info", "@module": 1 })).form, Form::Entry);
    }

    #[test]
    fn json_that_is_no_entry_is_text_at_debug() {
        let not_entries = [
            json!({ "@message": "no level" }),
            json!({ "@level": "loud", "@message": "m" }),
            json!({ "@level": "info", "@message": "m", "@timestamp": "2026-03-01T12:00:00.001Z" }),
            json!(["@level"]),
            json!(null),
            json!("info"),
        ];
        for value in not_entries {
            let line = entry(value.clone());
            assert_eq!((line.form, line.level, line.message), (Form::Text, Level::DEBUG, value.to_string()));
        }
    }

    #[test]
    fn timestamps_have_six_digits_and_a_zone() {
        for good in [TIME, "2024-02-29T23:59:59.999999+14:00", "2026-03-01T12:00:00.000001-07:30"] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in [
            "",
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.000001",
            "2026-03-01T12:00:00.0000001Z",
            "2026-03-01T12:00:00.00001Z",
            "2026-03-01 12:00:00.000001Z",
            "2025-02-29T12:00:00.000001Z",
            "2026-13-01T12:00:00.000001Z",
            "2026-03-00T12:00:00.000001Z",
            "2026-03-01T24:00:00.000001Z",
            "2026-03-01T12:60:00.000001Z",
            "2026-03-01T12:00:60.000001Z",
            "2026-03-01T12:00:00.000001+0700",
            "2026-03-01T12:00:00.000001+7:00",
            "2026-03-01T12:00:00.000001z",
            "2026-03-01T12:00:00.00000éZ",
        ] {
            assert!(!is_timestamp(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn text_has_the_level_of_its_prefix_and_everything_after_a_go_panic_is_an_error() {
        let lines =
            read(b"plain\r\n[WARN] w\n[INFO]i\n [ERROR] not at the start\npanic: oh\n\ngoroutine 1\n[DEBUG] d\nlast")
                .await;
        let seen: Vec<_> = lines.iter().map(|line| (line.level, line.message.as_str())).collect();
        assert_eq!(
            seen,
            [
                (Level::DEBUG, "plain"),
                (Level::WARN, "[WARN] w"),
                (Level::INFO, "[INFO]i"),
                (Level::DEBUG, " [ERROR] not at the start"),
                (Level::ERROR, "panic: oh"),
                (Level::ERROR, ""),
                (Level::ERROR, "goroutine 1"),
                (Level::DEBUG, "[DEBUG] d"),
                (Level::ERROR, "last"),
            ]
        );
    }

    #[tokio::test]
    async fn a_line_that_does_not_fit_the_buffer_comes_in_pieces() {
        let fits = "x".repeat(BUFFER - 1);
        let lines = read(format!("{fits}\n{fits}yz\nnext\n").as_bytes()).await;
        let seen: Vec<_> = lines.iter().map(|line| (line.form, line.raw.len())).collect();
        assert_eq!(seen, [(Form::Text, BUFFER - 1), (Form::Piece, BUFFER), (Form::Piece, 1), (Form::Text, 4)]);
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_replaced() {
        let lines = read(b"{\"@level\":\"info\",\"@message\":\"a\xffb\"}\n").await;
        assert_eq!((lines[0].form, lines[0].message.as_str()), (Form::Entry, "a\u{fffd}b"));
    }
}
