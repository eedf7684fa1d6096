//! A job's `config` block: what was typed, and what is wrong with it. Everything wrong is reported at once, each with its key.

use std::collections::BTreeMap;

use serde::Deserialize;
use yurt_sdk::driver::Unknown;
use yurt_sdk::isolation::Own;
use yurt_sdk::signals::Signals;
use yurt_sdk::{Diagnostic, Said};

use crate::{arguments, packages, paths};

/// The block as its schema (`task.hcldec`) delivers it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Task {
    pub(crate) script: Option<String>,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) script_args: Option<Vec<String>>,
    pub(crate) module: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) zipapp: Option<String>,
    pub(crate) sha256: Option<String>,
    pub(crate) interpreter: Option<String>,
    pub(crate) venv: Option<String>,
    pub(crate) requirements: Option<String>,
    pub(crate) wheels: Option<String>,
    pub(crate) require_hashes: Option<bool>,
    pub(crate) unbuffered: Option<bool>,
    pub(crate) isolated: Option<bool>,
    pub(crate) work_dir: Option<String>,
    pub(crate) limits: Option<Vec<BTreeMap<String, String>>>,
    pub(crate) read_only_root: Option<bool>,
    pub(crate) userns_mode: Option<String>,
    pub(crate) cgroupns_mode: Option<String>,
    pub(crate) timens_mode: Option<String>,
    pub(crate) seccomp: Option<String>,
    pub(crate) signals: Option<BTreeMap<String, String>>,
    pub(crate) stop: Option<Vec<String>>,
}

