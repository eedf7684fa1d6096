//! A small plugin: go-plugin's own services, a log, and the ways to misbehave that its tests ask for in `ECHO_DO`.
//!
//! Started by hand it says what it is; `host/go-plugin/tests` start it as an application does.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::Level;
use yurt_go_plugin::server::{Environment, Invocation, ServeError, ServeOptions, invocation, serve};
use yurt_go_plugin::{Handshake, log};

const HANDSHAKE: Handshake =
    Handshake { cookie_key: "ECHO_PLUGIN_COOKIE", cookie_value: "a1b2c3", protocol_version: 7 };

fn main() -> ExitCode {
    let environment = match invocation(&HANDSHAKE) {
        Ok(Invocation::Plugin(environment)) => environment,
        Ok(Invocation::Person | Invocation::WrongCookie) => {
            eprintln!("This is a plugin: an application starts it.");
            return ExitCode::FAILURE;
        }
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let deed = std::env::var("ECHO_DO").unwrap_or_default();
    let control = log::install("echo", Level::DEBUG);
    if let Some(file) = std::env::var_os("ECHO_LOG") {
        control.fall_back_to(file.into());
    }
    if let Some(end) = before_serving(&deed) {
        return end;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let served = runtime.block_on(run(deed.clone(), environment, control));
    runtime.shutdown_background();
    if deed == "linger" {
        hang();
    }
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(deed: String, mut environment: Environment, control: log::Control) -> Result<(), ServeError> {
    if deed == "ignore-certificate" {
        environment.client_certificates = None;
    }
    let options = ServeOptions::default();
    let end = Arc::clone(&options.end);
    tokio::spawn(async move {
        while_serving(&deed, &control, &end).await;
        tracing::info!("end of {deed}");
    });
    serve(&HANDSHAKE, environment, tonic::service::Routes::default(), options).await
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn before_serving(deed: &str) -> Option<ExitCode> {
    match deed {
        "print-first" => println!("hello from a library"),
        "end-at-once" => {
            tracing::info!("starting");
            tracing::error!(file = "/etc/echo", "cannot read the settings");
            return Some(ExitCode::from(3));
        }
        "hang" => {
            tracing::warn!("waiting for a lock");
            hang();
        }
        "close-stdout" => {
            tracing::warn!("closing stdout");
            let nothing = std::fs::File::open("/dev/null").expect("there is a /dev/null");
            rustix::stdio::dup2_stdout(nothing).expect("stdout can be replaced");
            hang();
        }
        _ => {}
    }
    None
}

async fn while_serving(deed: &str, control: &log::Control, end: &Notify) {
    match deed {
        "talk" => talk(),
        "beat" => loop {
            tracing::info!("beat");
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        "quieten" => {
            for level in [Level::DEBUG, Level::WARN] {
                control.set_level(level);
                tracing::debug!("debug at {}", level.as_str().to_lowercase());
                tracing::warn!("warn at {}", level.as_str().to_lowercase());
            }
            control.set_level(Level::TRACE);
        }
        "flood" => (0..5000).for_each(|number| tracing::info!(number, "{}", "x".repeat(200))),
        "chorus" => {
            let sing = |voice: usize| (0..50).for_each(|_| tracing::info!(voice, "{}", "la ".repeat(3000)));
            let voices: Vec<_> = (0..8).map(|voice| std::thread::spawn(move || sing(voice))).collect();
            voices.into_iter().for_each(|voice| voice.join().expect("a voice"));
        }
        // Careless on purpose: the one inherits stdin and stdout, the other stderr as well.
        "child" => child(Command::new("sleep").arg("60").stderr(Stdio::null())),
        "heir" => child(Command::new("sleep").arg("60")),
        "end-itself" => end.notify_one(),
        _ => {}
    }
}

// It is to outlive this process.
#[allow(clippy::zombie_processes)]
fn child(command: &mut Command) {
    let child = command.spawn().expect("sleep is a program");
    tracing::info!(child = child.id(), "a child");
}

/// Everything that a log line can have.
fn talk() {
    println!("a line that belongs to nobody");
    tracing::debug!(count = 3, ratio = 0.5, ok = true, big = u64::MAX, nan = f64::NAN, "numbers");
    let span = tracing::info_span!("call", device = "1-2", attempt = 1);
    span.in_scope(|| tracing::warn!(attempt = 2, "in a\nspan\u{1b}[31m \u{202e}"));
    tracing::info!("@level" = 7, "@message" = true, "@timestamp" = "now", "@module" = 1.5, "names of the parent's");
    tracing::info!(message = 5);
    tracing::error!(text = "y".repeat(100_000), "{}", "z".repeat(200_000));
    let worker = std::thread::Builder::new().name("worker".into());
    let _ = worker.spawn(|| panic!("out of\nideas")).map(|thread| thread.join());
    tracing::trace!("too low");
}
