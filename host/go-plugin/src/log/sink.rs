//! The way out of the process: a line is one write, and whatever goes wrong with it is no reason to fail or to wait for long.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::Level;

use super::encode::{self, Fields};
use super::file::LogFile;

/// How long a parent that does not read its plugin's log may hold the plugin up, once until it reads again.
const STALL_MAX: Duration = Duration::from_secs(1);

pub(super) struct Sink {
    out: Box<dyn AsFd + Send>,
    /// Nobody will ever read `out` again.
    broken: bool,
    /// Nobody has read it for too long.
    stalled: bool,
    /// Lines that did not go out since it stalled.
    missing: u64,
    /// Of the last one only a part went out.
    torn: bool,
    file: Option<LogFile>,
}

impl Sink {
    pub(super) fn new(out: impl AsFd + Send + 'static) -> Sink {
        Sink { out: Box::new(out), broken: false, stalled: false, missing: 0, torn: false, file: None }
    }

    pub(super) fn fall_back_to(&mut self, file: LogFile) {
        self.file = Some(file);
    }

    /// A line with its newline.
    pub(super) fn write(&mut self, line: &[u8]) {
        if self.out(line) {
            return;
        }
        if let Some(file) = &mut self.file {
            file.append(line);
        }
    }

    /// False when the line did not go out.
    fn out(&mut self, line: &[u8]) -> bool {
        if self.broken {
            return false;
        }
        if self.stalled {
            if !self.writable(Duration::ZERO) {
                self.missing = self.missing.saturating_add(1);
                return false;
            }
            self.stalled = false;
            let missing = std::mem::take(&mut self.missing);
            let end = if std::mem::take(&mut self.torn) { "\n" } else { "" };
            self.send(format!("{end}{}", note(missing)).as_bytes());
        }
        self.send(line)
    }

    fn send(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while !rest.is_empty() {
            if !self.writable(STALL_MAX) {
                self.stalled = true;
                self.torn |= rest.len() < line.len();
                self.missing = self.missing.saturating_add(1);
                return false;
            }
            match rustix::io::write(&self.out, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                // Somebody else's non-blocking pipe that filled up meanwhile: the wait above bounds this.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::PIPE | Errno::BADF | Errno::IO | Errno::NXIO) => {
                    self.broken = true;
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// True also for a broken pipe: writing will tell.
    fn writable(&self, within: Duration) -> bool {
        let mut waited = [PollFd::new(&self.out, PollFlags::OUT)];
        let within = Timespec::try_from(within).ok();
        !matches!(poll(&mut waited, within.as_ref()), Ok(0))
    }
}

fn note(missing: u64) -> String {
    let mut fields = Fields::of_event();
    fields
        .text("message", &format_args!("lines are missing here, because this log was not read for a while: {missing}"));
    encode::line(Level::WARN, "log", std::time::SystemTime::now(), &fields)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _};
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;
    use crate::client::LogLine;

    fn sink() -> (PipeReader, Sink, tempfile::TempDir, PathBuf) {
        let (reader, writer) = std::io::pipe().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut sink = Sink::new(writer);
        sink.fall_back_to(LogFile::new(path.clone()));
        (reader, sink, directory, path)
    }

    #[test]
    fn lines_go_out_while_somebody_reads_and_to_the_file_once_nobody_does() {
        let (mut reader, mut sink, _directory, path) = sink();
        sink.write(b"one\n");
        let mut read = [0; 4];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one\n");
        assert!(!path.exists());
        drop(reader);
        sink.write(b"two\n");
        sink.write(b"three\n");
        assert_eq!(std::fs::read(path).unwrap(), b"two\nthree\n");
    }

    #[test]
    fn a_reader_that_stalls_holds_the_plugin_up_once_and_is_told_later_what_is_missing() {
        let (mut reader, mut sink, _directory, path) = sink();
        let line = format!("{}\n", "x".repeat(1023));
        let started = Instant::now();
        for _ in 0..1000 {
            sink.write(line.as_bytes());
        }
        assert!(started.elapsed() < Duration::from_secs(10));
        // A pipe holds 64 of them; the others are in the file.
        let elsewhere = std::fs::read(path).unwrap().len() / 1024;
        assert!((900..1000).contains(&elsewhere), "{elsewhere}");
        let mut piped = vec![0; (1000 - elsewhere) * 1024];
        reader.read_exact(&mut piped).unwrap();
        sink.write(b"again\n");
        drop(sink);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let (note, line) = rest.split_once('\n').unwrap();
        let note = LogLine::parse(note);
        assert_eq!(note.level, Level::WARN);
        assert!(note.message.ends_with(&format!("for a while: {elsewhere}")), "{}", note.message);
        assert_eq!(line, "again\n");
    }

    #[test]
    fn without_a_file_a_broken_stderr_costs_lines_only() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut sink = Sink::new(writer);
        sink.write(b"one\n");
        assert!(sink.broken);
        sink.write(b"two\n");
    }

    #[test]
    fn a_pipe_that_does_not_block_gets_whole_lines() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        let mut sink = Sink::new(writer);
        let line = format!("{}\n", "y".repeat(60_000));
        for _ in 0..20 {
            sink.write(line.as_bytes());
        }
        drop(sink);
        assert_eq!(reading.join().unwrap().len(), 20 * line.len());
    }

    #[test]
    fn after_a_line_that_went_out_in_part_the_next_begins_anew() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut sink = Sink::new(writer);
        for _ in 0..2 {
            sink.write(format!("{}\n", "z".repeat(50_000)).as_bytes());
        }
        assert!(sink.stalled && sink.torn);
        // All that is there, whatever the pipe's pages hold of it.
        let read = reader.read(&mut vec![0; 128 * 1024]).unwrap();
        assert!(read < 100_002);
        sink.write(b"next\n");
        drop(sink);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let lines: Vec<_> = rest.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "", "next"));
        assert!(LogLine::parse(lines[1]).message.ends_with("for a while: 1"), "{rest}");
    }
}
