//! Records on a socket, with descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prost::Message;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use yurt_keeper::answer::Say;
use yurt_keeper::{Answer, RECORD_MAX, Step};

use crate::failure::{During as _, Outcome};

/// Most descriptors of one record; the kernel takes no more than 253. What comes beyond is closed by it.
const DESCRIPTORS: usize = 64;

/// A pair of connected sockets that keep records apart.
pub(crate) fn pair() -> Outcome<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during(Step::Clone, "a socket pair")
}

/// One record, and what came with it; an empty one is the other side's end.
pub(crate) fn receive(socket: impl AsFd) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let socket = socket.as_fd();
    // How long the next one is: most are some bytes, and memory that was used once stays with us.
    let (_, length) = retry_on_intr(|| recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::TRUNC))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; length.min(RECORD_MAX)];
    let received =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    if length > RECORD_MAX {
        return Err(Errno::MSGSIZE);
    }
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((bytes, descriptors))
}

/// Sends one record. Never waits on a socket that does not.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], with: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(with));
    }
    retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)).map(drop)
}

/// Says something to a plugin.
pub(crate) fn say(socket: impl AsFd, say: Say, with: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    send(socket, &Answer { say: Some(say) }.encode_to_vec(), with)
}
