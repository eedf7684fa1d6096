//! Which device is which.

use std::time::Duration;

use yurt_usb::sim::models;

use super::Remarks;
use crate::bus::{TheBus, stick};
use crate::expected::{adapters, at, nameless, sticks};
use crate::plugin::{CONFIG, Setup};

/// Twice: within one settle time, where the number of devices never seems to change, and at a person's pace.
pub(super) async fn swap(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    bus.plug("1-2", stick("AA01")).await?;
    let mut plugin = setup.start(CONFIG).await?;
    let a = [sticks(&[at("sn-AA01", "1-2", "AA01")])];
    let b = [sticks(&[at("sn-BB02", "1-2", "BB02")])];
    let adapter = [adapters(&[at("sn-0001", "1-2", "0001")])];
    plugin.begins_with(&a).await?;

    let quickly = |model| {
        bus.run(move |bus| {
            bus.set_pause(Duration::ZERO);
            bus.unplug("1-2")?;
            bus.plug("1-2", &model)
        })
    };
    quickly(stick("BB02")).await?;
    plugin.comes_to(&b).await?;
    plugin.is_quiet().await?;
    quickly(models::cp2102()).await?;
    plugin.comes_to(&adapter).await?;
    plugin.is_quiet().await?;

    bus.unplug("1-2").await?;
    plugin.says(&[]).await?;
    bus.plug("1-2", stick("AA01")).await?;
    plugin.says(&a).await?;
    plugin.is_quiet().await?;
    plugin.end().await?;
    Ok(Vec::new())
}

pub(super) async fn same_serial(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    let mut plugin = setup.start(CONFIG).await?;
    plugin.begins_empty().await?;
    let first = at("sn-TWIN", "1-2", "TWIN");
    let second = at("port-1-1", "1-1", "TWIN");

    bus.plug("1-2", stick("TWIN")).await?;
    plugin.says(&[sticks(std::slice::from_ref(&first))]).await?;
    bus.plug("1-1", stick("TWIN")).await?;
    plugin.says(&[sticks(&[first.clone(), second.clone()])]).await?;
    plugin.is_quiet().await?;

    // Alone or not, each stays who it is.
    bus.unplug("1-2").await?;
    plugin.says(&[sticks(std::slice::from_ref(&second))]).await?;
    bus.plug("1-2", stick("TWIN")).await?;
    plugin.says(&[sticks(&[first.clone(), second.clone()])]).await?;
    bus.unplug("1-1").await?;
    plugin.says(&[sticks(&[first])]).await?;
    plugin.is_quiet().await?;
    plugin.end().await?;
    Ok(Vec::new())
}

pub(super) async fn no_strings(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    bus.plug("1-1", models::hub(4)).await?;
    let mut plugin = setup.start(CONFIG).await?;
    plugin.begins_empty().await?;
    bus.plug("1-1.3", models::no_strings()).await?;
    plugin.says(&[nameless(&["1-1.3"])]).await?;
    bus.plug("1-2", models::no_strings()).await?;
    plugin.says(&[nameless(&["1-1.3", "1-2"])]).await?;
    plugin.is_quiet().await?;
    plugin.end().await?;
    Ok(Vec::new())
}
