//! A device on a port of `vhci_hcd`: whoever writes a socket to its `attach` file plays a device to the kernel.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use yurt_usb::sim::Model;

use crate::control::{Control, Manners};
use crate::wire::{self, Asked, Transfer};

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
const STALL: i32 = -32;
const UNWANTED: i32 = -104;

/// Loads the kernel's modules for the devices of these tests, as udev would ask for them one by one.
///
/// # Errors
/// There is no such module, or no right to load it.
pub fn load() -> io::Result<()> {
    let modules = [
        "vhci-hcd",
        "dummy_hcd",
        "libcomposite",
        "xhci_pci",
        "cp210x",
        "cdc_acm",
        "usbhid",
        "hid_generic",
        "usb_storage",
        "sd_mod",
        "usb_f_acm",
        "usb_f_mass_storage",
    ];
    for module in modules {
        let status = Command::new("modprobe").arg(module).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("modprobe {module}: {status}")));
        }
    }
    Ok(())
}

/// The number of the bus that [`Plugged`] devices are on: port 0 of it is `BUS-1`.
///
/// # Errors
/// The module is not loaded.
pub fn bus() -> io::Result<u32> {
    let buses = fs::read_dir(CONTROLLER)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("usb")?.parse().ok());
    // Two root hubs, USB 2 before USB 3.
    buses.min().ok_or_else(|| io::Error::other("vhci_hcd.0 has no bus"))
}

/// A device that this process plays. Pulled out when dropped.
#[derive(Debug)]
pub struct Plugged {
    port: u8,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: UnixStream,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Transfers that wait for something to read: number and room.
    waiting: VecDeque<(u32, usize)>,
    /// What nobody has read yet.
    unread: VecDeque<u8>,
    written: Vec<u8>,
}

impl Plugged {
    /// Plugs a device into a port, 0 to 7, of the bus. Returns before the kernel has looked at it.
    ///
    /// # Errors
    /// The port is in use, or the module is not loaded.
    pub fn new(port: u8, model: &Model, manners: Manners) -> io::Result<Self> {
        let speed = match model.speed {
            "1.5" => 1,
            "12" => 2,
            _ => 3,
        };
        let (ours, kernels) = UnixStream::pair()?;
        let line = format!("{port} {} {} {speed}", kernels.as_raw_fd(), 0x1_0000 + u32::from(port));
        fs::write(PathBuf::from(CONTROLLER).join("attach"), line)?;
        let shared = Arc::new(Shared { socket: ours, state: Mutex::default() });
        let control = Control::new(model.clone(), manners);
        let played = Arc::clone(&shared);
        // Ends when the kernel closes its end.
        thread::spawn(move || played.play(control));
        Ok(Self { port, shared })
    }

    /// Sends bytes by the first bulk endpoint that a driver reads, at once or as soon as it reads.
    ///
    /// # Errors
    /// The kernel has let the device go.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.shared.state().unread.extend(bytes);
        self.shared.deliver()
    }

    /// What drivers have sent to the device's other endpoints so far.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.shared.state().written.clone()
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let _ = fs::write(PathBuf::from(CONTROLLER).join("detach"), self.port.to_string());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&self, mut control: Control) -> io::Result<()> {
        loop {
            match Asked::read(&mut &self.socket)? {
                Asked::Transfer(Transfer { sequence, endpoint: 0, setup, length, data, inward }) => {
                    let message = match control.answer(setup) {
                        None => wire::submitted(sequence, STALL, &[], 0),
                        Some(bytes) if inward => wire::submitted(sequence, 0, &bytes[..bytes.len().min(length)], 0),
                        Some(_) => wire::submitted(sequence, 0, &[], data.len()),
                    };
                    self.say(&self.state(), &message)?;
                }
                Asked::Transfer(Transfer { sequence, inward: true, length, .. }) => {
                    self.state().waiting.push_back((sequence, length));
                    self.deliver()?;
                }
                Asked::Transfer(Transfer { sequence, data, .. }) => {
                    let mut state = self.state();
                    state.written.extend(&data);
                    self.say(&state, &wire::submitted(sequence, 0, &[], data.len()))?;
                }
                Asked::Unlink { sequence, unwanted } => {
                    let mut state = self.state();
                    let before = state.waiting.len();
                    state.waiting.retain(|(number, _)| *number != unwanted);
                    let status = if state.waiting.len() < before { UNWANTED } else { 0 };
                    self.say(&state, &wire::unlinked(sequence, status))?;
                }
            }
        }
    }

    /// Gives what is unread to those who wait for it.
    fn deliver(&self) -> io::Result<()> {
        let mut state = self.state();
        while !state.unread.is_empty()
            && let Some((sequence, room)) = state.waiting.pop_front()
        {
            let fits = room.min(state.unread.len());
            let bytes: Vec<u8> = state.unread.drain(..fits).collect();
            self.say(&state, &wire::submitted(sequence, 0, &bytes, 0))?;
        }
        Ok(())
    }

    /// A whole message: nobody else speaks meanwhile, which is what the lock is for.
    fn say(&self, _: &State, message: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(message)
    }
}
