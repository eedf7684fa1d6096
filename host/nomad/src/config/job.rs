//! A job's file as far as task drivers are concerned: its tasks, their drivers and their `config` blocks, evaluated by a driver's schema before
//! the job runs. What only the node knows, or whoever submits the job and does not say here, is unknown and passes; everything else a job
//! may hold is left alone.

use std::ops::Range;

use hcl_edit::structure::{Attribute, Block, Body};
use serde_json::Value;

use super::hcl;
use super::places::{Place, places};
use super::written::Content;
pub use crate::hcl::Variables;
use crate::hcl::{Fault, Faults, Kind, Node, Scope, evaluate, label, start};
use crate::schema::Spec;
use crate::text::cleaned;

/// Longest sentence and hint, in characters: names from the file stand in them.
const REASON_MAX: usize = 500;

/// Most that is said around the tasks.
const PROBLEMS_MAX: usize = 100;

/// What a job's file holds.
#[derive(Debug)]
pub struct Job {
    /// In the order of the file; of those that a `dynamic` block makes, the one that it makes them of.
    pub tasks: Vec<Task>,
    /// What is wrong around the tasks.
    pub problems: Vec<Problem>,
}

/// One task.
#[derive(Debug)]
pub struct Task {
    /// As it is labelled.
    pub name: String,
    /// The group that it stands in; a task may stand in the job itself.
    pub group: Option<String>,
    /// None: it is known only when the job is submitted.
    pub driver: Option<String>,
    /// Of the driver's name, in bytes of the text.
    pub driver_at: Range<usize>,
    /// None: it is known only when the job is submitted.
    config: Option<Content>,
    faults: Faults,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the text.
    pub at: Range<usize>,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A task's `config` block by a schema.
#[derive(Debug)]
pub struct Read {
    /// Every key of the schema; null where nothing was given, or something wrong or unknown.
    pub value: Value,
    /// Paths that are null because they are unknown, or wrong and said so in `problems`.
    pub unknown: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Whether `value` and `unknown` are all that there is to judge: nothing is missing, unheard of or too often there, and the block is
    /// known at all.
    pub whole: bool,
    places: Vec<Place>,
    at: Range<usize>,
}

impl Job {
    /// Reads a job's file, with these values for its variables.
    ///
    /// # Errors
    /// If it is not HCL, or longer than Nomad takes.
    pub fn parse(text: &str, variables: &Variables) -> Result<Job, Problem> {
        let file = crate::hcl::job(text).map_err(|fault| problem(&fault, text, &[]))?;
        let mut faults = Faults::default();
        let scope = Scope::of_file(&file, variables, &mut faults);
        let problems = faults.iter().map(|fault| problem(fault, text, &[])).collect();
        let mut finder = Finder { text, scope: &scope, job: Job { tasks: Vec::new(), problems } };
        let mut jobs = file.get_blocks("job");
        match jobs.next() {
            Some(block) => finder.groups(&block.body),
            None => finder.complain(0..0, "there is no job in this file", "write job \"name\" { … }"),
        }
        if let Some(second) = jobs.next() {
            finder.complain(
                named(second),
                "a file holds one job, and this is the second",
                "put it into a file of its own",
            );
        }
        Ok(finder.job)
    }
}

/// Collects tasks on the way through a job.
struct Finder<'a> {
    text: &'a str,
    scope: &'a Scope,
    job: Job,
}

