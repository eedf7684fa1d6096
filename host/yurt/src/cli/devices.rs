//! `yurt devices`: the facts that a policy would get, for people and scripts.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use yurt_usb::facts::{ClassCodes, Device, Snapshot};
use yurt_usb::{Roots, Settings, Watcher, scan};

use super::term::{Out, Style};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One line per device in columns, without the tree
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// The whole record, one JSON document per snapshot
    #[arg(long)]
    json: bool,
    /// Go on and show every change
    #[arg(long)]
    watch: bool,
    /// A simulated bus instead of this machine's
    #[arg(long, value_name = "DIR", hide = true)]
    usb_root: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let roots = arguments.usb_root.as_deref().map_or_else(Roots::system, Roots::simulated);
    let mut out = Out::new();
    if !arguments.watch {
        show(&mut out, arguments, &scan(&roots))?;
        return Ok(ExitCode::SUCCESS);
    }
    let watcher = Watcher::start(roots, Settings::default());
    let mut snapshots = watcher.snapshots();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut before: Option<Arc<Snapshot>> = None;
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            if snapshot.number > 0 {
                match &before {
                    Some(before) if !arguments.json && !arguments.table => changes(&mut out, before, &snapshot)?,
                    _ => show(&mut out, arguments, &snapshot)?,
                }
                before = Some(snapshot);
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return Ok(()) },
                interrupted = tokio::signal::ctrl_c() => return interrupted.map_err(anyhow::Error::from),
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut Out, arguments: &Arguments, snapshot: &Snapshot) -> anyhow::Result<()> {
    if arguments.json {
        out.line(&serde_json::to_string(snapshot)?)?;
        return Ok(());
    }
    for trouble in &snapshot.trouble {
        out.line(&out.paint(Style::Bad, trouble))?;
    }
    if arguments.table {
        out.line(&table(snapshot).to_string())?;
    } else {
        for root in snapshot.devices.iter().filter(|device| device.parent.is_none()) {
            tree(out, snapshot, root, 0)?;
        }
    }
    Ok(())
}

fn tree(out: &mut Out, snapshot: &Snapshot, device: &Device, depth: usize) -> io::Result<()> {
    out.line(&format!("{}{}", "  ".repeat(depth), line(out, device)))?;
    for child in snapshot.devices.iter().filter(|child| child.parent.as_deref() == Some(&device.key)) {
        tree(out, snapshot, child, depth + 1)?;
    }
    Ok(())
}

/// What changed between two snapshots, a line each.
fn changes(out: &mut Out, before: &Snapshot, now: &Snapshot) -> io::Result<()> {
    let find = |snapshot: &'_ Snapshot, key: &str| snapshot.devices.iter().find(|device| device.key == key).cloned();
    for gone in before.devices.iter().filter(|device| find(now, &device.key).is_none()) {
        out.line(&format!("{} {}", out.paint(Style::Bad, "-"), line(out, gone)))?;
    }
    for device in &now.devices {
        match find(before, &device.key) {
            None => out.line(&format!("{} {}", out.paint(Style::Good, "+"), line(out, device)))?,
            Some(other) if other.life.generation != device.life.generation => {
                out.line(&format!("{} {}", out.paint(Style::Good, "±"), line(out, device)))?;
            }
            Some(other) if line(out, &other) != line(out, device) => {
                out.line(&format!("{} {}", out.paint(Style::Name, "~"), line(out, device)))?;
            }
            Some(_) => {}
        }
    }
    for trouble in now.trouble.iter().filter(|trouble| !before.trouble.contains(trouble)) {
        out.line(&out.paint(Style::Bad, trouble))?;
    }
    Ok(())
}

/// `1-1.4  12f7:1e23  Memorex TravelDrive  ABC123  480 Mbit/s  /dev/sda`
fn line(out: &Out, device: &Device) -> String {
    let mut parts = vec![
        out.paint(Style::Name, &device.key),
        format!("{:04x}:{:04x}", device.vendor_id, device.product_id),
        out.paint(Style::Strong, &title(device)),
    ];
    if let Some(serial) = &device.serial {
        parts.push(serial.text.clone());
    }
    if device.link.mbit > 0 {
        parts.push(out.paint(Style::Faint, &format!("{} Mbit/s", device.link.mbit)));
    }
    if !device.access.authorised {
        parts.push(out.paint(Style::Bad, "not authorised"));
    }
    parts.extend(device.nodes.iter().skip(1).map(|node| node.path.clone()));
    parts.join("  ")
}

/// Maker and product as people know them: the table's names, else the device's own.
pub(super) fn title(device: &Device) -> String {
    let own = |label: &Option<yurt_usb::facts::Label>| label.as_ref().map(|label| label.text.clone());
    let vendor = device.vendor_name.clone().or_else(|| own(&device.manufacturer));
    let product = own(&device.product).or_else(|| device.product_name.clone());
    match (vendor, product) {
        (Some(vendor), Some(product)) if product.starts_with(&vendor) => product,
        (Some(vendor), Some(product)) => format!("{vendor} {product}"),
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => "unnamed device".to_owned(),
    }
}

fn table(snapshot: &Snapshot) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["PORT", "ID", "NAME", "SERIAL", "CLASS", "DRIVERS", "NODES"]);
    for device in &snapshot.devices {
        let mut classes: Vec<String> = device.interfaces.iter().map(|interface| class(interface.codes)).collect();
        classes.dedup();
        let mut drivers: Vec<&str> = device.interfaces.iter().filter_map(|i| i.driver.as_deref()).collect();
        drivers.dedup();
        let nodes: Vec<&str> = device.nodes.iter().map(|node| node.path.as_str()).collect();
        table.add_row([
            device.key.clone(),
            format!("{:04x}:{:04x}", device.vendor_id, device.product_id),
            title(device),
            device.serial.as_ref().map_or_else(String::new, |serial| serial.text.clone()),
            classes.join(" "),
            drivers.join(" "),
            nodes.join(" "),
        ]);
    }
    table
}

fn class(codes: ClassCodes) -> String {
    format!("{:02x}/{:02x}/{:02x}", codes.base, codes.sub, codes.protocol)
}
