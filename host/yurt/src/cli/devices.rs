//! `yurt devices`: the facts that a policy would get, for people and scripts.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use yurt_nomad::device::{Group, Health, Instance};
use yurt_usb::facts::{ClassCodes, Device, Snapshot};
use yurt_usb::{Settings, Watcher};

use super::recorded;
use super::term::{Out, Style};
use super::under::{Facts, Under};
use crate::check::Offer;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One line per device in columns, without the tree
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// The whole record, one JSON document per snapshot
    #[arg(long)]
    json: bool,
    /// Go on and show every change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    facts: Facts,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write what is here to a file that `--replay` and `yurt guest check` take: the devices of a bug report
    Record(recorded::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(Verb::Record(arguments)) = &arguments.verb {
        return recorded::run(arguments);
    }
    let mut out = Out::new();
    if !arguments.watch {
        show(&mut out, arguments, &arguments.facts.read()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.facts.is_recorded() {
        bail!("--watch: what was recorded does not change");
    }
    let roots = arguments.facts.roots();
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
        let offered = match arguments.under.is_given() {
            true => Some(arguments.under.decides()?.offer(snapshot)?),
            false => None,
        };
        let known = |device: &&Arc<Device>| device.parent.as_deref().is_some_and(|key| snapshot.device(key).is_some());
        for root in snapshot.devices.iter().filter(|device| !known(device)) {
            tree(out, snapshot, root, offered.as_ref().map(|(offer, _)| offer), 0)?;
        }
        for refused in offered.iter().flat_map(|(_, refused)| refused) {
            out.line(&out.paint(Style::Bad, &format!("not offered: {refused}")))?;
        }
    }
    Ok(())
}

fn tree(out: &mut Out, snapshot: &Snapshot, device: &Device, offer: Option<&Offer>, depth: usize) -> io::Result<()> {
    let mut text = format!("{}{}", "  ".repeat(depth), line(out, device));
    for (group, instance) in offer.into_iter().flat_map(|offer| offered_as(offer, device)) {
        let name = format!("{}/{}/{}  {}", group.vendor, group.kind, group.name, instance.id);
        let offered = match &instance.health {
            Health::Healthy { .. } => out.paint(Style::Good, &name),
            Health::Unhealthy { reason } => out.paint(Style::Bad, &format!("{name}: {reason}")),
        };
        text.push_str(&format!("  -> {offered}"));
    }
    out.line(&text)?;
    for child in snapshot.devices.iter().filter(|child| child.parent.as_deref() == Some(&device.key)) {
        tree(out, snapshot, child, offer, depth + 1)?;
    }
    Ok(())
}

/// The instances that a device stands in, with their groups.
fn offered_as<'a>(offer: &'a Offer, device: &'a Device) -> impl Iterator<Item = (&'a Group, &'a Instance)> {
    let has = |instance: &Instance| {
        offer.instances.get(&instance.id).is_some_and(|one| one.instance.members.contains(&device.key))
    };
    let all = offer.groups.iter().flat_map(|group| group.instances.iter().map(move |instance| (group, instance)));
    all.filter(move |(_, instance)| has(instance))
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
