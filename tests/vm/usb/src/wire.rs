//! The messages of USB/IP between `vhci_hcd` and whoever plays a device: the kernel's Documentation/usb/usbip_protocol.rst.

use std::io::{self, Read};

const SUBMIT: u32 = 1;
const UNLINK: u32 = 2;
const SUBMITTED: u32 = 3;
const UNLINKED: u32 = 4;

/// What the kernel wants.
pub(crate) enum Asked {
    /// A transfer.
    Transfer(Transfer),
    /// An earlier transfer, by its number, is not wanted any more.
    Unlink { sequence: u32, unwanted: u32 },
}

/// One request of a driver.
pub(crate) struct Transfer {
    pub(crate) sequence: u32,
    pub(crate) endpoint: u32,
    /// From the device.
    pub(crate) inward: bool,
    /// How much may be sent, if inward.
    pub(crate) length: usize,
    /// Of endpoint 0.
    pub(crate) setup: [u8; 8],
    /// What was sent, if outward.
    pub(crate) data: Vec<u8>,
}

impl Asked {
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 48];
        from.read_exact(&mut header)?;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let sequence = word(4);
        match word(0) {
            SUBMIT => {
                let (inward, length) = (word(12) == 1, word(24) as usize);
                let mut data = vec![0; if inward { 0 } else { length }];
                from.read_exact(&mut data)?;
                let setup = header[40..].try_into().expect("eight bytes");
                Ok(Self::Transfer(Transfer { sequence, endpoint: word(16), inward, length, setup, data }))
            }
            UNLINK => Ok(Self::Unlink { sequence, unwanted: word(20) }),
            other => Err(io::Error::other(format!("command {other}"))),
        }
    }
}

/// The end of a transfer: a status (0 or a negative errno), and the bytes for an inward one or the number taken of an outward one.
pub(crate) fn submitted(sequence: u32, status: i32, sent: &[u8], taken: usize) -> Vec<u8> {
    let length = u32::try_from(sent.len().max(taken)).unwrap_or(u32::MAX);
    let mut message = header(SUBMITTED, sequence, status);
    message[24..28].copy_from_slice(&length.to_be_bytes());
    message.extend(sent);
    message
}

/// Whether the transfer was still to do: `-ECONNRESET`, or 0 where it had been answered.
pub(crate) fn unlinked(sequence: u32, status: i32) -> Vec<u8> {
    header(UNLINKED, sequence, status)
}

fn header(command: u32, sequence: u32, status: i32) -> Vec<u8> {
    let mut message = vec![0; 48];
    message[0..4].copy_from_slice(&command.to_be_bytes());
    message[4..8].copy_from_slice(&sequence.to_be_bytes());
    message[20..24].copy_from_slice(&status.to_be_bytes());
    message
}
