//! What the kernel says of a boot, a process and its end, read the same way by whoever writes it down and whoever compares.

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

impl Exit {
    /// Code and signal of a status in the form of `wait(2)`.
    pub fn of_status(status: i32) -> Exit {
        let signal = status & 0x7f;
        let code = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
        Exit { code, signal: signal.unsigned_abs(), ..Exit::default() }
    }
}
