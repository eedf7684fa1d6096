//! The file: the newest calls at its end, the oldest cut off now and then. It is whole at every moment, but for half a line at its end
//! if the machine stops in the middle of it.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::form::Recording;

/// Bytes that the file holds at most once it was cut.
const BYTES: u64 = 16 << 20;

/// A recording that is written. It has at least the last so many calls, and at most twice as many.
#[derive(Debug)]
pub(super) struct Ring {
    path: PathBuf,
    file: File,
    /// Of whole lines.
    length: u64,
    lines: VecDeque<Line>,
    calls: usize,
    most: usize,
    /// What the calls at the end are under.
    header: Option<String>,
}

#[derive(Debug)]
struct Line {
    bytes: u64,
    /// A guest's.
    header: bool,
}

impl Ring {
    /// Goes on with what is there. An error says what is wrong.
    pub(super) fn open(path: &Path, most: usize) -> Result<Ring, String> {
        let named = |why: io::Error| format!("{}: {why}", path.display());
        let dir = path.parent().ok_or_else(|| format!("{}: it has no directory", path.display()))?;
        ours(dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        let file = opened(path).map_err(named)?;
        let status = file.metadata().map_err(named)?;
        if !status.is_file() || status.nlink() != 1 || status.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!("{}: not a file that was recorded here; move it away", path.display()));
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(format!("{}: another plugin records there; give each agent a directory", path.display()));
        }
        let mut ring =
            Ring { path: path.to_owned(), file, length: 0, lines: VecDeque::new(), calls: 0, most, header: None };
        ring.scan().map_err(named)?;
        ring.file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(named)?;
        Ok(ring)
    }

    /// Takes stock of the lines that are there, and cuts off half a one.
    fn scan(&mut self) -> io::Result<()> {
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.last() != Some(&b'\n') {
                break;
            }
            let header = line.starts_with(b"{\"recording\"");
            if self.lines.is_empty() && Recording::read(line.as_slice()).is_err() {
                return Err(io::Error::other("it is no recording of this release; move it away"));
            }
            self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
            self.lines.push_back(Line { bytes: u64::try_from(line.len()).unwrap_or(u64::MAX), header });
            self.calls += usize::from(!header);
            line.clear();
        }
        if self.lines.is_empty() && !line.is_empty() && !line.starts_with(b"{") {
            return Err(io::Error::other("it is no recording; move it away"));
        }
        self.file.set_len(self.length)
    }

    /// Adds a call, under a header where that is another than before.
    pub(super) fn add(&mut self, header: &str, call: &str) -> Result<(), String> {
        let named = |path: &Path, why: &io::Error| format!("{}: {why}", path.display());
        if self.calls >= self.most.saturating_mul(2) || self.length >= BYTES * 2 {
            self.cut().map_err(|why| named(&self.path, &why))?;
        }
        let fresh = self.header.as_deref() != Some(header);
        let mut text = Vec::with_capacity(header.len() + call.len() + 2);
        for line in fresh.then_some(header).into_iter().chain([call]) {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        if let Err(why) = self.file.write_all(&text) {
            // What came of it is taken back, so that the next line does not go on with half of this one.
            drop(self.file.set_len(self.length));
            return Err(named(&self.path, &why));
        }
        let bytes = |line: &str| u64::try_from(line.len()).unwrap_or(u64::MAX) + 1;
        if fresh {
            self.lines.push_back(Line { bytes: bytes(header), header: true });
            self.header = Some(header.to_owned());
        }
        self.lines.push_back(Line { bytes: bytes(call), header: false });
        self.length += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.calls += 1;
        Ok(())
    }

    /// Puts a file with the last calls in the place of this one.
    fn cut(&mut self) -> io::Result<()> {
        // What is kept, from its end; and the header that its first call is under.
        let (mut from, mut calls, mut first) = (self.length, 0, self.lines.len());
        for (at, line) in self.lines.iter().enumerate().rev() {
            if calls == self.most || self.length - (from - line.bytes) > BYTES {
                break;
            }
            calls += usize::from(!line.header);
            from -= line.bytes;
            first = at;
        }
        let mut at = 0;
        let mut header = None;
        for line in self.lines.iter().take(first) {
            if line.header {
                header = Some((at, line.bytes));
            }
            at += line.bytes;
        }
        let header = header.filter(|_| self.lines.get(first).is_some_and(|line| !line.header));

        let draft = self.path.with_extension("jsonl.new");
        drop(fs::remove_file(&draft));
        let made = self.copy(&draft, header, from).and_then(|file| {
            fs::rename(&draft, &self.path)?;
            Ok(file)
        });
        let file = made.inspect_err(|_| drop(fs::remove_file(&draft)))?;
        self.lines.drain(..first);
        if let Some((_, bytes)) = header {
            self.lines.push_front(Line { bytes, header: true });
        }
        if !self.lines.iter().any(|line| line.header) {
            self.header = None;
        }
        self.length = self.lines.iter().map(|line| line.bytes).sum();
        self.calls = calls;
        self.file = file;
        Ok(())
    }

    fn copy(&self, to: &Path, header: Option<(u64, u64)>, from: u64) -> io::Result<File> {
        let mut file = opened(to)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut source = &self.file;
        for (start, bytes) in header.into_iter().chain([(from, self.length - from)]) {
            source.seek(SeekFrom::Start(start))?;
            io::copy(&mut source.take(bytes), &mut file)?;
        }
        Ok(file)
    }
}

