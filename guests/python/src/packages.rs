//! What goes before the program: a virtual environment with the job's requirements in it, from a directory of wheels and never from the
//! network; a zip application whose check sum has to be right.

use yurt_sdk::Said;
use yurt_sdk::driver::{Findings, PlanError, Probe, RunStep, Step, TaskView, Unknown};

use crate::paths;
use crate::plan::{Kind, Place, standing};
use crate::task::Task;

/// Ids of what is looked at inside the task's root.
const REQUIREMENTS: &str = "inside:requirements";
const WHEELS: &str = "inside:wheels";
/// Seconds that making the environment, filling it and reading a zip application may take: a loaded machine is slow.
const MAKE: u32 = 120;
const FILL: u32 = 300;
const READ: u32 = 60;
/// Ends with a sentence where the file's check sum is another one.
const CHECK: &str = "import hashlib, sys\nsum = hashlib.sha256()\nwith open(sys.argv[1], 'rb') as file:\n    for piece in iter(lambda: file.read(1 << 20), b''): sum.update(piece)\nif sum.hexdigest() != sys.argv[2].lower(): sys.exit(f'{sys.argv[1]} has the check sum {sum.hexdigest()}')";

/// The job's requirements and where they come from, as absolute paths.
pub(crate) struct Packages<'a> {
    typed: &'a str,
    requirements: String,
    wheels: String,
    hashes: bool,
    /// Where the environment is made.
    pub(crate) venv: String,
    /// Another task of the group may still be writing them.
    shared: bool,
}

impl<'a> Packages<'a> {
    /// None: the job has no requirements.
    pub(crate) fn of(task: &'a Task, place: &Place<'_>) -> Option<Packages<'a>> {
        let (typed, wheels) = (task.requirements.as_deref()?, task.wheels.as_deref()?);
        let (requirements, wheels) = (place.joined(typed), place.joined(wheels));
        let shared = [&requirements, &wheels].into_iter().any(|path| paths::is_within(path, &place.view.alloc_dir));
        let venv = venv(place.view);
        Some(Packages { typed, requirements, wheels, hashes: task.require_hashes.unwrap_or(false), venv, shared })
    }

    pub(crate) fn probes(&self) -> [Probe; 2] {
        [Probe::stat(REQUIREMENTS, &self.requirements), Probe::stat(WHEELS, &self.wheels)]
    }

    /// Whether they are there.
    pub(crate) fn found(&self, place: &Place<'_>, findings: Findings<'_>) -> Result<(), PlanError> {
        for (key, id, path, kind) in [
            ("requirements", REQUIREMENTS, &self.requirements, Kind::Any),
            ("wheels", WHEELS, &self.wheels, Kind::Directory),
        ] {
            standing(findings, id, path, kind)
                .map_err(|why| place.missing(path, format!("{key} = {path:?}: {why}")).at(key))?;
        }
        Ok(())
    }

    /// An environment that an earlier run of the task made is brought up to date, which takes a moment.
    pub(crate) fn steps(&self, interpreter: &str) -> Vec<Step> {
        let Packages { typed, requirements, wheels, venv, shared, .. } = self;
        let make = ["-I", "-m", "venv", venv];
        let pip = ["-I", "-m", "pip", "--isolated", "--no-input", "--disable-pip-version-check", "install"];
        let mut fill = [&pip[..], &["--no-index", "--no-cache-dir", "--find-links", wheels]].concat();
        fill.extend(self.hashes.then_some("--require-hashes"));
        fill.extend(["-r", requirements]);
        let python = paths::joined(venv, "bin/python");
        vec![
            run(interpreter, &make, format!("making a virtual environment in {venv}"), MAKE, false),
            run(&python, &fill, format!("installing {typed} from {wheels}"), FILL, *shared),
        ]
    }
}

/// In the directory that is the task's own and lives as long as its allocation.
fn venv(view: &TaskView) -> String {
    paths::joined(&view.local_dir, ".venv")
}

/// A zip application is read before it is run, where the job has its check sum.
pub(crate) fn check_sum(task: &Task, place: &Place<'_>, interpreter: &str) -> Option<Step> {
    let (zipapp, sum) = (task.zipapp.as_deref()?, task.sha256.as_deref()?);
    let path = place.joined(zipapp);
    Some(run(interpreter, &["-I", "-c", CHECK, &path, sum], format!("checking {zipapp}"), READ, false))
}

fn run(program: &str, words: &[&str], why: String, timeout_seconds: u32, recoverable: bool) -> Step {
    let argv = [program].iter().chain(words).map(|word| (*word).to_owned()).collect();
    Step::Run(RunStep { argv, why, timeout_seconds, recoverable })
}

pub(crate) fn check(task: &Task, unknown: Unknown<'_>, said: &mut Said) {
    let given = |key: &str, text: &Option<String>| text.is_some() || unknown.has(key);
    let (requirements, wheels) = (given("requirements", &task.requirements), given("wheels", &task.wheels));
    if requirements && !wheels {
        let message = "requirements are installed from a directory of wheels, and wheels does not say which".into();
        said.error("requirements", message, Some("wheels = \"local/wheels\", which an artifact brings"));
    }
    if wheels && !requirements {
        said.error(
            "wheels",
            "wheels are for requirements, and there are none".into(),
            Some("requirements = \"local/requirements.txt\""),
        );
    }
    if task.require_hashes == Some(true) && !requirements {
        said.error("require_hashes", "require_hashes is for requirements, and there are none".into(), None);
    }
    if requirements && task.venv.is_some() {
        let message = "venv and requirements are both given, but requirements get an environment of their own".into();
        said.error("venv", message, Some("leave one of them out"));
    }
    if task.sha256.is_some() && !given("zipapp", &task.zipapp) {
        said.error("sha256", "sha256 is of a zipapp, and there is none".into(), None);
    }
    if let Some(sum) =
        task.sha256.as_deref().filter(|sum| sum.len() != 64 || !sum.bytes().all(|c| c.is_ascii_hexdigit()))
    {
        said.error("sha256", format!("sha256 = {sum:?}: 64 hexadecimal digits are expected"), None);
    }
    for (key, text) in [("requirements", &task.requirements), ("wheels", &task.wheels), ("zipapp", &task.zipapp)] {
        if text.as_deref() == Some("") {
            said.error(key, format!("{key} = \"\": a path is expected"), None);
        }
    }
}
