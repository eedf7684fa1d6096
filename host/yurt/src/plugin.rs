//! A launch under Nomad's magic cookie: log, guest, listener, in the order in which each can fail usefully.
//!
//! The agent starts this process three times per start of its own and waits for each, so everything here is on the way of
//! somebody's `systemctl restart nomad`: one thread for the wire, the guest from the compiled-code cache, no hardware.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use tokio::sync::watch;
use yurt_go_plugin::log;
use yurt_go_plugin::server::{Environment, ServeOptions, serve};
use yurt_guest::{Compiler, FirstTier, Options, Runtime, Source};
use yurt_usb::Roots;

use crate::choice::{self, Named, Plugin};
use crate::device_plugin::DevicePlugin;
use crate::driver_plugin::DriverPlugin;
use crate::exchange::Known;
use crate::host_config::Common;
use crate::metrics::{self, Endpoint, Figures};
use crate::offer::Offers;
use crate::pin::Pin;
use crate::places::Places;
use crate::record::{self, Recorder};
use crate::say;

/// What the stanza's `args` may hold.
#[derive(Debug, Parser)]
#[command(name = "yurt", about = "Serves a Nomad plugin (started by the agent)", disable_help_subcommand = true)]
struct Arguments {
    /// The guest that serves: the name of a built-in one, a component file, or a directory of versions with a link `current`.
    #[arg(long, value_name = "NAME|FILE|DIR")]
    guest: Option<String>,
    /// The only guest that may serve, by its SHA-256.
    #[arg(long, value_name = "sha256:DIGITS")]
    guest_digest: Option<String>,
    /// Who compiles a large guest that was never seen before, so that it serves at once.
    #[arg(long, value_name = "COMPILER", value_enum, default_value_t = Translator::Cranelift)]
    first_tier: Translator,
    /// A simulated bus instead of this machine's: a directory with `sys`, `dev` and `events.sock`.
    #[arg(long, value_name = "DIR", hide = true)]
    usb_root: Option<PathBuf>,
}

/// See [`FirstTier`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Translator {
    Cranelift,
    Winch,
}

/// What a launch has found out before it knows which kind of plugin it is.
pub(crate) struct Begun {
    pub(crate) runtime: Runtime,
    /// Where the guest comes from.
    pub(crate) source: Source,
    /// The only guest that may serve, by the arguments.
    pub(crate) pin: Option<Pin>,
    /// What was read there, if that serves.
    pub(crate) known: Option<Known>,
    pub(crate) places: Places,
    pub(crate) log: log::Control,
    pub(crate) recorder: Arc<Recorder>,
    /// Where figures are to be served.
    pub(crate) metrics: watch::Sender<Option<Endpoint>>,
}

impl Begun {
    /// What every plugin's block says of the process.
    pub(crate) fn configured(&self, common: &Common) {
        self.log.set_level(common.log_level);
        self.recorder.set(common.record.as_ref(), &self.runtime, self.places.file_name());
        self.metrics.send_if_modified(|endpoint| {
            let different = *endpoint != common.metrics;
            endpoint.clone_from(&common.metrics);
            different
        });
    }

    /// Serves figures from now on, if the configuration says so.
    pub(crate) fn serve_metrics(&self, offers: Option<Arc<Offers>>, tasks: Option<metrics::Tasks>) {
        let figures = Figures { places: self.places.clone(), offers, tasks };
        tokio::spawn(metrics::run(self.metrics.subscribe(), figures));
    }

    /// The guest that a pin in the configuration asks for, if it is there and can serve.
    pub(crate) fn pinned(&self, pin: &Pin) -> Option<Plugin> {
        let _rehearsal = record::rehearsal();
        choice::pinned(&self.runtime, &self.source, &self.places, pin)
    }
}

/// Serves until the agent asks to end. A plugin that cannot serve says why in one sentence on stderr, where the agent logs it.
pub(crate) fn run(environment: Environment) -> ExitCode {
    match try_run(environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            if !tracing::enabled!(tracing::Level::ERROR) {
                say(&why);
            }
            ExitCode::FAILURE
        }
    }
}

fn try_run(environment: Environment) -> Result<(), String> {
    let named = Named::from_argv0(std::env::args_os().next());
    let places = Places::of(&named);
    let log = log::install("yurt", tracing::Level::INFO);
    let arguments = Arguments::try_parse().map_err(|why| first_line(&why.to_string()))?;

    if let Err(why) = places.prepare() {
        tracing::warn!(error = %why, "no state directory: nothing is cached, and no guest is kept for a bad day");
    } else {
        log.fall_back_to(places.log());
    }
    let options = Options {
        cache_dir: Some(places.cache()),
        compiler: Some(Compiler::this_program()),
        first_tier: match arguments.first_tier {
            Translator::Cranelift => FirstTier::Cranelift,
            Translator::Winch => FirstTier::Winch,
        },
        ..Options::default()
    };
    let runtime = Runtime::new(options).map_err(|why| why.to_string())?;
    let source = choice::source(&named, arguments.guest.as_deref())?;
    let pin = arguments.guest_digest.as_deref().map(|given| Pin::parse("--guest-digest", given)).transpose()?;
    let chosen = choice::load(&runtime, &source, &places, pin.as_ref())?;
    if let Some(why) = &chosen.instead_of {
        tracing::error!(serving = chosen.plugin.digest(), "the last good guest serves instead: {why}");
    }
    let wire = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|why| format!("no runtime: {why}"))?;
    let begun = Begun {
        runtime,
        source,
        pin,
        known: chosen.known,
        places,
        log,
        recorder: Arc::default(),
        metrics: watch::Sender::new(None),
    };
    let served = wire.block_on(async {
        let routes = match chosen.plugin {
            Plugin::Device(device) => {
                let roots = arguments.usb_root.as_deref().map_or_else(Roots::system, Roots::simulated);
                yurt_nomad::device::routes(Arc::new(DevicePlugin::new(*device, roots, begun)))
            }
            Plugin::Driver(driver) => {
                if let Err(why) = yurt_task::raise_open_files() {
                    tracing::warn!("the limit of open files stays as it is: {why}");
                }
                yurt_nomad::driver::routes(Arc::new(DriverPlugin::new(*driver, begun)))
            }
        };
        serve(&yurt_nomad::HANDSHAKE, environment, routes, ServeOptions::default()).await
    });
    // Guest calls and streams in flight end with the process: the agent waits two seconds at most, and they hold nothing.
    wire.shutdown_background();
    served.map_err(|why| why.to_string())
}

/// The guest that a stanza's `args` name.
pub(crate) fn guest_of(args: &[String]) -> Result<Option<String>, String> {
    let words = std::iter::once("yurt").chain(args.iter().map(String::as_str));
    let arguments = Arguments::try_parse_from(words).map_err(|why| first_line(&why.to_string()))?;
    Ok(arguments.guest)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
