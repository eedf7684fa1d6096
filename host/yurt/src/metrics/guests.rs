//! What the guests of plugins took.

use std::fmt::Write as _;

use yurt_guest::{CallTotals, GuestTotals};

use super::form::{begin, escaped, float, joined};
use crate::exchange::Status;

/// The edges of the histogram: powers of two of nanoseconds, from 16 µs to 34 s.
const EDGES: std::ops::RangeInclusive<u32> = 14..=35;

type Of = fn(&CallTotals) -> f64;

/// Of plugins by their names: one block for each figure.
pub(crate) fn text(plugins: &[(String, Status)]) -> String {
    let mut text = String::new();
    let calls = |figure: &mut dyn FnMut(&str, &CallTotals)| {
        for (plugin, status) in plugins {
            for guest in &status.calls {
                for call in &guest.calls {
                    figure(&labels(plugin, guest, &call.call), call);
                }
            }
        }
    };
    begin(&mut text, "yurt_guest_serving", "gauge", "1 for the guest that serves.");
    for (plugin, status) in plugins {
        let serving = &status.serving;
        let labels = [("plugin", plugin), ("guest", &serving.name), ("version", &serving.version)];
        let _ = writeln!(text, "yurt_guest_serving{{{},digest=\"{}\"}} 1", joined(&labels), short(&serving.digest));
    }
    begin(&mut text, "yurt_guest_turn", "gauge", "Grows with every exchange of guest or rules.");
    for (plugin, status) in plugins {
        let _ = writeln!(text, "yurt_guest_turn{{{}}} {}", joined(&[("plugin", plugin)]), status.turn);
    }

    let figures: [(&str, &str, &str, &str, Of); 8] = [
        ("yurt_guest_calls_total", "counter", "Calls into guests.", "", |call| float(call.count)),
        (
            "yurt_guest_time_seconds_total",
            "counter",
            "Time of calls, in the guest and in the host.",
            "where=\"guest\"",
            |call| float(call.guest_nanoseconds) / 1e9,
        ),
        ("yurt_guest_time_seconds_total", "", "", "where=\"host\"", |call| float(call.host_nanoseconds) / 1e9),
        ("yurt_guest_memory_bytes_max", "gauge", "The most memory of one call.", "", |call| float(call.memory_max)),
        ("yurt_guest_bytes_total", "counter", "Bytes handed over in calls.", "direction=\"in\"", |call| {
            float(call.bytes_in)
        }),
        ("yurt_guest_bytes_total", "", "", "direction=\"out\"", |call| float(call.bytes_out)),
        ("yurt_guest_log_lines_total", "counter", "Lines that guests wrote.", "", |call| float(call.log_lines)),
        ("yurt_guest_longest_seconds", "gauge", "The longest time of one call in the guest.", "", |call| {
            float(call.guest_nanoseconds_max) / 1e9
        }),
    ];
    for (name, kind, help, more, of) in figures {
        if !kind.is_empty() {
            begin(&mut text, name, kind, help);
        }
        calls(&mut |labels, call| {
            let comma = if more.is_empty() { "" } else { "," };
            let _ = writeln!(text, "{name}{{{labels}{comma}{more}}} {}", of(call));
        });
    }

    begin(&mut text, "yurt_guest_failures_total", "counter", "Calls that failed, by cause.");
    calls(&mut |labels, call| {
        for (cause, count) in &call.failures {
            let _ = writeln!(text, "yurt_guest_failures_total{{{labels},cause=\"{}\"}} {count}", escaped(cause));
        }
    });

    let name = "yurt_guest_call_seconds";
    begin(&mut text, name, "histogram", "Time of calls, guest and host together.");
    calls(&mut |labels, call| {
        for power in EDGES.step_by(3) {
            let edge = f64::exp2(f64::from(power)) / 1e9;
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{edge}\"}} {}", call.within(power));
        }
        let sum = float(call.guest_nanoseconds.saturating_add(call.host_nanoseconds)) / 1e9;
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", call.count);
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {}", call.count);
    });

    begin(&mut text, "yurt_recorded_calls_total", "counter", "Calls that were recorded, and that were left out.");
    for (plugin, status) in plugins {
        let Some(recording) = &status.recording else { continue };
        for (outcome, count) in [("written", recording.written), ("left_out", recording.left_out)] {
            let labels = joined(&[("plugin", plugin)]);
            let _ = writeln!(text, "yurt_recorded_calls_total{{{labels},outcome=\"{outcome}\"}} {count}");
        }
    }
    text
}

fn labels(plugin: &String, guest: &GuestTotals, call: &str) -> String {
    let names = [("plugin", plugin), ("guest", &guest.name), ("version", &guest.version)];
    format!("{},digest=\"{}\",call=\"{}\"", joined(&names), short(&guest.digest), escaped(call))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::exchange::GuestName;

    #[test]
    fn every_sample_is_of_a_figure_that_was_announced_and_labels_are_escaped() {
        let mut histogram = vec![0; 80];
        histogram.extend([2, 1]);
        let call = CallTotals {
            call: "group".into(),
            count: 3,
            failures: BTreeMap::from([("trap".into(), 1)]),
            guest_nanoseconds: 2_000_000,
            host_nanoseconds: 1_000_000,
            histogram,
            ..CallTotals::default()
        };
        let digest = "0123456789abcdef".to_owned();
        let guest =
            GuestTotals { name: "usb".into(), version: "1\"\\\n".into(), digest: digest.clone(), calls: vec![call] };
        let status = Status {
            serving: GuestName { name: "usb".into(), version: "1".into(), digest, origin: "usb".into() },
            rules: None,
            mode: "auto".into(),
            turn: 1,
            on_probation_seconds: None,
            before: None,
            waiting: None,
            attempts: Default::default(),
            calls: vec![guest],
            recording: None,
        };
        let text = text(&[("usb".to_owned(), status)]);
        let mut announced = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                announced.push(rest.split(' ').nth(1).unwrap().to_owned());
                continue;
            }
            let name = line.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(announced.iter().any(|known| known == family), "{line}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        let labels = r#"plugin="usb",guest="usb",version="1\"\\\n",digest="0123456789ab",call="group""#;
        for sample in [
            format!("yurt_guest_calls_total{{{labels}}} 3"),
            format!("yurt_guest_failures_total{{{labels},cause=\"trap\"}} 1"),
            format!("yurt_guest_call_seconds_bucket{{{labels},le=\"0.001048576\"}} 0"),
            format!("yurt_guest_call_seconds_bucket{{{labels},le=\"0.008388608\"}} 3"),
            format!("yurt_guest_call_seconds_sum{{{labels}}} 0.003"),
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\nis not in\n{text}");
        }
    }
}
