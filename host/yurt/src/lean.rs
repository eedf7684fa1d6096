//! Gives back what only the start needed: pages of this program's own code.
//!
//! The kernel maps sixteen pages of a file around each one that is touched, so a start that runs once through the parts of a large
//! binary leaves most of them resident for as long as the plugin lives. Dropped, they come back from the page cache if they are
//! ever run again.

use std::fs;
use std::path::Path;

/// Drops the resident pages of the program's code. Called once, when the plugin has come to rest; failing costs memory, no more.
pub(crate) fn forget_the_start() {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in code(&maps, &program) {
        #[allow(unsafe_code)]
        // SAFETY: a private mapping of a file, readable and executable but never writable, so no page of it differs from the file.
        // Discarding one has no effect but that the next access reads it from the file again (madvise(2), MADV_DONTNEED).
        let dropped = unsafe {
            rustix::mm::madvise(std::ptr::without_provenance_mut(start), length, rustix::mm::Advice::LinuxDontNeed)
        };
        if let Err(why) = dropped {
            tracing::debug!(error = %why, "the start's pages stay");
        }
    }
}

/// Start and length of the mappings of `program` that hold code: `55d0c0e5b000-55d0c1a1c000 r-xp 00d5b000 fe:00 1234  /opt/yurt`.
fn code(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let address = |text: &str| usize::from_str_radix(text, 16).ok();
    let mapping = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (from, to) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let path = fields.nth(3)?.trim_start();
        let (from, to) = (address(from)?, address(to)?);
        (permissions == "r-xp" && Path::new(path) == program).then(|| Some((from, to.checked_sub(from)?)))?
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_itself_is_given_back() {
        let maps = "55d0c0000000-55d0c0e5b000 r--p 00000000 fe:00 1234                       /opt/my yurt\n\
                    55d0c0e5b000-55d0c1a1c000 r-xp 00e5a000 fe:00 1234                       /opt/my yurt\n\
                    55d0c1a1c000-55d0c1b00000 rw-p 01a1b000 fe:00 1234                       /opt/my yurt\n\
                    7f0000000000-7f0000010000 r-xp 00000000 00:00 0 \n\
                    7f1000000000-7f1000010000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6\n\
                    nonsense\n";
        assert_eq!(code(maps, Path::new("/opt/my yurt")), [(0x55d0_c0e5_b000, 0xbc_1000)]);
    }

    /// Resident kB of the program's code.
    fn resident() -> u64 {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let start = code(&smaps, &program).first().map(|(start, _)| format!("{start:x}-")).unwrap();
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn code_that_is_not_run_is_no_longer_resident() {
        let before = resident();
        forget_the_start();
        let after = resident();
        // Other tests run meanwhile, and this one does.
        assert!(after < before, "{before} kB before, {after} kB after");
    }
}
