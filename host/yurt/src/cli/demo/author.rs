//! `yurt demo --guest`: an author's guest as an agent would serve it, on a simulated bus, for as long as somebody looks.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use yurt_nomad::client::Agent;

use super::bus::SimulatedBus;
use super::{Scratch, directories, launch, show};
use crate::choice::{self, Named};
use crate::cli::term::Out;
use crate::places::{self, Places};

pub(super) async fn play(guest: &Path, config: Option<&Path>) -> anyhow::Result<()> {
    let guest = fs::canonicalize(guest).with_context(|| guest.display().to_string())?;
    let beside = guest.with_file_name("demo.hcl");
    let config = config.unwrap_or(&beside);
    let written = fs::read_to_string(config)
        .with_context(|| format!("{}: what would the guest's operator write? (--config FILE)", config.display()))?;

    let scratch = Scratch::make()?;
    let (state, plugins) = directories(&scratch)?;
    let bus = SimulatedBus::make(&scratch.0.join("usb"))?;
    bus.plug()?;
    let name = guest.file_stem().map_or_else(|| "guest".into(), |name| name.to_string_lossy().into_owned());
    let program = launch::linked(&plugins, &name)?;
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled");
    let places = Places::below(&state, &Named::from_argv0(Some(program.clone().into())));
    choice::prepared(&guest, &places).map_err(anyhow::Error::msg)?;
    progress.finish_and_clear();
    let agent = Agent {
        program,
        args: ["--guest".into(), guest.clone().into(), "--usb-root".into(), bus.dir.clone().into()].into(),
        env: vec![(places::STATE_DIR.into(), state.into())],
        ..Agent::default()
    };

    out.heading(
        "an agent in miniature",
        &format!("{} as a Nomad device plugin, on a simulated USB bus", guest.display()),
    )?;
    let (mut plugin, _) = launch::launched(&mut out, &agent, &written).await?;
    let mut offers = plugin.device.fingerprint().await?;
    let began = Instant::now();
    loop {
        let groups = offers.next().await?;
        out.heading("offer", &format!("what the node would show, after {}", show::span(began.elapsed())))?;
        show::groups(&mut out, &groups)?;
    }
}
