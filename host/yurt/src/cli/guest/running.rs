//! `yurt guest status`, `metrics`, `swap`, `approve`, `rollback`: to a running plugin, over the socket in its runtime directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use yurt_guest::CallTotals;

use crate::cli::term::{Out, Style};
use crate::exchange::{Answer, Attempt, Outcome, Request, Status, ask};
use crate::places;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin's file name; may be left out where only one runs
    #[arg(value_name = "PLUGIN")]
    plugin: Option<String>,
    /// The agent's plugin_dir; may be left out where only one agent has plugins of ours
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Ends with 0 where what was asked for was done, else with 1.
pub(super) fn run(arguments: &Arguments, request: Request) -> anyhow::Result<ExitCode> {
    let socket = socket(arguments)?;
    let said = ask(&socket, request).with_context(|| format!("no answer from {}", socket.display()))?;
    let mut out = Out::new();
    if arguments.json {
        out.line(&serde_json::to_string(&said)?)?;
    }
    let done = match &said {
        Answer::Status(status) => {
            if !arguments.json {
                show(&mut out, status)?;
            }
            true
        }
        Answer::Done(attempt) => {
            if !arguments.json {
                tell(&mut out, attempt)?;
            }
            matches!(attempt.outcome, Outcome::Served | Outcome::RolledBack)
        }
        Answer::Nothing(why) => {
            if !arguments.json {
                out.line(why)?;
            }
            false
        }
    };
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sockets that may be meant and that somebody listens at: one at least.
pub(super) fn sockets(arguments: &Arguments) -> anyhow::Result<Vec<PathBuf>> {
    let sockets = places::sockets(arguments.plugin_dir.as_deref());
    let name = |socket: &Path| socket.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fit: Vec<PathBuf> = sockets
        .into_iter()
        .filter(|socket| arguments.plugin.as_deref().is_none_or(|plugin| name(socket) == plugin))
        .filter(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok())
        .collect();
    if fit.is_empty() {
        bail!(
            "no running plugin {}answers: is the agent up, and is this its user?",
            arguments.plugin.as_deref().map(|name| format!("called {name:?} ")).unwrap_or_default()
        );
    }
    Ok(fit)
}

/// The only one of them.
fn socket(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let mut fit = sockets(arguments)?;
    match (fit.pop(), fit.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => bail!("no running plugin answers"),
        (Some(last), others) => {
            let all: Vec<String> = others.iter().chain([&last]).map(|socket| socket.display().to_string()).collect();
            bail!("several plugins run ({}): name one, and its --plugin-dir where names repeat", all.join(", "))
        }
    }
}

fn show(out: &mut Out, status: &Status) -> anyhow::Result<()> {
    let probation = status.on_probation_seconds.map(|seconds| format!(", on probation for {seconds} s more"));
    for (name, value) in [
        (
            "serving",
            Some(format!("{}{}", out.paint(Style::Strong, &status.serving.to_string()), probation.unwrap_or_default())),
        ),
        ("from", Some(status.serving.origin.clone())),
        ("sha256", Some(status.serving.digest.clone())),
        ("rules", status.rules.clone()),
        ("swap", Some(format!("{}, turn {}", status.mode, status.turn))),
        ("before", status.before.as_ref().map(ToString::to_string)),
        (
            "waiting",
            status.waiting.as_ref().map(|what| out.paint(Style::Bad, &format!("{what}: `yurt guest approve`"))),
        ),
    ] {
        if let Some(value) = value {
            out.line(&format!("{name:<9} {value}"))?;
        }
    }
    if let Some(recording) = &status.recording {
        let gaps = match recording.left_out {
            0 => String::new(),
            left_out => out.paint(Style::Bad, &format!(", {left_out} left out")),
        };
        let file = recording.file.display();
        out.line(&format!("{:<9} {} calls in {file}{gaps}", "recorded", recording.written))?;
    }
    let serving = status.calls.iter().find(|guest| guest.digest == status.serving.digest);
    for call in serving.into_iter().flat_map(|guest| &guest.calls) {
        out.line(&format!("{:<9} {}", "calls", took(out, call)))?;
    }
    for attempt in &status.attempts {
        tell(out, attempt)?;
    }
    Ok(())
}

/// `group         12  p50 0.11 ms  p99 0.29 ms  76 % in the guest  1.1 MiB  1 failed: trap 1`
fn took(out: &Out, call: &CallTotals) -> String {
    let times = [("p50", 0.5), ("p99", 0.99)].map(|(name, part)| format!("{name} {}", span(call.quantile(part))));
    let all = call.guest_nanoseconds.saturating_add(call.host_nanoseconds).max(1);
    let guest = u128::from(call.guest_nanoseconds) * 100 / u128::from(all);
    let failures: Vec<String> = call.failures.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    let failed = match failures.is_empty() {
        true => String::new(),
        false => out.paint(Style::Bad, &format!("  failed: {}", failures.join(", "))),
    };
    let (name, count, [p50, p99], memory) = (&call.call, call.count, times, size(call.memory_max));
    format!("{name:<12} {count:>7}  {p50:<12}  {p99:<12}  {guest:>2} % in the guest  {memory}{failed}")
}

/// Nanoseconds for people.
pub(super) fn span(nanos: u64) -> String {
    let span = Duration::from_nanos(nanos);
    match nanos {
        0..=999_999 => format!("{:.1} µs", span.as_secs_f64() * 1e6),
        1_000_000..=999_999_999 => format!("{:.2} ms", span.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9999 => format!("{bytes} B"),
        10_000..=10_239_999 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

fn tell(out: &mut Out, attempt: &Attempt) -> anyhow::Result<()> {
    let ago = (UNIX_EPOCH + Duration::from_secs(attempt.at)).elapsed().unwrap_or_default().as_secs();
    let (word, style) = match attempt.outcome {
        Outcome::Served => ("serves", Style::Good),
        Outcome::Waits => ("waits", Style::Bad),
        Outcome::Refused => ("refused", Style::Bad),
        Outcome::RolledBack => ("rolled back", Style::Bad),
    };
    let word = out.paint(style, word);
    out.line(&format!("{word}  {}  {}", attempt.what, out.paint(Style::Faint, &format!("{ago} s ago"))))?;
    out.line(&format!("    {}", attempt.reason))?;
    for change in &attempt.changes {
        out.line(&format!("    - {change}"))?;
    }
    Ok(())
}
