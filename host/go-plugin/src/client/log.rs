//! What a plugin has logged so far, for any number of readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::Level;

use super::lines::LogLine;

/// Lines kept for readers that come late or read slowly.
const KEPT: usize = 10_000;

/// Lines and bytes of an error message that quotes the log.
const LAST_LINES: usize = 8;
const LAST_BYTES: usize = 2000;

#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// Lines so far, and whether that is all.
    state: watch::Sender<(usize, bool)>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    /// Lines before the first one kept.
    gone: usize,
}

impl Default for Log {
    fn default() -> Log {
        Log { kept: Mutex::default(), state: watch::Sender::new((0, false)) }
    }
}

impl Log {
    pub(super) fn push(&self, line: LogLine) {
        let mut kept = self.lock();
        if kept.lines.len() >= KEPT {
            kept.lines.pop_front();
            kept.gone += 1;
        }
        kept.lines.push_back(line);
        drop(kept);
        self.state.send_modify(|(lines, _)| *lines += 1);
    }

    pub(super) fn close(&self) {
        self.state.send_modify(|(_, closed)| *closed = true);
    }

    pub(super) fn read(self: &Arc<Log>) -> LogReader {
        LogReader { state: self.state.subscribe(), log: Arc::clone(self), next: 0 }
    }

    /// Its end, without what is below `info` when there is something else, for an error message.
    pub(super) fn last_words(&self) -> String {
        let kept = self.lock();
        let least = if kept.lines.iter().any(|line| line.level <= Level::INFO) { Level::INFO } else { Level::TRACE };
        let mut words: Vec<String> = Vec::new();
        let mut length = 0;
        for line in kept.lines.iter().rev().filter(|line| line.level <= least).take(LAST_LINES) {
            let text: String = line.message.trim().chars().take(LAST_BYTES / 2).collect();
            length += text.len();
            if length > LAST_BYTES {
                break;
            }
            words.push(text);
        }
        words.reverse();
        words.retain(|text| !text.is_empty());
        words.join(" / ")
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a plugin's log from its first line on. Only a reader that is ten thousand lines behind misses some.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    state: watch::Receiver<(usize, bool)>,
    next: usize,
}

impl LogReader {
    /// Waits for the next line; `None` when stdout and stderr are at their end.
    pub async fn next(&mut self) -> Option<LogLine> {
        let next = self.next;
        let _ = self.state.wait_for(|(lines, closed)| *lines > next || *closed).await;
        self.ready()
    }

    /// The next line if there is one already.
    pub fn ready(&mut self) -> Option<LogLine> {
        let kept = self.log.lock();
        let index = self.next.saturating_sub(kept.gone);
        let line = kept.lines.get(index).cloned()?;
        self.next = kept.gone + index + 1;
        Some(line)
    }

    /// Waits for a line that is as `wanted`, past all others; `None` when the log ends before.
    pub async fn find(&mut self, wanted: impl Fn(&LogLine) -> bool) -> Option<LogLine> {
        loop {
            let line = self.next().await?;
            if wanted(&line) {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: impl IntoIterator<Item = String>) -> Arc<Log> {
        let log = Arc::new(Log::default());
        lines.into_iter().for_each(|line| log.push(LogLine::parse(&line)));
        log
    }

    #[tokio::test]
    async fn every_reader_gets_every_line_and_then_the_end() {
        let log = log(["one".to_owned(), "two".to_owned()]);
        let mut early = log.read();
        assert_eq!(early.next().await.unwrap().raw, "one");
        log.push(LogLine::parse("three"));
        log.close();
        let mut late = log.read();
        assert_eq!(late.find(|line| line.raw.starts_with("th")).await.unwrap().raw, "three");
        assert!(late.next().await.is_none());
        assert_eq!(early.next().await.unwrap().raw, "two");
        assert_eq!(early.next().await.unwrap().raw, "three");
        assert!(early.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_is_far_behind_goes_on_with_the_oldest_line_kept() {
        let log = log((0..KEPT + 5).map(|number| number.to_string()));
        let mut reader = log.read();
        assert_eq!(reader.next().await.unwrap().raw, "5");
        assert_eq!(reader.next().await.unwrap().raw, "6");
        assert_eq!(log.lock().lines.len(), KEPT);
    }

    #[test]
    fn last_words_are_few_and_without_the_small_talk() {
        assert_eq!(log([]).last_words(), "");
        assert_eq!(log(["a".to_owned(), "b".to_owned()]).last_words(), "a / b");
        assert_eq!(
            log(["debug talk".to_owned(), "[ERROR] no bus".to_owned(), "more".to_owned()]).last_words(),
            "[ERROR] no bus"
        );
        assert!(log((0..50).map(|_| "é".repeat(900))).last_words().len() <= LAST_BYTES + LAST_LINES * 3);
    }
}