impl Finder<'_> {
    fn complain(&mut self, at: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (cleaned(&message.into(), REASON_MAX), cleaned(&hint.into(), REASON_MAX));
        self.push(Problem { at, message, hint: Some(hint) });
    }

    fn push(&mut self, problem: Problem) {
        if self.job.problems.len() < PROBLEMS_MAX {
            self.job.problems.push(problem);
        }
    }

    fn groups(&mut self, job: &Body) {
        for (group, name, body) in blocks(job, "group") {
            self.labelled("group", group, name.as_deref());
            for (task, label, body) in blocks(body, "task") {
                self.task(task, label, name.clone(), body);
            }
        }
        for (task, label, body) in blocks(job, "task") {
            self.task(task, label, None, body);
        }
    }

    fn labelled(&mut self, kind: &str, block: &Block, name: Option<&str>) {
        if name.is_none() && block.ident.as_str() == kind {
            self.complain(named(block), format!("this {kind} has no name"), format!("write {kind} \"name\" {{ … }}"));
        }
    }

    fn task(&mut self, block: &Block, name: Option<String>, group: Option<String>, body: &Body) {
        self.labelled("task", block, name.as_deref());
        let name = name.unwrap_or_default();
        let Some(driver) = body.get_attribute("driver") else {
            let message = match name.as_str() {
                "" => "this task has no driver".to_owned(),
                name => format!("the task {name:?} has no driver"),
            };
            return self.complain(named(block), message, "write driver = \"…\"");
        };
        let (driver, driver_at) = self.driver(driver);
        let mut faults = Faults::default();
        let config = self.config(body, driver_at.start, &mut faults);
        self.job.tasks.push(Task { name, group, driver, driver_at, config, faults });
    }

    fn driver(&mut self, attribute: &Attribute) -> (Option<String>, Range<usize>) {
        let at = start(attribute, 0);
        match evaluate(&attribute.value, at, Some(self.scope)) {
            Ok(Node { kind: Kind::Text(name), at, end }) => (Some(name), at..end),
            Ok(Node { at, end, .. }) => (None, at..end),
            Err(fault) => {
                self.push(problem(&fault, self.text, &[]));
                (None, at..at)
            }
        }
    }

    fn config(&self, task: &Body, otherwise: usize, faults: &mut Faults) -> Option<Content> {
        if let Some(attribute) = task.get_attribute("config") {
            let at = start(attribute, otherwise);
            faults.push(Fault::new(at, "config is a block").hinting("write config { … }, without `=`"));
            return None;
        }
        let mut found = blocks(task, "config");
        match (found.next(), found.next()) {
            (_, Some((second, ..))) => {
                faults.push(Fault::new(named(second).start, "a task has one config block, and this is the second"));
                None
            }
            (Some((block, _, body)), None) if block.ident.as_str() == "config" => {
                Some(Content::read(body, named(block).start, Some(self.scope), faults))
            }
            (Some(_), None) => None,
            // None at all is an empty one.
            (None, None) => Some(Content { items: Vec::new(), at: otherwise }),
        }
    }
}

/// The blocks of a name with their first labels, also those that a `dynamic` block makes; their labels are not known.
fn blocks<'a>(body: &'a Body, name: &'a str) -> impl Iterator<Item = (&'a Block, Option<String>, &'a Body)> {
    body.blocks().filter_map(move |block| match (block.ident.as_str(), block.labels.first().map(label)) {
        (ident, label) if ident == name => Some((block, label, &block.body)),
        ("dynamic", Some(of)) if of == name => {
            block.body.get_blocks("content").next().map(|content| (block, None, &content.body))
        }
        _ => None,
    })
}

/// Where a block is named.
fn named(block: &Block) -> Range<usize> {
    let at = start(block, 0);
    at..at + block.ident.as_str().len()
}

impl Task {
    /// Evaluates the `config` block as an agent would when it runs the task.
    pub fn read(&self, text: &str, schema: &Spec) -> Read {
        let mut faults = self.faults.clone();
        let mut at = self.driver_at.clone();
        let (mut value, mut found, mut unknown) = (Value::Null, Vec::new(), Vec::new());
        let mut whole = false;
        if let Some(content) = &self.config {
            found = places(schema, content);
            value = hcl::body(schema, content, &mut faults);
            let is_of = |fault: &Fault, place: &Place| place.attribute && (place.at..=place.end).contains(&fault.at);
            whole = faults.iter().all(|fault| found.iter().any(|place| is_of(fault, place)));
            let passes = found.iter().filter(|place| place.unknown || faults.iter().any(|fault| is_of(fault, place)));
            unknown = passes.map(|place| place.path.clone()).collect();
            if content.at != at.start {
                at = content.at..content.at + "config".len();
            }
        }
        let problems = faults.iter().map(|fault| problem(fault, text, &found)).collect();
        Read { value, unknown, problems, whole, places: found, at }
    }
}

impl Read {
    /// Where a dotted path such as `rule[2].vendor` stands, or as much of it as is written; and whether that is all of it.
    pub fn place(&self, path: &str) -> (Range<usize>, bool) {
        let mut path = path;
        let whole = path.len();
        loop {
            if let Some(place) = self.places.iter().find(|place| place.path == path) {
                return (place.at..place.end, path.len() == whole);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return (self.at.clone(), false),
            }
        }
    }
}

fn problem(fault: &Fault, text: &str, places: &[Place]) -> Problem {
    let place = places.iter().find(|place| place.at == fault.at);
    let end = place.map_or_else(|| fault.at + word(text.get(fault.at..).unwrap_or_default()), |place| place.end);
    Problem {
        at: fault.at..end,
        message: cleaned(&fault.reason, REASON_MAX),
        hint: fault.hint.as_deref().map(|hint| cleaned(hint, REASON_MAX)),
    }
}

/// How far the word or text goes that begins here.
fn word(text: &str) -> usize {
    match text.strip_prefix('"') {
        Some(inner) => match inner.find(['"', '\n']) {
            Some(end) => end + 1 + usize::from(inner.as_bytes().get(end) == Some(&b'"')),
            None => text.len(),
        },
        None => text.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.')).unwrap_or(text.len()),
    }
}
