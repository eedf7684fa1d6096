//! How a simulated bus tells what it did: as the kernel would.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, sendto, socket_with};

use crate::roots::Events;

/// Milliseconds that a full queue is given before an event is lost.
const PATIENCE: u32 = 50;

/// Where events go.
#[derive(Debug)]
pub(super) enum Sender {
    /// To a datagram socket that a watcher has bound; nobody there is as with the kernel: nobody hears it. The flag: the
    /// reader fell behind and lost the last event.
    Datagram(UnixDatagram, PathBuf, AtomicBool),
    /// To the kernel, which broadcasts it to the group of this network namespace as its own (since Linux 4.18, for
    /// whoever has `CAP_SYS_ADMIN` over the namespace).
    Broadcast(Arc<rustix::fd::OwnedFd>),
}

impl Sender {
    pub(super) fn new(events: &Events) -> io::Result<Self> {
        match events {
            Events::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Ok(Self::Datagram(socket, path.clone(), AtomicBool::new(false)))
            }
            Events::Kernel => {
                let fd = socket_with(
                    AddressFamily::NETLINK,
                    SocketType::DGRAM,
                    SocketFlags::CLOEXEC,
                    Some(netlink::KOBJECT_UEVENT),
                )?;
                Ok(Self::Broadcast(Arc::new(fd)))
            }
        }
    }

    /// Sends one event; `sequence` is left to the kernel where the kernel sends.
    pub(super) fn send(&self, action: &str, devpath: &str, properties: &str, sequence: u64) -> io::Result<()> {
        let mut body = format!("{action}@{devpath}\0ACTION={action}\0DEVPATH={devpath}\0");
        for property in properties.lines() {
            body.push_str(property);
            body.push('\0');
        }
        match self {
            Self::Datagram(socket, path, behind) => {
                body.push_str(&format!("SEQNUM={sequence}\0"));
                // Such a queue holds about ten datagrams (net.unix.max_dgram_qlen), far fewer than a netlink buffer. So
                // a live reader gets a moment; one that sleeps loses events, as it would with the kernel.
                let mut patience = if behind.load(Ordering::Relaxed) { 0 } else { PATIENCE };
                loop {
                    match socket.send_to(body.as_bytes(), path) {
                        Ok(_) => {
                            behind.store(false, Ordering::Relaxed);
                            return Ok(());
                        }
                        Err(error)
                            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
                        {
                            return Ok(());
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            if patience == 0 {
                                behind.store(true, Ordering::Relaxed);
                                return Ok(());
                            }
                            patience -= 1;
                            sleep(Duration::from_millis(1));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Self::Broadcast(fd) => {
                // struct nlmsghdr: length, type, flags (NLM_F_REQUEST), sequence, port.
                let length = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
                let mut message = Vec::with_capacity(body.len() + 16);
                message.extend(length.to_ne_bytes());
                message.extend(16_u16.to_ne_bytes());
                message.extend(1_u16.to_ne_bytes());
                message.extend([0; 8]);
                message.extend(body.as_bytes());
                sendto(fd, &message, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
                Ok(())
            }
        }
    }
}
