//! One table, or the same as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// Least, median, greatest of all measurements of a thing.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    least: f64,
    median: f64,
    greatest: f64,
    count: usize,
}

impl Figures {
    /// Of nothing there are none.
    pub fn of(all: impl IntoIterator<Item = f64>) -> Option<Figures> {
        let mut all: Vec<f64> = all.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let (least, greatest) = (*all.first()?, *all.last()?);
        Some(Figures { least, median: *all.get(all.len() / 2)?, greatest, count: all.len() })
    }

    fn text(self) -> String {
        let Figures { least, median, greatest, count } = self;
        if count == 1 { short(median) } else { format!("{} ({}–{})", short(median), short(least), short(greatest)) }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.greatest, "n": self.count })
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No more than this part of the peer's.
    OfTheirs(f64),
}

/// One thing that was measured.
#[derive(Debug)]
pub struct Row {
    /// What, with its unit.
    pub what: String,
    /// Yurt's.
    pub ours: Option<Figures>,
    /// The peer's.
    pub theirs: Option<Figures>,
    /// If there is one.
    pub goal: Option<Goal>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.ours?.median, self.theirs?.median);
        (theirs > 0.0).then(|| ours / theirs)
    }

    fn met(&self) -> Option<bool> {
        match self.goal? {
            Goal::AtMost(most) => Some(self.ours?.median <= most),
            Goal::OfTheirs(part) => Some(self.ratio()? <= part),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => format!("≤ {}", short(most)),
            Some(Goal::OfTheirs(part)) => format!("≤ {part:.2} × theirs"),
        }
    }

    fn json(&self, peer: &str) -> Value {
        let goal = match self.goal {
            None => Value::Null,
            Some(Goal::AtMost(most)) => json!({ "at_most": most }),
            Some(Goal::OfTheirs(part)) => json!({ "of_theirs": part }),
        };
        json!({
            "what": self.what,
            "yurt": self.ours.map(Figures::json),
            peer: self.theirs.map(Figures::json),
            "ratio": self.ratio(),
            "goal": goal,
            "met": self.met(),
        })
    }
}

/// For people. `peer` is the name of the other one.
pub fn table(rows: &[Row], peer: &str) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "yurt", peer, "ratio", "goal", "met"]);
    for row in rows {
        let figures = |figures: Option<Figures>| figures.map_or_else(|| "–".to_owned(), Figures::text);
        table.add_row([
            row.what.clone(),
            figures(row.ours),
            figures(row.theirs),
            row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            row.goal_text(),
            row.met().map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// For programs.
pub fn json(rows: &[Row], peer: &str) -> Value {
    rows.iter().map(|row| row.json(peer)).collect()
}

/// Three digits that count.
fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 99.95 || n == number.trunc().abs() => format!("{number:.0}"),
        n if n >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
