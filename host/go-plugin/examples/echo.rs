//! A small plugin: go-plugin's own services, a log, and the ways to misbehave that its tests ask for in `ECHO_DO`.
//!
//! Started by hand it says what it is; `host/go-plugin/tests` start it as an application does.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use tracing::Level;
use yurt_go_plugin::server::{Invocation, ServeOptions, invocation, serve};
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
    match deed.as_str() {
        "print-first" => println!("hello from a library"),
        "end-at-once" => {
            tracing::info!("starting");
            tracing::error!(file = "/etc/echo", "cannot read the settings");
            return ExitCode::from(3);
        }
        "hang" => {
            tracing::warn!("waiting for a lock");
            loop {
                std::thread::park();
            }
        }
        "close-stdout" => {
            tracing::warn!("closing stdout");
            drop(std::process::Command::new("true").status());
            let nothing = std::fs::File::open("/dev/null").expect("there is a /dev/null");
            rustix::stdio::dup2_stdout(nothing).expect("stdout can be replaced");
            loop {
                std::thread::park();
            }
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = ServeOptions::default();
    let end = std::sync::Arc::clone(&options.end);
    let served = runtime.block_on(async {
        tokio::spawn(async move {
            match deed.as_str() {
                "talk" => talk(),
                "beat" => loop {
                    tracing::info!("beat");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                },
                "flood" => (0..20_000).for_each(|number| tracing::info!(number, "{}", "x".repeat(200))),
                "child" => {
                    // Careless on purpose: standard input and output are inherited.
                    let child =
                        std::process::Command::new("sleep").arg("60").stderr(std::process::Stdio::null()).spawn();
                    tracing::info!(child = child.map(|child| child.id()).unwrap_or_default(), "a child");
                }
                "end-itself" => end.notify_one(),
                _ => tracing::info!("serving"),
            }
        });
        serve(&HANDSHAKE, environment, tonic::service::Routes::default(), options).await
    });
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
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
    let _ =
        std::thread::Builder::new().name("worker".into()).spawn(|| panic!("out of\nideas")).map(|thread| thread.join());
    tracing::trace!("too low");
    tracing::info!("end of talk");
}
