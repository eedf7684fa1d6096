//! A row of the acceptance list: run against the driver under test in each of its modes, or not, with a reason that is printed.

use std::io::Write as _;

use super::node::Node;
use super::subject::{Flavour, Isolation, Subject};

/// What the peers cannot do or are known to fail: row, driver, reason.
pub(crate) const EXCUSES: &str = include_str!("../../acceptance/peers.txt");

/// In each mode of the driver under test: the row, then a look for what is left.
pub async fn each(row: &str, body: impl AsyncFn(&mut Node)) {
    run(row, |_| None, body).await;
}

/// Rows that the modes of [`Subject::more`] have, too.
pub(crate) const IN_EVERY_MODE: &[&str] = &[
    "K01", "K02", "S01", "S02", "S03", "S07", "S08", "S10", "S14", "S18", "S21", "S22", "S28", "S33", "S35", "S42",
    "S43", "X01", "X12",
];

/// Where tasks have a root directory and namespaces of their own.
pub async fn in_a_root(row: &str, body: impl AsyncFn(&mut Node)) {
    let only = |subject: Subject| (!subject.isolation.has_a_root()).then_some("its tasks have the host's root");
    run(row, only, body).await;
}

/// Where tasks have the host's root and namespaces.
pub async fn in_the_hosts_files(row: &str, body: impl AsyncFn(&mut Node)) {
    let only =
        |subject: Subject| (subject.isolation != Isolation::None).then_some("its tasks have a root of their own");
    run(row, only, body).await;
}

/// Where tasks have this of the host.
pub async fn with(isolation: Isolation, row: &str, body: impl AsyncFn(&mut Node)) {
    let fits = |subject: Subject| subject.isolation == isolation && subject.flavour.is_yurt();
    run(row, |subject| (!fits(subject)).then_some("it is about another mode of Yurt's"), body).await;
}

/// About something that only Yurt has, whatever its guest: `what` says what the others lack.
pub async fn of_yurt(row: &str, what: &str, body: impl AsyncFn(&mut Node)) {
    run(row, |subject| (!subject.flavour.is_yurt()).then_some(what), body).await;
}

/// About something that only the python guest has.
pub async fn of_python(row: &str, what: &str, body: impl AsyncFn(&mut Node)) {
    run(row, |subject| (subject.flavour != Flavour::Python).then_some(what), body).await;
}

/// About what jobs and operators say to the exec guest, where tasks have a root directory and namespaces of their own.
pub async fn of_yurt_exec(row: &str, body: impl AsyncFn(&mut Node)) {
    let only = |subject: Subject| match (subject.flavour, subject.isolation) {
        (Flavour::YurtExec, isolation) if isolation.has_a_root() => None,
        (Flavour::YurtExec, _) => Some("its tasks have the host's root"),
        _ => Some("it is said in the exec guest's words"),
    };
    run(row, only, body).await;
}

/// About what jobs and operators say to the raw_exec guest.
pub async fn of_yurt_raw_exec(row: &str, body: impl AsyncFn(&mut Node)) {
    let why = "it is said in the raw_exec guest's words";
    run(row, |subject| (subject.flavour != Flavour::YurtRawExec).then_some(why), body).await;
}

async fn run<'a>(row: &str, not_for: impl Fn(Subject) -> Option<&'a str>, body: impl AsyncFn(&mut Node)) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the rows of the task driver need root");
        say(&format!("{row}: skipped: needs root, for tasks of another user, control groups and mounts"));
        return;
    }
    let mut subjects = Subject::all();
    if IN_EVERY_MODE.contains(&row) {
        subjects.extend(Subject::more());
    }
    for subject in &subjects {
        // Only what was told of it is asserted there: `YURT_HOSTILE` wants it told.
        let shown = row == "S42" && std::env::var_os("YURT_HOSTILE").is_some();
        if let Some(why) = excuse(row, subject.flavour).filter(|_| !shown) {
            say(&format!("{row}: not for {subject}: {why}"));
            continue;
        }
        if let Some(why) = not_for(*subject) {
            // Where another mode shows the row it is no news.
            if subjects.len() == 1 {
                say(&format!("{row}: not for {subject}: {why}"));
            }
            continue;
        }
        let mut node = Node::start(*subject).await;
        let mut named = Named { row, subject: *subject, passed: false };
        body(&mut node).await;
        node.finish().await;
        named.passed = true;
    }
}

/// Says in which mode a row failed.
struct Named<'a> {
    row: &'a str,
    subject: Subject,
    passed: bool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if !self.passed {
            say(&format!("{}: failed with {}", self.row, self.subject));
        }
    }
}

/// Why a row is not for a peer.
pub(crate) fn excuse(row: &str, flavour: Flavour) -> Option<&'static str> {
    let lines = EXCUSES.lines().filter(|line| !line.starts_with('#'));
    let mut fields = lines.filter_map(|line| {
        let (row, rest) = line.split_once(' ')?;
        let (flavour, why) = rest.trim_start().split_once(' ')?;
        Some((row, flavour, why.trim_start()))
    });
    fields.find(|(of, by, _)| *of == row && *by == flavour.name()).map(|(_, _, why)| why)
}

/// Past the test harness, which keeps the words of tests that pass to itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
