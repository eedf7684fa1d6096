//! The simulated bus for use beside streams: its operations write files and wait, so they run on a thread of their own.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use yurt_usb::Roots;
use yurt_usb::sim::{Bus, Model, models};

/// Of the root hub.
const PORTS: u8 = 15;

/// The bus of this namespace.
#[derive(Debug, Clone)]
pub(crate) struct TheBus(Arc<Bus>);

impl TheBus {
    /// An empty bus without even a root hub.
    pub(crate) fn create() -> anyhow::Result<TheBus> {
        Ok(TheBus(Arc::new(Bus::create(&Roots::system()).context("cannot write a bus")?)))
    }

    /// With a root hub of fifteen ports on bus 1.
    pub(crate) async fn with_root_hub() -> anyhow::Result<TheBus> {
        let bus = TheBus::create()?;
        bus.plug("usb1", models::root_hub(PORTS)).await?;
        Ok(bus)
    }

    /// Plugs, as the kernel does.
    pub(crate) async fn plug(&self, port: &str, model: Model) -> anyhow::Result<()> {
        self.plug_and_bind(port, model, true).await.map(drop)
    }

    /// Plugs, and says when the kernel spoke of it; perhaps without its last word, that all drivers have bound.
    pub(crate) async fn plug_and_bind(&self, port: &str, model: Model, bound: bool) -> anyhow::Result<Told> {
        let named = port.to_owned();
        self.run(move |bus| {
            let first = Instant::now();
            if bound {
                bus.plug(&named, &model)?;
            } else {
                bus.add(&named, &model)?;
                bus.configure(&named)?;
                for setting in model.settings.iter().filter(|setting| setting.alternate == 0) {
                    bus.bind(&named, setting.number)?;
                }
            }
            Ok(Told { first, last: Instant::now() })
        })
        .await
        .with_context(|| format!("cannot plug {port}"))
    }

    pub(crate) async fn unplug(&self, port: &str) -> anyhow::Result<()> {
        let named = port.to_owned();
        self.run(move |bus| bus.unplug(&named)).await.with_context(|| format!("cannot unplug {port}"))
    }

    /// Plugs a `cp2102` from another network namespace, so that nobody here hears of it.
    pub(crate) async fn plug_unheard(&self, port: &str) -> anyhow::Result<()> {
        unheard("plug", port).await
    }

    /// Unplugs one so.
    pub(crate) async fn unplug_unheard(&self, port: &str) -> anyhow::Result<()> {
        unheard("unplug", port).await
    }

    /// Anything else, in one go.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Bus) -> std::io::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let bus = Arc::clone(&self.0);
        Ok(tokio::task::spawn_blocking(move || action(&bus)).await??)
    }
}

/// What marks a process that plays on the bus unheard.
pub(crate) const UNHEARD: &str = "--unheard";

async fn unheard(verb: &str, port: &str) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--net", "--"]).arg(std::env::current_exe()?).args([UNHEARD, verb, port]);
    let output = command.output().await?;
    ensure!(output.status.success(), "{verb} {port}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// In that process.
pub(crate) fn play_unheard(verb: &str, port: &str) -> anyhow::Result<()> {
    let bus = Bus::create(&Roots::system())?;
    bus.adopt("usb1", &models::root_hub(PORTS))?;
    if verb == "plug" {
        bus.plug(port, &models::cp2102())?;
    } else {
        bus.adopt(port, &models::cp2102())?;
        bus.unplug(port)?;
    }
    Ok(())
}

/// When the kernel spoke of a plug.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// Just before the first `add`.
    pub(crate) first: Instant,
    /// Just after the last `bind`.
    pub(crate) last: Instant,
}

/// A memory stick whose disk nobody could take for one of this machine's: the numbers are of the range for experiments, and the
/// kernel's table of mounts, which tells what is in use, knows no such name.
pub(crate) fn stick(serial: &str) -> Model {
    let mut stick = models::memory_stick().with_serial(serial);
    for child in stick.settings.iter_mut().flat_map(|setting| &mut setting.children) {
        if let Some((name, major, ..)) = &mut child.node {
            *major = 240;
            *name = if name.ends_with('1') { "rig@1" } else { "rig@" };
        }
    }
    stick
}
