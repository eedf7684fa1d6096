//! `yurt demo`: a Nomad agent in miniature, played against this very binary.
//!
//! Nothing is taken from the plugin's inside: the binary is linked into a plugin directory and launched three times as an
//! agent does (asked what it is, asked whether its configuration is right, started for good), and all that is shown came
//! over the wire. Without a USB bus a simulated one is written: a sysfs tree and uevents, as the kernel writes them.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_stream::StreamExt as _;
use yurt_nomad::client::{Agent, Launched};
use yurt_nomad::config;
use yurt_nomad::device::{Group, GroupStats, Health, Reservation};
use yurt_nomad::schema::Spec;
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Roots, scan};

use super::term::{Out, Style};
use crate::places;

/// Offers every device that is no hub.
const CONFIG: &str = "fingerprint_period = \"10s\"\nrule {}\n";
/// The port that the demo plugs and unplugs on the simulated bus.
const PORT: &str = "1-1.3";
/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A simulated bus even where there is a real one
    #[arg(long)]
    simulate: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Demo::new(arguments.simulate)?.play())?;
    Ok(ExitCode::SUCCESS)
}

struct Demo {
    out: Out,
    /// Holds the plugin directory, the state directory and the simulated bus; removed at the end.
    dir: PathBuf,
    bus: Option<Bus>,
    agent: Agent,
}

impl Demo {
    fn new(simulate: bool) -> anyhow::Result<Demo> {
        let dir = std::env::temp_dir().join(format!("yurt-demo-{}", std::process::id()));
        places::private_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let plugins = dir.join("plugins");
        places::private_dir(&plugins)?;
        let link = plugins.join("usb");
        symlink(std::env::current_exe()?, &link)?;

        let real = scan(&Roots::system()).devices.iter().any(|device| !device.is_hub);
        let mut args = Vec::new();
        let bus = if simulate || !real {
            let root = dir.join("usb");
            let roots = Roots::simulated(&root);
            let bus = Bus::create(&roots).context("cannot simulate a bus")?;
            bus.plug("1-1", &models::hub())?;
            bus.plug("1-1.1", &models::cp2102())?;
            bus.plug("1-1.2", &models::yubikey())?;
            args = vec!["--usb-root".into(), root.into()];
            Some(bus)
        } else {
            None
        };
        // Compiled guests stay in the user's own cache, so that only the first demo has to compile.
        let env = vec![(places::STATE_DIR.into(), state_dir().into())];
        let agent = Agent { program: link, args, env, ..Agent::default() };
        Ok(Demo { out: Out::new(), dir, bus, agent })
    }

    async fn play(mut self) -> anyhow::Result<()> {
        let outcome = self.acts().await;
        let _ = std::fs::remove_dir_all(&self.dir);
        outcome
    }
}
