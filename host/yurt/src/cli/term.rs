//! Output for people: colour on a terminal, plain text otherwise.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::ProgressBar;

/// Standard output with or without colour (`NO_COLOR` and pipes: without).
pub(super) struct Out {
    out: io::Stdout,
    colour: bool,
}

/// What a text means; the terminal's own palette decides how it looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Wants attention.
    Bad,
    /// A name that can be used elsewhere.
    Name,
}

impl Out {
    pub(super) fn new() -> Out {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Out { out: io::stdout(), colour: !plain && io::stdout().is_terminal() }
    }

    /// A spinner that says what takes so long; nothing where nobody watches.
    pub(super) fn progress(&self, what: &str) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }

    /// A new part, with what it is about.
    pub(super) fn heading(&mut self, title: &str, about: &str) -> io::Result<()> {
        self.line(&format!("{}  {about}", self.paint(Style::Strong, title)))
    }

    /// Something done, and how long it took.
    pub(super) fn step(&mut self, name: &str, what: &str, took: Duration) -> io::Result<()> {
        self.line(&format!(
            "  {}  {what}  {}",
            self.paint(Style::Name, name),
            self.paint(Style::Faint, &format!("{} ms", took.as_millis()))
        ))
    }

    /// `text` in a style.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Name => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// One line.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
