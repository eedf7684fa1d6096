//! The figures as a table for people, and in its place in a page.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::Row;

/// What stands around the table in a page.
const BEGIN: &str = "<!-- just guests-table -->";
const END: &str = "<!-- end -->";

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| language | component | build | first launch | the same with Winch | launch | load | call, 8 devices | call, 127 devices |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let figures = &row.figures;
        let launches = &row.launches;
        let times = [launches.first, launches.winch, launches.cached, figures.load, figures.few, figures.many];
        let times = [row.build].into_iter().chain(times).map(time).collect::<Vec<_>>().join(" | ");
        text += &format!("| {} | {} | {times} |\n", row.language, size(figures.bytes));
    }
    text
}

/// Replaces the table of a page.
pub(crate) fn put_into(page: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let Some((before, rest)) = text.split_once(BEGIN) else { bail!("{}: there is no {BEGIN}", page.display()) };
    let Some((_, after)) = rest.split_once(END) else { bail!("{}: there is no {END}", page.display()) };
    fs::write(page, format!("{before}{BEGIN}\n{}{END}{after}", table(rows)))?;
    Ok(())
}

fn size(bytes: u64) -> String {
    if bytes < 1_000_000 { format!("{} kB", bytes.div_ceil(1000)) } else { format!("{:.1} MB", bytes as f64 / 1e6) }
}

fn time(span: Duration) -> String {
    let milliseconds = span.as_secs_f64() * 1e3;
    match milliseconds {
        0.0..1.0 => format!("{:.0} µs", milliseconds * 1e3),
        1.0..10.0 => format!("{milliseconds:.1} ms"),
        10.0..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", milliseconds / 1e3),
    }
}
