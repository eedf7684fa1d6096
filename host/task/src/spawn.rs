//! Spawning keepers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::cgroup::keepers::{self, Entrance};
use crate::error::StepError;
use crate::image::{Image, above_streams};
use crate::sys::{self, SpawnError};

const STEP: &str = "starting the task's keeper";

/// Spawns a keeper with `socket`, in the control groups of keepers as far as they let it in. `runtime` is where its program goes if it cannot be executed from
/// memory. Returns its pidfd. Blocks for about 100 µs.
pub(crate) fn keeper(
    image: &Image,
    runtime: BorrowedFd<'_>,
    socket: OwnedFd,
    directories: &[(bool, PathBuf)],
) -> Result<OwnedFd, StepError> {
    let failed = |what: &str, errno| StepError::errno(STEP, what, errno);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .and_then(above_streams)
        .map_err(|errno| failed("/dev/null", errno))?;
    let socket = above_streams(socket).map_err(|errno| failed("its socket", errno))?;
    let mut program = match image.in_memory() {
        Some(program) => program,
        None => image.in_file(runtime)?,
    };
    let mut directories = directories.to_vec();
    let mut again = 0;
    loop {
        let entrance = Entrance::open(&directories);
        let groups = entrance.v1();
        let spawned = sys::spawn(program, c"yurt-keeper", null.as_fd(), socket.as_fd(), entrance.v2(), &groups);
        match spawned {
            Ok(keeper) => return Ok(keeper),
            Err(SpawnError::Execute(Errno::ACCESS | Errno::PERM)) if again == 0 => program = image.in_file(runtime)?,
            Err(SpawnError::Cgroup(_, errno) | SpawnError::Clone(errno))
                if keepers::was_removed(errno) && again < 10 => {}
            Err(SpawnError::Clone(errno)) => return Err(failed("making its process", errno)),
            Err(SpawnError::Descriptors(errno)) => return Err(failed("its descriptors", errno)),
            Err(SpawnError::Cgroup(index, errno)) => {
                let refused = entrance.path(index);
                let why = std::io::Error::from(errno);
                tracing::warn!("keepers stay in this plugin's control group: {}: {why}", refused.display());
                directories.retain(|(_, path)| *path != refused);
            }
            Err(SpawnError::Execute(errno)) => return Err(failed("executing it", errno)),
        }
        again += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// The process of a pidfd.
    fn pid(pidfd: &OwnedFd) -> u32 {
        use std::os::fd::AsRawFd;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("/proc");
        info.lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .and_then(|pid| pid.trim().parse().ok())
            .expect("a process")
    }

    fn eventually(holds: impl Fn() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !holds() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        holds()
    }

    /// Spawns one, looks at it, and lets it end by closing its socket.
    fn look(spawn: impl Fn(&OwnedFd, &OwnedFd) -> OwnedFd) {
        let null =
            above_streams(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("null"));
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("sockets");
        let theirs = above_streams(theirs).expect("a number");
        let keeper = spawn(&null.expect("a number"), &theirs);
        drop(theirs);
        let pid = pid(&keeper);
        assert!(eventually(|| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"yurt-keeper\0")));
        assert!(eventually(|| {
            let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut fds: Vec<_> = fds.filter_map(|fd| fd.file_name().into_string().ok()).collect();
            fds.sort_unstable();
            // 4 is what it listens to signals with, once it has got so far.
            fds == ["0", "1", "2", "3", "4"]
        }));
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        // SIGPIPE is ignored by every Rust program, from its own start on.
        assert!(status.lines().any(|line| line == "SigIgn:\t0000000000001000"), "{status}");
        drop(ours);
        assert!(eventually(|| crate::proc::has_ended(keeper.as_fd())));
        sys::reap(keeper.as_fd());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it is reaped");
    }

    #[test]
    fn a_keeper_runs_from_memory_and_from_a_file_with_four_descriptors() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("it");
        let image = Image::default();
        let run = |program: BorrowedFd<'_>, null: &OwnedFd, socket: &OwnedFd| {
            sys::spawn(program, c"yurt-keeper", null.as_fd(), socket.as_fd(), None, &[]).expect("a keeper")
        };
        if let Some(program) = image.in_memory() {
            look(|null, socket| run(program, null, socket));
        }
        let program = image.in_file(runtime.as_fd()).expect("a file");
        look(|null, socket| run(program, null, socket));
        let file = dir.path().join(crate::image::FILE);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).expect("the file").permissions()) & 0o7777,
            0o500
        );
    }

    #[test]
    fn what_cannot_be_executed_or_entered_is_said_and_leaves_no_child() {
        let null =
            above_streams(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("null"));
        let null = null.expect("a number");
        let spawn = |groups: &[i32]| sys::spawn(null.as_fd(), c"x", null.as_fd(), null.as_fd(), None, groups);
        assert!(matches!(spawn(&[]), Err(SpawnError::Execute(Errno::ACCESS))));
        assert!(matches!(spawn(&[9999]), Err(SpawnError::Cgroup(0, Errno::BADF))));
    }
}