/// What a task runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Program<'a> {
    /// A file: a script, a directory or a zip application.
    Script(&'a str),
    Module(&'a str),
    Code(&'a str),
}

/// Longest `code`, in bytes: it is one word of a command line.
const CODE: usize = 32 << 10;

impl Task {
    /// What to run; none: nothing is said. Where more than one is said, which [`Task::check`] refuses, the first.
    pub(crate) fn program(&self) -> Option<Program<'_>> {
        self.programs().into_iter().flatten().next().map(|(_, program)| program)
    }

    fn programs(&self) -> [Option<(&'static str, Program<'_>)>; 4] {
        fn given(text: &Option<String>) -> Option<&str> {
            text.as_deref().filter(|text| !text.is_empty())
        }
        [
            given(&self.script).map(|script| ("script", Program::Script(script))),
            given(&self.module).map(|module| ("module", Program::Module(module))),
            given(&self.code).map(|code| ("code", Program::Code(code))),
            given(&self.zipapp).map(|zipapp| ("zipapp", Program::Script(zipapp))),
        ]
    }

    /// The key of its file.
    pub(crate) fn file_key(&self) -> &'static str {
        if self.script.as_ref().is_some_and(|script| !script.is_empty()) { "script" } else { "zipapp" }
    }

    pub(crate) fn args(&self) -> &[String] {
        self.args.as_deref().unwrap_or_default()
    }

    pub(crate) fn script_args(&self) -> &[String] {
        self.script_args.as_deref().unwrap_or_default()
    }

    pub(crate) fn unbuffered(&self) -> bool {
        self.unbuffered.unwrap_or(true)
    }

    pub(crate) fn isolated(&self) -> bool {
        self.isolated.unwrap_or(false)
    }

    pub(crate) fn signals(&self) -> Signals<'_> {
        Signals::of(&self.signals, &self.stop)
    }

    pub(crate) fn own(&self) -> Own<'_> {
        let [userns_mode, cgroupns_mode, timens_mode] =
            [&self.userns_mode, &self.cgroupns_mode, &self.timens_mode].map(|mode| mode.as_deref().unwrap_or_default());
        Own { userns_mode, cgroupns_mode, timens_mode }
    }

    pub(crate) fn check(&self, unknown: Unknown<'_>) -> Vec<Diagnostic> {
        let mut said = Said::default();
        self.check_program(unknown, &mut said);
        self.check_args(&mut said);
        self.check_interpreter(&mut said);
        packages::check(self, unknown, &mut said);
        if let Some(directory) = &self.work_dir
            && !directory.starts_with('/')
        {
            let message = format!("work_dir must be absolute but got relative path {directory:?}");
            said.error("work_dir", message, Some("for example \"${NOMAD_TASK_DIR}\""));
        }
        self.own().check(&mut said);
        self.signals().check(&mut said);
        self.check_texts(&mut said);
        said.0
    }

    fn check_program(&self, unknown: Unknown<'_>, said: &mut Said) {
        let given: Vec<_> = self.programs().into_iter().flatten().collect();
        if given.is_empty() && !["script", "module", "code", "zipapp"].iter().any(|key| unknown.has(key)) {
            said.error("script", "script must be specified".into(), Some("or module, code, or zipapp"));
        }
        if let [(first, _), (second, _), ..] = given.as_slice() {
            let message = format!(
                "{first} and {second} are both given, but one of script, module, code and zipapp says what to run"
            );
            said.error(second, message, Some("arguments for it belong in script_args"));
        }
        for (key, program) in given {
            match program {
                // The interpreter would take it for an option, or for its standard input.
                Program::Script(script) if script.starts_with('-') => {
                    let message = format!("{key} = {script:?} would be read as an option of the interpreter");
                    said.error(key, message, Some("a path: \"./-name.py\""));
                }
                Program::Module(module) if !is_module(module) => {
                    let message = format!("{key} = {module:?}: a dotted name such as \"http.server\" is expected");
                    said.error(key, message, Some("a file is run by script"));
                }
                Program::Code(code) if code.len() > CODE => {
                    let message = format!("{key} has {} bytes, more than {CODE}", code.len());
                    said.error(key, message, Some("write it to a file by a template block and run that by script"));
                }
                _ => {}
            }
        }
    }

    /// The demo's `args` stand before the script, and what looks odd was possible there: with a script it is only pointed out.
    fn check_args(&self, said: &mut Said) {
        let Some(word) = arguments::program(self.args()) else { return };
        match self.program() {
            Some(Program::Script(script)) => {
                let message = format!(
                    "args stand before the script, and {word:?} already says what to run: {script:?} becomes its argument"
                );
                said.warn("args", message, Some("arguments for the script belong in script_args"));
            }
            Some(_) => {
                let message = format!("args are the interpreter's, and {word:?} already says what to run");
                said.error("args", message, Some("arguments for the module or the code belong in script_args"));
            }
            None => {}
        }
    }

    fn check_interpreter(&self, said: &mut Said) {
        if let Some(interpreter) = &self.interpreter {
            if !paths::is_name(interpreter) && !paths::is_path(interpreter) {
                let message =
                    format!("interpreter = {interpreter:?}: a name such as \"python3.11\" or a path is expected");
                said.error("interpreter", message, None);
            }
            if self.venv.is_some() {
                let message = "venv and interpreter are both given, but a venv has an interpreter of its own".into();
                said.error("interpreter", message, Some("leave one of them out"));
            }
        }
        if self.venv.as_ref().is_some_and(String::is_empty) {
            said.error("venv", "venv = \"\": the directory of a virtual environment is expected".into(), None);
        }
    }

    /// No word of a command line, no path and no variable can hold it.
    fn check_texts(&self, said: &mut Said) {
        let texts = [
            ("script", &self.script),
            ("module", &self.module),
            ("code", &self.code),
            ("zipapp", &self.zipapp),
            ("interpreter", &self.interpreter),
            ("venv", &self.venv),
            ("requirements", &self.requirements),
            ("wheels", &self.wheels),
            ("work_dir", &self.work_dir),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.as_ref()?)));
        let lists = [("args", self.args()), ("script_args", self.script_args())];
        let words = lists.iter().flat_map(|(key, words)| {
            words.iter().enumerate().map(move |(index, word)| (format!("{key}[{index}]"), word))
        });
        for (path, _) in texts.chain(words).filter(|(_, text)| text.contains('\0')) {
            said.error(&path, format!("{path} has a NUL character"), None);
        }
    }
}

/// Letters of any script may stand in a module's name; what cannot be part of one is left to Python.
fn is_module(name: &str) -> bool {
    let part = |part: &str| part.chars().all(|c| c.is_alphanumeric() || c == '_') && !part.is_empty();
    name.split('.').all(part)
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
