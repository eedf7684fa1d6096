//! What is measured, what it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use yurt_benches::milliseconds;
use yurt_benches::report::{Figures, Goal, Row};
use yurt_conformance::driver::Isolation;

/// One thing that is measured, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Start,
    FirstByte,
    FirstByteOfPython,
    Whole,
    Destroy,
    Exec,
    Stop,
    CrowdStarted,
    CrowdEnded,
    Helpers,
    HelpersResident,
    HelpersShare,
    PluginResident,
    PluginShare,
    IdlePlugin,
    IdleHelpers,
    AllFigures,
    AllFiguresProcessor,
    StartBeside,
    Bulk,
    Lost,
}

/// All that was measured of one driver.
#[derive(Debug, Default)]
pub(crate) struct Measured(BTreeMap<Thing, Vec<f64>>);

impl Measured {
    pub(crate) fn add(&mut self, thing: Thing, took: Duration) {
        self.put(thing, milliseconds(took));
    }

    pub(crate) fn put(&mut self, thing: Thing, number: f64) {
        self.0.entry(thing).or_default().push(number);
    }

    fn figures(&self, thing: Thing) -> Option<Figures> {
        Figures::of(self.0.get(&thing)?.iter().copied())
    }
}

impl Thing {
    fn title(self, crowd: usize, idle: usize) -> String {
        match self {
            Thing::Start => "StartTask, ms".to_owned(),
            Thing::FirstByte => "StartTask → first byte of a shell's output, ms".to_owned(),
            Thing::FirstByteOfPython => "StartTask → first byte of Python's output, ms".to_owned(),
            Thing::Whole => "StartTask → end of a shell told, ms".to_owned(),
            Thing::Destroy => "DestroyTask of an ended task, ms".to_owned(),
            Thing::Exec => "ExecTask true, ms".to_owned(),
            Thing::Stop => "StopTask, the task ends at SIGTERM, ms".to_owned(),
            Thing::CrowdStarted => format!("{crowd} at once: all started, ms"),
            Thing::CrowdEnded => format!("{crowd} at once: end of all told, ms"),
            Thing::Helpers => "processes beside an idle task".to_owned(),
            Thing::HelpersResident => "… their memory (RSS), MiB".to_owned(),
            Thing::HelpersShare => "… its share where shared (PSS), MiB".to_owned(),
            Thing::PluginResident => format!("plugin with {idle} tasks (RSS), MiB"),
            Thing::PluginShare => "… its share where shared (PSS), MiB".to_owned(),
            Thing::IdlePlugin => format!("plugin with {idle} idle tasks: processor time, ms a minute"),
            Thing::IdleHelpers => "… what stays with them: processor time, ms a minute".to_owned(),
            Thing::AllFigures => format!("TaskStats of {idle} tasks at once: all told, ms"),
            Thing::AllFiguresProcessor => "… processor time of the plugin, ms".to_owned(),
            Thing::StartBeside => format!("StartTask beside {idle} tasks, ms"),
            Thing::Bulk => "100 MB through ExecTaskStreaming, ms".to_owned(),
            Thing::Lost => "exit codes lost".to_owned(),
        }
    }

    fn goal(self, isolation: Isolation) -> Option<Goal> {
        match self {
            Thing::Start => Some(Goal::AtMost(if isolation == Isolation::None { 8.0 } else { 15.0 })),
            Thing::Exec => Some(Goal::AtMost(3.0)),
            Thing::Stop => Some(Goal::OfTheirs(1.0)),
            Thing::HelpersResident => Some(Goal::AtMost(2.0)),
            Thing::Lost => Some(Goal::AtMost(0.0)),
            _ => None,
        }
    }
}

/// One for each thing.
pub(crate) fn rows(
    ours: &Measured,
    theirs: Option<&Measured>,
    isolation: Isolation,
    crowd: usize,
    idle: usize,
) -> Vec<Row> {
    let row = |thing: &Thing| Row {
        what: thing.title(crowd, idle),
        ours: ours.figures(*thing),
        theirs: theirs.and_then(|theirs| theirs.figures(*thing)),
        goal: thing.goal(isolation),
    };
    ours.0.keys().map(row).collect()
}
