//! The files of the task's entry, and the socket in it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use prost::Message;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use yurt_keeper::{Step, names};

use crate::child::by_number;
use crate::failure::{During as _, Outcome};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 16;

/// Writes a file beside its place, then puts it there: readers see all of it or nothing. What must survive is the process' death, not
/// the machine's, after which there is no task.
pub(crate) fn write(entry: &OwnedFd, name: &str, message: &impl Message) -> io::Result<()> {
    let draft = format!(".{name}.new");
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(entry, &draft, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(&message.encode_to_vec())?;
    drop(file);
    Ok(renameat(entry, &draft, entry, name)?)
}

/// Removes a file; one that is not there is no failure.
pub(crate) fn remove(entry: &OwnedFd, name: &str) {
    let _ = unlinkat(entry, name, AtFlags::empty());
}

/// Listens in the entry, which nobody else may enter. By the entry's descriptor, since paths of sockets are short.
pub(crate) fn listener(entry: &OwnedFd) -> Outcome<OwnedFd> {
    remove(entry, names::SOCKET);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).during(Step::Listen, "a socket")?;
    let path = format!("{}/{}", by_number(entry), names::SOCKET);
    let address = SocketAddrUnix::new(path).during(Step::Listen, names::SOCKET)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    bind(&socket, &address).during(Step::Listen, names::SOCKET)?;
    listen(&socket, BACKLOG).during(Step::Listen, names::SOCKET)?;
    Ok(socket)
}
