//! A USB bus made of files: for tests, for drills with the real program, and for showing what it does without hardware.
//!
//! It writes what the kernel would write, in the kernel's order, and sends the kernel's events. What a reader sees in the
//! middle of a plug is a state that a real machine passes through too: directories appear whole, by renaming.

mod model;
pub mod models;
mod send;
mod tree;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::Duration,
};

pub use model::{Child, Model, Setting};

use crate::roots::Roots;
use send::Sender;
use tree::Address;

/// The simulated bus. All its calls are complete when they return; they may come from several threads.
#[derive(Debug)]
pub struct Bus {
    roots: Roots,
    sender: Sender,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plugged: BTreeMap<String, Plugged>,
    sequence: u64,
    pause: Duration,
}

#[derive(Debug, Clone)]
struct Plugged {
    model: Model,
    address: Address,
    path: String,
    configured: bool,
    children: Vec<Made>,
}

/// A child that a driver made.
#[derive(Debug, Clone)]
struct Made {
    interface: u8,
    path: String,
    subsystem: &'static str,
    properties: String,
    node: Option<(String, String)>,
}

impl Bus {
    /// Makes the empty bus below the roots: `bus/usb/devices`, `/dev/bus/usb`, nothing plugged, not even a root hub.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn create(roots: &Roots) -> io::Result<Self> {
        for dir in [roots.sys.join("bus/usb/devices"), roots.sys.join("devices"), roots.dev.join("bus/usb")] {
            fs::create_dir_all(dir)?;
        }
        let state = State { pause: Duration::from_millis(5), ..State::default() };
        Ok(Self { sender: Sender::new(&roots.events)?, roots: roots.clone(), state: Mutex::new(state) })
    }

    /// How long a device takes from its address to its configuration; 5 ms unless told.
    pub fn set_pause(&self, pause: Duration) {
        self.state().pause = pause;
    }

    /// Takes over a device that another process plugged into the same tree, so that this one can unplug it.
    ///
    /// # Errors
    /// Nothing is there, or it is no complete device.
    pub fn adopt(&self, port: &str, model: &Model) -> io::Result<()> {
        let mut state = self.state();
        let (bus, path) = self.place(&state, port)?;
        let number = fs::read_to_string(self.sys(&path).join("devnum"))?;
        let number = number.trim().parse().map_err(|_| nothing(port))?;
        let mut children = Vec::new();
        for setting in model.settings.iter().filter(|setting| setting.alternate == 0) {
            let interface = format!("{path}/{}", interface_name(port, setting.number));
            let made = |number| setting.children.iter().map(move |child| (child, number));
            let found = (0..1024).find(|number| {
                made(*number).all(|(child, number)| {
                    self.sys(&Made::new(&interface, setting.number, child, number).path).exists()
                })
            });
            let found = found.ok_or_else(|| nothing(port))?;
            children.extend(made(found).map(|(child, number)| Made::new(&interface, setting.number, child, number)));
        }
        let address = Address { bus, number };
        let device = Plugged { model: model.clone(), address, path, configured: true, children };
        state.plugged.insert(port.to_owned(), device);
        Ok(())
    }

    /// Plugs a device: `usb1` is the root hub of bus 1, `1-1` hangs from its port 1, `1-1.4` from port 4 of that.
    ///
    /// # Errors
    /// The port is in use, the hub is missing, or the file system refused.
    pub fn plug(&self, port: &str, model: &Model) -> io::Result<()> {
        self.add(port, model)?;
        sleep(self.state().pause);
        self.configure(port)?;
        let numbers: Vec<u8> = model.settings.iter().filter(|s| s.alternate == 0).map(|s| s.number).collect();
        for number in numbers {
            self.bind(port, number)?;
        }
        self.bound(port)
    }

    /// First step of a plug: the device has an address, no configuration, no interfaces.
    ///
    /// # Errors
    /// As [`Bus::plug`].
    pub fn add(&self, port: &str, model: &Model) -> io::Result<()> {
        let mut state = self.state();
        if state.plugged.contains_key(port) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("port {port} is in use")));
        }
        let (bus, path) = self.place(&state, port)?;
        let last = self.last_number(bus);
        let taken = |number: &u8| {
            state.plugged.values().any(|other| other.address.bus == bus && other.address.number == *number)
        };
        let first = if last >= 127 { 2 } else { last + 1 };
        let number = (first..=127).chain(2..first).find(|number| !taken(number));
        let number = number.ok_or_else(|| io::Error::other(format!("bus {bus} has no address left")))?;
        fs::write(self.last_number_file(bus), number.to_string())?;
        let address = Address { bus, number };

        let staged = self.roots.sys.join(format!("devices/.new-{port}"));
        tree::device(&staged, port, model, address)?;
        self.node(&address.node(), &format!("char/189:{}", address.minor()))?;
        fs::rename(staged, self.sys(&path))?;
        let sys = &self.roots.sys;
        tree::link(sys, &format!("{path}/subsystem"), "bus/usb")?;
        fs::create_dir_all(sys.join("bus/usb/drivers/usb"))?;
        tree::link(sys, &format!("{path}/driver"), "bus/usb/drivers/usb")?;
        tree::link(sys, &format!("dev/char/189:{}", address.minor()), &path).or_else(read_only)?;
        tree::link(sys, &format!("bus/usb/devices/{port}"), &path)?;

        let device = Plugged { model: model.clone(), address, path, configured: false, children: Vec::new() };
        self.tell_device(&mut state, "add", &device)?;
        state.plugged.insert(port.to_owned(), device);
        Ok(())
    }

    /// Second step: the configuration is chosen, the interfaces appear, no driver has them yet.
    ///
    /// # Errors
    /// Nothing is plugged there, or the file system refused.
    pub fn configure(&self, port: &str) -> io::Result<()> {
        let mut state = self.state();
        let device = state.plugged.get_mut(port).ok_or_else(|| nothing(port))?;
        device.configured = true;
        let device = device.clone();
        tree::configured(&self.sys(&device.path), &device.model)?;
        for setting in device.model.settings.iter().filter(|setting| setting.alternate == 0) {
            let name = interface_name(port, setting.number);
            let path = format!("{}/{name}", device.path);
            let staged = self.roots.sys.join(format!("devices/.new-{name}"));
            tree::interface(&staged, &device.model, setting)?;
            fs::rename(staged, self.sys(&path))?;
            tree::link(&self.roots.sys, &format!("{path}/subsystem"), "bus/usb")?;
            tree::link(&self.roots.sys, &format!("bus/usb/devices/{name}"), &path)?;
            let properties = tree::interface_properties(&device.model, setting, false);
            self.tell(&mut state, "add", &path, "usb", &properties)?;
        }
        Ok(())
    }

    /// Third step, once per interface: its driver binds and makes its children. Nothing for one without a driver.
    ///
    /// # Errors
    /// As [`Bus::configure`].
    pub fn bind(&self, port: &str, interface: u8) -> io::Result<()> {
        let mut state = self.state();
        let device = state.plugged.get(port).ok_or_else(|| nothing(port))?.clone();
        let found = device.model.settings.iter().find(|s| s.alternate == 0 && s.number == interface);
        let Some((setting, driver)) = found.and_then(|setting| Some((setting, setting.driver?))) else { return Ok(()) };
        let path = format!("{}/{}", device.path, interface_name(port, interface));
        fs::create_dir_all(self.roots.sys.join(format!("bus/usb/drivers/{driver}")))?;
        tree::link(&self.roots.sys, &format!("{path}/driver"), &format!("bus/usb/drivers/{driver}"))?;
        let properties = tree::interface_properties(&device.model, setting, true);
        tree::replace(&self.sys(&path), "uevent", &properties)?;
        let free = setting.children.iter().rev().find_map(|child| child.node).map_or_else(
            || Self::free(setting.children.last().map_or("", |child| child.path), &state, false),
            |(name, ..)| Self::free(name, &state, true),
        );
        for child in &setting.children {
            let made = self.child(&path, interface, child, free)?;
            self.tell(&mut state, "add", &made.path, made.subsystem, &made.properties)?;
            if let Some(device) = state.plugged.get_mut(port) {
                device.children.push(made);
            }
        }
        self.tell(&mut state, "bind", &path, "usb", &properties)
    }

    /// Last step: all drivers that bind at once have bound.
    ///
    /// # Errors
    /// As [`Bus::configure`].
    pub fn bound(&self, port: &str) -> io::Result<()> {
        let mut state = self.state();
        let device = state.plugged.get(port).ok_or_else(|| nothing(port))?.clone();
        self.tell_device(&mut state, "bind", &device)
    }

    /// Pulls a device, and all that hangs from it first.
    ///
    /// # Errors
    /// As [`Bus::configure`].
    pub fn unplug(&self, port: &str) -> io::Result<()> {
        let mut state = self.state();
        let path = state.plugged.get(port).ok_or_else(|| nothing(port))?.path.clone();
        let mut below: Vec<(String, usize)> = state
            .plugged
            .iter()
            .filter(|(_, other)| other.path == path || other.path.starts_with(&format!("{path}/")))
            .map(|(key, other)| (key.clone(), other.path.len()))
            .collect();
        below.sort_by_key(|(_, depth)| std::cmp::Reverse(*depth));
        below.into_iter().try_for_each(|(key, _)| self.pull(&mut state, &key))
    }

    /// Changes one attribute of a device (`authorized`, `power/runtime_status`, `serial`, …). No event: the kernel sends none.
    ///
    /// # Errors
    /// As [`Bus::configure`].
    pub fn set_attribute(&self, port: &str, name: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.state().plugged.get(port).ok_or_else(|| nothing(port))?.path.clone();
        let file = self.sys(&path).join(name);
        let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return Err(nothing(name));
        };
        tree::replace(dir, name, text)
    }

    /// Where a device is in the device tree: `/devices/…`.
    #[must_use]
    pub fn devpath(&self, port: &str) -> Option<String> {
        self.state().plugged.get(port).map(|device| device.path.clone())
    }

    /// Sends an event about any path, true or not.
    ///
    /// # Errors
    /// The socket refused.
    pub fn send(&self, action: &str, devpath: &str, subsystem: &str, properties: &str) -> io::Result<()> {
        self.tell(&mut self.state(), action, devpath, subsystem, properties)
    }

    fn pull(&self, state: &mut State, port: &str) -> io::Result<()> {
        let Some(device) = state.plugged.remove(port) else { return Ok(()) };
        let sys = &self.roots.sys;
        if device.configured {
            for setting in device.model.settings.iter().rev().filter(|setting| setting.alternate == 0) {
                let name = interface_name(port, setting.number);
                let path = format!("{}/{name}", device.path);
                for made in device.children.iter().rev().filter(|made| made.interface == setting.number) {
                    if let Some((node, number)) = &made.node {
                        tree::remove(&self.roots.dev.join(node))?;
                        tree::remove(&sys.join("dev").join(number)).or_else(read_only)?;
                    }
                    let last = made.path.rsplit('/').next().unwrap_or_default();
                    tree::remove(&sys.join("class").join(made.subsystem).join(last))?;
                    fs::remove_dir_all(self.sys(&made.path))?;
                    self.tell(state, "remove", &made.path, made.subsystem, &made.properties)?;
                }
                if setting.driver.is_some() {
                    tree::remove(&self.sys(&path).join("driver"))?;
                    self.tell(
                        state,
                        "unbind",
                        &path,
                        "usb",
                        &tree::interface_properties(&device.model, setting, false),
                    )?;
                }
                tree::remove(&sys.join("bus/usb/devices").join(&name))?;
                self.bury(&path, &name)?;
                self.tell(state, "remove", &path, "usb", &tree::interface_properties(&device.model, setting, false))?;
            }
        }
        self.tell_device(state, "unbind", &device)?;
        tree::remove(&self.roots.dev.join(device.address.node()))?;
        tree::remove(&sys.join(format!("dev/char/189:{}", device.address.minor()))).or_else(read_only)?;
        tree::remove(&sys.join("bus/usb/devices").join(port))?;
        self.bury(&device.path, port)?;
        self.tell_device(state, "remove", &device)
    }

    /// A directory goes as a whole, as the kernel's do.
    fn bury(&self, path: &str, name: &str) -> io::Result<()> {
        let grave = self.roots.sys.join(format!("devices/.old-{name}"));
        fs::rename(self.sys(path), &grave)?;
        fs::remove_dir_all(grave)
    }

    fn child(&self, interface_path: &str, interface: u8, child: &Child, free: u32) -> io::Result<Made> {
        let made = Made::new(interface_path, interface, child, free);
        let path = &made.path;
        let dir = self.sys(path);
        fs::create_dir_all(&dir)?;
        for (name, text) in child.attributes {
            tree::put(&dir, name, text)?;
        }
        if let Some((name, number)) = &made.node {
            tree::put(&dir, "dev", number.rsplit('/').next().unwrap_or_default())?;
            tree::link(&self.roots.sys, &format!("dev/{number}"), path).or_else(read_only)?;
            self.node(name, number)?;
        }
        tree::put(&dir, "uevent", &made.properties)?;
        let class = if child.subsystem == "usb-serial" {
            "bus/usb-serial".to_owned()
        } else {
            format!("class/{}", child.subsystem)
        };
        fs::create_dir_all(self.roots.sys.join(&class))?;
        tree::link(&self.roots.sys, &format!("{path}/subsystem"), &class)?;
        if class.starts_with("class/") {
            let last = path.rsplit('/').next().unwrap_or_default();
            tree::link(&self.roots.sys, &format!("{class}/{last}"), path)?;
        }
        Ok(made)
    }

    /// In a made-up `/dev` a file stands for a node; this machine's own gets a node, which nobody opens.
    fn node(&self, name: &str, number: &str) -> io::Result<()> {
        let path = self.roots.dev.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        if self.roots.is_system() { tree::node(&path, number).or_else(read_only) } else { fs::write(path, "") }
    }

    /// The lowest number that no plugged device uses for such a node (or, without a node, for such a path).
    fn free(pattern: &str, state: &State, by_node: bool) -> u32 {
        let last = pattern.rsplit('/').next().unwrap_or_default();
        (0..1024)
            .find(|number| {
                let name = last.replace('#', &number.to_string()).replace('@', &letter(*number));
                !state.plugged.values().flat_map(|device| &device.children).any(|made| match &made.node {
                    Some((node, _)) if by_node => *node == name,
                    _ => made.path.rsplit('/').next() == Some(name.as_str()),
                })
            })
            .unwrap_or(0)
    }

    /// Bus number and device path of a port.
    fn place(&self, state: &State, port: &str) -> io::Result<(u8, String)> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("{port} is no port: usb1, 1-1, 1-1.4"));
        if !crate::uevent::is_device_key(port) {
            return Err(wrong());
        }
        if let Some(bus) = port.strip_prefix("usb") {
            let bus: u8 = bus.parse().map_err(|_| wrong())?;
            let controller = format!("/devices/pci0000:00/0000:00:{:02x}.0", u32::from(bus) + 0x13);
            tree::controller(&self.roots.sys, &controller)?;
            return Ok((bus, format!("{controller}/usb{bus}")));
        }
        let (bus, ports) = port.split_once('-').ok_or_else(wrong)?;
        let hub = ports.rsplit_once('.').map_or_else(|| format!("usb{bus}"), |(above, _)| format!("{bus}-{above}"));
        let above = state.plugged.get(&hub).ok_or_else(|| nothing(&hub))?;
        Ok((bus.parse().map_err(|_| wrong())?, format!("{}/{port}", above.path)))
    }

    /// The kernel counts addresses up before it uses one again; in a file, since several processes may play on one bus.
    fn last_number(&self, bus: u8) -> u8 {
        fs::read_to_string(self.last_number_file(bus)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn last_number_file(&self, bus: u8) -> PathBuf {
        self.roots.sys.join(format!("devices/.last-number-{bus}"))
    }

    fn tell_device(&self, state: &mut State, action: &str, device: &Plugged) -> io::Result<()> {
        self.tell(state, action, &device.path, "usb", &tree::device_properties(&device.model, device.address))
    }

    fn tell(&self, state: &mut State, action: &str, path: &str, subsystem: &str, properties: &str) -> io::Result<()> {
        state.sequence += 1;
        self.sender.send(action, path, &format!("SUBSYSTEM={subsystem}\n{properties}"), state.sequence)
    }

    fn sys(&self, path: &str) -> PathBuf {
        self.roots.sys.join(Path::new(path.trim_start_matches('/')))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    /// The `number`-th child of its kind (`ttyUSB0`, `sdb`).
    fn new(interface_path: &str, interface: u8, child: &Child, number: u32) -> Self {
        let fill = |text: &str| text.replace('#', &number.to_string()).replace('@', &letter(number));
        let path = format!("{interface_path}/{}", fill(child.path));
        let mut properties = String::new();
        let mut node = None;
        if let Some((name, major, step, first)) = child.node {
            let (name, minor) = (fill(name), number * step + first);
            properties = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}");
            let kind = if child.subsystem == "block" { "block" } else { "char" };
            node = Some((name, format!("{kind}/{major}:{minor}")));
        }
        if child.subsystem == "net" {
            properties = format!("INTERFACE={}\nIFINDEX=7", path.rsplit('/').next().unwrap_or_default());
        }
        Self { interface, path, subsystem: child.subsystem, properties, node }
    }
}

/// `1-1.4:1.0`; interfaces of root hubs are `1-0:1.0`.
fn interface_name(port: &str, number: u8) -> String {
    let port = port.strip_prefix("usb").map_or_else(|| port.to_owned(), |bus| format!("{bus}-0"));
    format!("{port}:1.{number}")
}

/// As the kernel names disks: `a` to `z`, then `aa`.
fn letter(number: u32) -> String {
    let last = char::from_u32(u32::from(b'a') + number % 26).map_or_else(String::new, String::from);
    if number < 26 { last } else { letter(number / 26 - 1) + &last }
}

fn nothing(port: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("nothing is plugged at {port}"))
}

/// Inside a namespace `/sys/dev` is the kernel's own and cannot be written; few look there. In that of a user who is not root there
/// are no device nodes either.
fn read_only(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
