//! Files and directories of the host for a task's root, with the mounts below them: a layer of the kernel's shows one file system, and
//! not what is mounted in it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat};
use rustix::io::Errno;

use crate::error::StepError;
use crate::launch::HostPaths;

/// Most mounts below the directories of one task.
const MOUNTS_MAX: usize = 256;

/// In the order in which they are to be mounted.
pub(crate) fn with_mounts(wanted: &[String]) -> io::Result<Vec<String>> {
    Ok(below(wanted, &fs::read_to_string("/proc/self/mountinfo")?))
}

fn below(wanted: &[String], mountinfo: &str) -> Vec<String> {
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let inside = |place: &String| wanted.iter().any(|path| path != place && Path::new(place).starts_with(path));
    let mut all = wanted.to_vec();
    all.extend(places.filter(inside).take(MOUNTS_MAX));
    all.sort();
    all.dedup();
    all
}

/// `\040` and the like, by which the kernel writes blanks.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        whole.push(code.unwrap_or(b'\\'));
        whole.extend_from_slice(part.get(if code.is_some() { 3 } else { 0 }..).unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&whole).into_owned()
}

/// The directory that the kernel works in, for nobody else.
pub(crate) fn work(host: &HostPaths) -> Result<OwnedFd, StepError> {
    let failed = |errno| StepError::errno("making a directory for layers", host.work.display().to_string(), errno);
    match mkdirat(CWD, &host.work, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&host.work, flags, Mode::empty()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_a_directory_comes_after_it() {
        let line = |place: &str| format!("36 25 8:1 / {place} rw,relatime shared:1 - ext4 /dev/sda1 rw\n");
        let mountinfo = ["/", "/usr", "/usr/local", "/usrlocal", "/usr/a\\040b", "/proc"].map(line).concat();
        let wanted = ["/usr", "/bin"].map(str::to_owned);
        assert_eq!(below(&wanted, &mountinfo), ["/bin", "/usr", "/usr/a b", "/usr/local"]);
    }
}