/// Makes the directory, 0700. One that is there stays as it is, if nobody else may put files into it.
fn ours(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let status = fs::metadata(dir)?;
    let me = rustix::process::geteuid().as_raw();
    if status.uid() != me || status.mode() & 0o022 != 0 {
        let (uid, mode) = (status.uid(), status.mode() & 0o7777);
        let why = format!("others may write there (user {uid}, mode {mode:04o}); name a directory of the plugin's own");
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// To be read and added to; ours alone.
fn opened(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"recording":1,"contract":"0.1.0","guest":{"name":"a","version":"1","digest":"aa","origin":"x"},"secrets":false,"limits":{}}"#;
    const TWO: &str = r#"{"recording":1,"contract":"0.1.0","guest":{"name":"a","version":"2","digest":"bb","origin":"x"},"secrets":false,"limits":{}}"#;

    fn call(number: usize) -> String {
        format!(
            r#"{{"at":{number},"call":"check-config","asked":{{"config":"{{}}"}},"answered":{{"diagnostics":[]}},"receipt":{{}}}}"#
        )
    }

    fn read(path: &Path) -> Recording {
        Recording::open(path).unwrap()
    }

    fn numbers(path: &Path) -> Vec<usize> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("{\"at\":")?.split(',').next()?.parse().ok()).collect()
    }

    #[test]
    fn the_file_has_the_last_calls_under_their_own_guest_however_many_there_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r/usb.jsonl");
        let mut ring = Ring::open(&path, 4).unwrap();
        for number in 0..100 {
            ring.add(if number % 10 < 7 { ONE } else { TWO }, &call(number)).unwrap();
            let there = numbers(&path);
            assert!(there.len() <= 8 && there.len() >= 4.min(number + 1), "{there:?}");
            assert_eq!(*there.last().unwrap(), number);
            assert!(there.windows(2).all(|two| two[0] + 1 == two[1]), "{there:?}");
            assert_eq!(ring.length, fs::metadata(&path).unwrap().len());
            for section in read(&path).sections {
                let two = section.header.guest.digest == "bb";
                let text = fs::read_to_string(&path).unwrap();
                for call in section.calls {
                    let at = text.lines().nth(call.line - 1).unwrap();
                    let at: usize = at.strip_prefix("{\"at\":").unwrap().split(',').next().unwrap().parse().unwrap();
                    assert_eq!(at % 10 >= 7, two, "call {at}");
                }
            }
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("r")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn half_a_line_is_read_over_and_cut_off_by_the_next_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usb.jsonl");
        let mut ring = Ring::open(&path, 4).unwrap();
        ring.add(ONE, &call(1)).unwrap();
        drop(ring);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&call(2).as_bytes()[..30]).unwrap();
        let half = read(&path);
        assert!(half.cut && half.sections[0].calls.len() == 1);
        Ring::open(&path, 4).unwrap().add(ONE, &call(3)).unwrap();
        assert_eq!(numbers(&path), [1, 3]);
        assert!(!read(&path).cut);
        // In the middle it is damage.
        fs::write(&path, format!("{ONE}\n{{\"at\n{}\n", call(1))).unwrap();
        assert_eq!(Recording::open(&path).unwrap_err(), format!("{}: line 2: it is damaged", path.display()));
    }

    #[test]
    fn a_file_that_is_no_recording_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usb.jsonl");
        for text in ["root:x:0:0\n", "something", "{\"recording\":2}\n"] {
            fs::write(&path, text).unwrap();
            let why = Ring::open(&path, 4).unwrap_err();
            assert!(why.contains("move it away"), "{why}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        Ring::open(&path, 4).unwrap_err();
    }

    #[test]
    fn a_directory_that_is_there_is_neither_changed_nor_shared() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        drop(Ring::open(&dir.path().join("usb.jsonl"), 4).unwrap());
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o755);
        for open in [0o775, 0o1777] {
            mode(open);
            let why = Ring::open(&dir.path().join("usb.jsonl"), 4).unwrap_err();
            assert!(why.contains("others may write there"), "{why}");
        }
    }

    #[test]
    fn two_plugins_do_not_write_into_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usb.jsonl");
        let mut first = Ring::open(&path, 1).unwrap();
        for number in 0..10 {
            first.add(ONE, &call(number)).unwrap();
            assert!(Ring::open(&path, 1).unwrap_err().contains("another plugin"));
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let path = Path::new("/dev/full");
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let mut ring =
            Ring { path: path.to_owned(), file, length: 0, lines: VecDeque::new(), calls: 0, most: 4, header: None };
        let why = ring.add(ONE, &call(1)).unwrap_err();
        assert!(why.contains("No space left"), "{why}");
        assert!(ring.lines.is_empty() && ring.header.is_none() && ring.calls == 0);
    }
}
