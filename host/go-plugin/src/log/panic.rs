//! A panic as one line of the log: in the default form an application would log it at `debug`, in pieces.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use tracing::Level;

use super::Control;
use super::encode::Fields;

/// Every panic of this process, caught or not, is logged from now on.
pub(super) fn install(control: Control) {
    std::panic::set_hook(Box::new(move |info| control.say(Level::ERROR, &told(info))));
}

fn told(info: &PanicHookInfo<'_>) -> Fields {
    let mut fields = Fields::of_event();
    fields.text("message", &format_args!("panic: {}", info.payload_as_str().unwrap_or("(no text)")));
    if let Some(location) = info.location() {
        fields.text("location", location);
    }
    fields.text("thread", &std::thread::current().name().unwrap_or("(unnamed)"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        fields.text("backtrace", &backtrace);
    }
    fields
}
