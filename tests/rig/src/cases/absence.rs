//! What is not there, or not told.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use yurt_usb::sim::models;

use super::Remarks;
use crate::bus::TheBus;
use crate::expected::{adapters, at, settling};
use crate::plugin::{CONFIG, Setup};

pub(super) async fn no_bus(setup: Setup) -> Remarks {
    ensure!(!Path::new("/sys/bus/usb").exists() && !Path::new("/dev/bus/usb").exists(), "there is a bus already");
    let mut plugin = setup.start(CONFIG).await?;
    let first = plugin.begins_empty().await?;
    let took = first.at.duration_since(plugin.called);
    let log = plugin.log();
    ensure!(log.contains("no USB"), "the log does not say why nothing is offered:\n{log}");

    let bus = TheBus::with_root_hub().await?;
    plugin.is_quiet().await?;
    bus.plug("1-2", models::cp2102()).await?;
    plugin.says(&[adapters(&[at("sn-0001", "1-2", "0001")])]).await?;

    // libusb, which could not start before, must be at work by now as the events are.
    bus.unplug("1-2").await?;
    plugin.says(&[]).await?;
    bus.unplug("usb1").await?;
    plugin.is_quiet().await?;
    bus.plug("usb1", models::root_hub(4)).await?;
    plugin.is_quiet().await?;
    bus.plug("1-1", models::cp2102()).await?;
    plugin.says(&[adapters(&[at("sn-0001", "1-1", "0001")])]).await?;
    plugin.end().await?;
    Ok(vec![format!("first message {took:.1?} after the call")])
}

/// The kernel tells the devices of another network namespace there, and nobody here.
pub(super) async fn no_event(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    let mut plugin = setup.start("rule {}\nfingerprint_period = \"2s\"").await?;
    plugin.begins_empty().await?;
    let adapter = adapters(&[at("sn-0001", "1-2", "0001")]);
    bus.plug_unheard("1-2").await?;
    // It may have come this very moment, for all the plugin knows.
    plugin.says(&[settling(adapter.clone())]).await?;
    plugin.says(&[adapter]).await?;
    bus.unplug_unheard("1-2").await?;
    plugin.says(&[]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    plugin.is_quiet().await?;
    plugin.end().await?;
    Ok(Vec::new())
}
