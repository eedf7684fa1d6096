//! How a component stops. WASI has no signals, so each that asks a program to end means the same: standard input comes to its end.
//!
//! A component that ever looked at its standard input gets the time that the job gives it (`kill_timeout`) to notice, and ends by itself. One that
//! never did would not notice, and ends at once, by the signal that came, as any program does that does not handle it. So does one that is
//! asked a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::streams::Input;
use crate::sys;

/// Signals that ask a program to end.
fn kinds() -> [SignalKind; 6] {
    [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ]
}

/// From here on signals are heard, on a thread of their own: a component that computes gives this one no time.
pub(crate) fn listen() -> Result<Input, String> {
    let looked_at = Arc::new(AtomicBool::new(false));
    let (end, ended) = watch::channel(false);
    let (ready, is_ready) = mpsc::channel();
    let looks = Arc::clone(&looked_at);
    let heard = move || {
        let runtime = match Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(why) => return drop(ready.send(Err(why))),
        };
        runtime.block_on(async {
            let (say, mut said) = tokio::sync::mpsc::channel(1);
            for kind in kinds() {
                let mut signals = match signal(kind) {
                    Ok(signals) => signals,
                    Err(why) => return drop(ready.send(Err(why))),
                };
                let say = say.clone();
                tokio::spawn(async move {
                    while signals.recv().await.is_some() && say.send(kind.as_raw_value()).await.is_ok() {}
                });
            }
            let _ = ready.send(Ok(()));
            while let Some(signal) = said.recv().await {
                if *end.borrow() || !looks.load(Ordering::SeqCst) {
                    sys::end_by(signal);
                }
                let _ = end.send(true);
            }
        });
    };
    let spawned = thread::Builder::new().name("signals".into()).spawn(heard);
    let listening = spawned.and_then(|_| is_ready.recv().map_err(std::io::Error::other)?);
    listening.map_err(|why| format!("signals cannot be heard: {why}"))?;
    Ok(Input::new(ended, looked_at))
}
