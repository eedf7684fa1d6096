//! A device that the kernel plays itself: its gadget functions behind `dummy_hcd`, made in configfs (the kernel's
//! Documentation/usb/gadget_configfs.rst).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIGFS: &str = "/sys/kernel/config";
/// Controllers are the kernel's `dummy_udc.N`; there is one.
const CONTROLLER: &str = "dummy_udc.0";

/// What a gadget is.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// `idVendor`.
    pub vendor_id: u16,
    /// `idProduct`.
    pub product_id: u16,
    /// String.
    pub manufacturer: &'a str,
    /// String.
    pub product: &'a str,
    /// String.
    pub serial: &'a str,
}

/// A device of the kernel's own making. Pulled out and unmade when dropped.
#[derive(Debug)]
pub struct Gadget(PathBuf);

impl Gadget {
    /// Plugs a device with these functions, `acm.0` for instance; a `mass_storage` one is backed by `disk`.
    ///
    /// # Errors
    /// No such module, another gadget is plugged, or no right to it.
    pub fn new(identity: &Identity<'_>, functions: &[&str], disk: &Path) -> io::Result<Self> {
        let gadgets = PathBuf::from(CONFIGFS).join("usb_gadget");
        if !gadgets.exists() {
            Command::new("mount").args(["-t", "configfs", "configfs", CONFIGFS]).status()?;
        }
        let gadget = Self(gadgets.join("drill"));
        let Self(dir) = &gadget;
        fs::create_dir(dir)?;
        fs::write(dir.join("idVendor"), format!("{:#06x}", identity.vendor_id))?;
        fs::write(dir.join("idProduct"), format!("{:#06x}", identity.product_id))?;
        let strings = dir.join("strings/0x409");
        fs::create_dir(&strings)?;
        fs::write(strings.join("manufacturer"), identity.manufacturer)?;
        fs::write(strings.join("product"), identity.product)?;
        fs::write(strings.join("serialnumber"), identity.serial)?;
        let configuration = dir.join("configs/c.1");
        fs::create_dir(&configuration)?;
        for function in functions {
            let made = dir.join("functions").join(function);
            fs::create_dir(&made)?;
            if function.starts_with("mass_storage") {
                fs::write(made.join("lun.0/file"), disk.as_os_str().as_encoded_bytes())?;
            }
            symlink(&made, configuration.join(function))?;
        }
        fs::write(dir.join("UDC"), CONTROLLER)?;
        Ok(gadget)
    }
}

impl Drop for Gadget {
    fn drop(&mut self) {
        let Self(dir) = self;
        let _ = fs::write(dir.join("UDC"), "\n");
        let functions = || fs::read_dir(dir.join("functions")).into_iter().flatten().flatten();
        for function in functions() {
            let _ = fs::remove_file(dir.join("configs/c.1").join(function.file_name()));
        }
        let _ = fs::remove_dir(dir.join("configs/c.1"));
        for function in functions() {
            let _ = fs::remove_dir(function.path());
        }
        let _ = fs::remove_dir(dir.join("strings/0x409"));
        let _ = fs::remove_dir(dir);
    }
}
