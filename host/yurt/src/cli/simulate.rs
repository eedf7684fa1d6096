//! `yurt simulate` (hidden): plugs and unplugs devices of a simulated bus, for scripts and drills. It writes a sysfs tree
//! and sends uevents; a plugin with `--usb-root DIR` sees them as it would see the kernel's.
//!
//! Each command is a process of its own, so `DIR/plugged.json` says what the ones before it plugged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
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
    /// One of memory-stick, cp2102, hub, yubikey, webcam, network, no-strings
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

const ROOT_HUB: &str = "root-hub";

pub(super) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Init(place) => {
            let mut simulation = Simulation::open(place)?;
            if !simulation.is_plugged("usb1") {
                simulation.plug("usb1", json!({ "model": ROOT_HUB }))?;
            }
        }
        Verb::Plug(plug) => Simulation::open(&plug.place)?.plug(
            &plug.port,
            json!({ "model": plug.model, "serial": plug.serial, "vendor": plug.vendor, "product": plug.product }),
        )?,
        Verb::Unplug { place, port } => Simulation::open(place)?.unplug(port)?,
        Verb::Set { place, port, attribute, value } => {
            let bus = Simulation::open(place)?.bus;
            bus.set_attribute(port, attribute, value).with_context(|| format!("cannot set {attribute} of {port}"))?;
            let devpath = bus.devpath(port).unwrap_or_default();
            bus.send("change", &devpath, "usb", "DEVTYPE=usb_device")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Simulation {
    bus: Bus,
    file: PathBuf,
    /// Port and what is plugged there, in the order in which it was plugged.
    plugged: Vec<(String, Value)>,
}

impl Simulation {
    fn open(place: &Place) -> anyhow::Result<Simulation> {
        let dir = std::path::absolute(&place.dir)?;
        let bus = Bus::create(&Roots::simulated(&dir))
            .with_context(|| format!("no bus can be simulated in {}", dir.display()))?;
        let file = dir.join("plugged.json");
        let plugged: Vec<(String, Value)> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| file.display().to_string())?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(why) => return Err(why).with_context(|| file.display().to_string()),
        };
        for (port, what) in &plugged {
            bus.adopt(port, &model(what)?).with_context(|| format!("{port} is not as it was plugged"))?;
        }
        Ok(Simulation { bus, file, plugged })
    }

    fn is_plugged(&self, port: &str) -> bool {
        self.plugged.iter().any(|(other, _)| other == port)
    }

    fn plug(&mut self, port: &str, what: Value) -> anyhow::Result<()> {
        self.bus.plug(port, &model(&what)?).with_context(|| format!("cannot plug {port}"))?;
        self.plugged.push((port.to_owned(), what));
        self.write()
    }

    fn unplug(&mut self, port: &str) -> anyhow::Result<()> {
        self.bus.unplug(port).with_context(|| format!("cannot unplug {port}"))?;
        // What hung from it went with it.
        self.plugged.retain(|(other, _)| self.bus.devpath(other).is_some());
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        write(&self.file, &self.plugged)
    }
}

fn write(file: &Path, plugged: &[(String, Value)]) -> anyhow::Result<()> {
    crate::places::replace(file, &serde_json::to_vec(plugged)?).with_context(|| file.display().to_string())
}

fn model(what: &Value) -> anyhow::Result<Model> {
    let text = |key: &str| what.get(key).and_then(Value::as_str);
    let id = |key: &str| what.get(key).and_then(Value::as_u64).and_then(|id| u16::try_from(id).ok());
    let mut model = match text("model").unwrap_or_default() {
        ROOT_HUB => models::root_hub(8),
        "memory-stick" => models::memory_stick(),
        "cp2102" => models::cp2102(),
        "hub" => models::hub(4),
        "yubikey" => models::yubikey(),
        "webcam" => models::webcam(),
        "network" => models::network(),
        "no-strings" => models::no_strings(),
        other => bail!("no model {other:?}: one of memory-stick, cp2102, hub, yubikey, webcam, network, no-strings"),
    };
    if let Some(serial) = text("serial") {
        model.serial = Some(serial.as_bytes().to_vec());
    }
    model.vendor_id = id("vendor").unwrap_or(model.vendor_id);
    model.product_id = id("product").unwrap_or(model.product_id);
    Ok(model)
}
