//! Where uevents are heard: the kernel's netlink group, or a datagram socket that a simulated bus writes to.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recvfrom, socket_with, sockopt,
    },
};

use crate::{roots::Events, uevent::Uevent};

/// The kernel's events are 2 KiB at most (`UEVENT_BUFFER_SIZE`) and a path.
const DATAGRAM: usize = 8 * 1024;
/// Room for some thousand events, used only while we are held up.
const QUEUE: usize = 4 * 1024 * 1024;
/// Group 1 is the kernel's, 2 is udev's.
const KERNEL_GROUP: u32 = 1;

/// An open source of events.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Kernel,
    /// What was bound, as device and inode number, and the number of the last event.
    Datagram {
        path: PathBuf,
        file: (u64, u64),
        last: Option<u64>,
    },
}

/// One datagram.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// None where it was not an event of the kernel's.
    pub(super) event: Option<Uevent>,
    /// Events before it never arrived.
    pub(super) lost: bool,
}

impl Socket {
    pub(super) fn open(events: &Events) -> io::Result<Self> {
        match events {
            Events::Kernel => kernel(),
            Events::Socket(path) => datagram(path),
        }
    }

    /// The next datagram; none when there is none waiting. After an error the socket is of no use any more.
    pub(super) fn hear(&mut self) -> io::Result<Option<Heard>> {
        let mut buffer = [0; DATAGRAM];
        let (length, sender) = loop {
            // With TRUNC the length is the datagram's own, however much of it fits.
            match recvfrom(&self.fd, &mut buffer[..], RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok((_, length, sender)) => break (length, sender),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::NOBUFS) => return Ok(Some(Heard { event: None, lost: true })),
                Err(error) => return Err(error.into()),
            }
        };
        let event = buffer.get(..length).and_then(Uevent::parse);
        match &mut self.source {
            Source::Kernel => {
                // Whoever may send to the group can pretend to be anything but port 0.
                let of_kernel = sender
                    .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                    .is_some_and(|sender| sender.pid() == 0);
                Ok(Some(Heard { event: event.filter(|_| of_kernel), lost: false }))
            }
            // A full queue drops without a word, so the numbers are watched. The kernel's own cannot be: it counts the
            // events of all network namespaces.
            Source::Datagram { last, .. } => {
                let number = event.as_ref().and_then(|event| event.sequence);
                let lost = number.zip(*last).is_some_and(|(number, last)| number != last.wrapping_add(1));
                *last = number.or(*last);
                Ok(Some(Heard { event, lost }))
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Source::Datagram { path, file, .. } = &self.source
            && identity(path).ok() == Some(*file)
        {
            // Left behind, it would be replaced by the next watcher.
            let _ = fs::remove_file(path);
        }
    }
}

fn kernel() -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::KOBJECT_UEVENT))?;
    // Beyond the system's limit only with CAP_NET_ADMIN; a small queue is one that overruns sooner, no more.
    if sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&fd, QUEUE);
    }
    bind(&fd, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    Ok(Socket { fd, source: Source::Kernel })
}

/// Binds beside the place and moves there: a socket that somebody left is replaced in one step, anything else is not.
fn datagram(path: &Path) -> io::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is in its place"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let socket = UnixDatagram::bind(&beside)?;
    let placed = (|| {
        socket.set_nonblocking(true)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        let file = identity(&beside)?;
        fs::rename(&beside, path)?;
        Ok(file)
    })();
    match placed {
        Ok(file) => {
            let source = Source::Datagram { path: path.to_owned(), file, last: None };
            Ok(Socket { fd: socket.into(), source })
        }
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}
