//! What the kernel says of a boot, a process and its end, read the same way by whoever writes it down and whoever compares.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::files::Exit;

/// `PID_FS_MAGIC` of `linux/magic.h`: the file system in which a pidfd's inode is its process's own (Linux ≥ 6.9). Before, all share one.
const PID_FS: u64 = 0x5049_4446;

/// 16 bytes that are others after every boot: `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> io::Result<Vec<u8>> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    Ok(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// The inode of a pidfd, unique since boot; `None`: this kernel's says nothing.
pub fn inode(pidfd: impl AsFd) -> Option<u64> {
    let system = rustix::fs::fstatfs(&pidfd).ok()?;
    (system.f_type as u64 == PID_FS).then_some(())?;
    Some(rustix::fs::fstat(&pidfd).ok()?.st_ino)
}

/// Some fields of `/proc/<pid>/stat`: `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its letter: `R`, `S`, `Z`, …
    pub state: u8,
    /// The process id of its parent, 0: none that can be seen here.
    pub parent: u32,
    /// Its session's id.
    pub session: u32,
    /// Time in user mode, in clock ticks.
    pub user_ticks: u64,
    /// Time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
    /// Resident memory, in pages.
    pub rss_pages: u64,
    /// In the form of `wait(2)`; 0 as well where the kernel does not tell.
    pub exit_status: i32,
}

impl Stat {
    /// Of the process with this number now; `None`: there is none.
    pub fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Of every process that can be seen here.
    pub fn all() -> BTreeMap<u32, Stat> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, Stat::read(pid)?))).collect()
    }

    /// It has ended, and its parent has not taken notice.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn parse(line: &[u8]) -> Option<Stat> {
        // The name in field 2 may hold any bytes, brackets too: what counts is behind the last one, from field 3 on.
        let name_end = line.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        Some(Stat {
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            start_time: number(22)?,
            rss_pages: number(24)?,
            exit_status: field(52).and_then(|field| field.parse().ok()).unwrap_or(0),
        })
    }
}

impl Exit {
    /// Code and signal of a status in the form of `wait(2)`.
    pub fn of_status(status: i32) -> Exit {
        let signal = status & 0x7f;
        let code = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
        Exit { code, signal: signal.unsigned_abs(), ..Exit::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_bytes_does_not_shift_the_fields() {
        let line =
            b"42 (a) b\xff (c) S 7 42 9 0 -1 4194304 1 2 3 4 11 12 0 0 20 0 1 0 777 1000 55 18446744073709551615 \
                     1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256";
        let expected = Stat {
            state: b'S',
            parent: 7,
            session: 9,
            user_ticks: 11,
            system_ticks: 12,
            start_time: 777,
            rss_pages: 55,
            exit_status: 256,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse(&line[..60]), None);
    }

    #[test]
    fn this_process_is_among_all() {
        let own = std::process::id();
        let stat = Stat::all().remove(&own).expect("it runs");
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert!(!stat.is_zombie());
    }

    #[test]
    fn a_boot_has_a_name_of_sixteen_bytes() {
        assert_eq!(boot_id().expect("/proc").len(), 16);
    }
}
