//! `yurt simulate` (hidden): plugs and unplugs devices of a simulated bus, for scripts and drills. It writes a sysfs tree
//! and sends uevents; a plugin with `--usb-root DIR` sees them as it would see the kernel's.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use yurt_usb::Roots;
use yurt_usb::sim::{Bus, Model, models};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an empty bus with one root hub
    Init(Place),
    /// Plug a device in
    Plug(Plug),
    /// Pull a device out
    Unplug {
        #[command(flatten)]
        place: Place,
        /// Port, such as 1-1.4
        port: String,
    },
    /// Set an attribute of a device and tell the kernel's listeners: `set DIR 1-1 authorized 0`
    Set {
        #[command(flatten)]
        place: Place,
        /// Port, such as 1-1.4
        port: String,
        /// Name of the sysfs attribute
        attribute: String,
        /// Its new text
        value: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The simulated root: holds sys, dev and events.sock
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Plug {
    #[command(flatten)]
    place: Place,
    /// Port, such as 1-1.4
    port: String,
    /// One of memory-stick, cp2102, hub, yubikey, webcam, keyboard, no-strings
    model: String,
    /// Another serial number
    #[arg(long)]
    serial: Option<String>,
    /// Another vendor id, hexadecimal
    #[arg(long, value_parser = hex)]
    vendor: Option<u16>,
    /// Another product id, hexadecimal
    #[arg(long, value_parser = hex)]
    product: Option<u16>,
}

fn hex(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|why| format!("{text}: {why}"))
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Init(place) => {
            bus(place)?;
        }
        Verb::Plug(plug) => {
            let mut model = model(&plug.model)?;
            if let Some(serial) = &plug.serial {
                model.serial = Some(serial.clone().into_bytes());
            }
            model.vendor_id = plug.vendor.unwrap_or(model.vendor_id);
            model.product_id = plug.product.unwrap_or(model.product_id);
            bus(&plug.place)?.plug(&plug.port, &model).with_context(|| format!("cannot plug {}", plug.port))?;
        }
        Verb::Unplug { place, port } => {
            bus(place)?.unplug(port).with_context(|| format!("cannot unplug {port}"))?;
        }
        Verb::Set { place, port, attribute, value } => {
            bus(place)?.set(port, attribute, value).with_context(|| format!("cannot set {attribute} of {port}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bus(place: &Place) -> anyhow::Result<Bus> {
    let dir = std::path::absolute(&place.dir)?;
    Bus::create(&Roots::simulated(&dir)).with_context(|| format!("cannot simulate a bus in {}", dir.display()))
}

fn model(name: &str) -> anyhow::Result<Model> {
    Ok(match name {
        "memory-stick" => models::memory_stick(),
        "cp2102" => models::cp2102(),
        "hub" => models::hub(),
        "yubikey" => models::yubikey(),
        "webcam" => models::webcam(),
        "keyboard" => models::keyboard(),
        "no-strings" => models::no_strings(),
        _ => bail!("no model {name:?}: one of memory-stick, cp2102, hub, yubikey, webcam, keyboard, no-strings"),
    })
}
