//! A connection to a keeper: records with descriptors, as `yurt_keeper` has them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use yurt_keeper::answer::Say;
use yurt_keeper::request::Ask;
use yurt_keeper::{Answer, PROTOCOL, RECORD_MAX, Request, names};

use crate::sys::awaited;

/// Most descriptors that come with an answer.
const DESCRIPTORS: usize = 4;

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A connection.
#[derive(Debug)]
pub(crate) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// A new pair of sockets: ours, and one for a keeper that is to be spawned. Needs a runtime.
    pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Channel(awaited(ours, BOTH)?), theirs))
    }

    /// Connects to the keeper of an entry.
    pub(crate) async fn connect(entry: BorrowedFd<'_>) -> io::Result<Channel> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // By the directory's number: paths of sockets are short.
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", entry.as_raw_fd(), names::SOCKET))?;
        let mut pause = Duration::from_millis(1);
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(Channel(awaited(socket, BOTH)?)),
                // So many want to talk to it at once.
                Err(Errno::AGAIN | Errno::INTR) if pause < Duration::from_secs(2) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The same, and has asked what is known of the task, now and once it has ended.
    pub(crate) async fn watching(entry: BorrowedFd<'_>) -> io::Result<Channel> {
        let channel = Channel::connect(entry).await?;
        channel.ask(Ask::Watch(PROTOCOL), &[]).await?;
        Ok(channel)
    }

    /// Sends one record.
    pub(crate) async fn send(&self, record: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut ready = self.0.writable().await?;
            let sent = ready.try_io(|socket| send(socket.as_fd(), record, with).map_err(io::Error::from));
            if let Ok(sent) = sent {
                return sent;
            }
        }
    }

    /// Asks something.
    pub(crate) async fn ask(&self, ask: Ask, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&Request { ask: Some(ask) }.encode_to_vec(), with).await
    }

    /// Asks something without waiting.
    pub(crate) fn ask_now(&self, ask: Ask) -> io::Result<()> {
        Ok(send(self.0.get_ref().as_fd(), &Request { ask: Some(ask) }.encode_to_vec(), &[])?)
    }

    /// Ends the connection, also for others who hold it.
    pub(crate) fn shut(&self) {
        let _ = rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Both);
    }

    /// The next answer with its descriptors; `None`: the keeper has closed the connection. Answers of later keepers that are not known
    /// here are skipped. Cancel safe.
    pub(crate) async fn hear(&self) -> io::Result<Option<(Say, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.0.readable().await?;
            let received = ready.try_io(|socket| receive(socket.as_fd()).map_err(io::Error::from));
            let Ok(received) = received else { continue };
            let (record, with) = match received {
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(e),
            };
            if record.is_empty() {
                return Ok(None);
            }
            let answer =
                Answer::decode(record.as_slice()).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if let Some(say) = answer.say {
                return Ok(Some((say, with)));
            }
        }
    }
}

fn send(socket: BorrowedFd<'_>, record: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    // The kernel takes no more than 253.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(Errno::TOOMANYREFS);
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(record)], &mut ancillary, SendFlags::NOSIGNAL)
    })
    .map(drop)
}

fn receive(socket: BorrowedFd<'_>) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut record = vec![0; RECORD_MAX];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut record)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    record.truncate(received.bytes);
    let mut with = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            with.extend(rights);
        }
    }
    Ok((record, with))
}
