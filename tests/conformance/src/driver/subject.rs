//! Which driver is under test, and how it is told to run a program.

use std::fmt;
use std::path::{Path, PathBuf};

/// What kind of driver it is: how its configuration and its jobs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Yurt with its python guest.
    Python,
    /// Yurt with its exec guest.
    YurtExec,
    /// Yurt with its raw_exec guest.
    YurtRawExec,
    /// Yurt with its WASI guest, whose tasks are no programs: it has tests of its own.
    YurtWasi,
    /// Nomad's.
    RawExec,
    /// Nomad's.
    Exec,
}

/// What of the host its tasks see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A root directory that the agent filled, and namespaces.
    Chroot,
    /// A root directory that shows directories of the host, and namespaces.
    Overlay,
    /// What rules in the kernel allow, and namespaces.
    Landlock,
    /// All of it.
    None,
}

impl Isolation {
    /// Whether tasks have a root directory of their own.
    pub fn has_a_root(self) -> bool {
        matches!(self, Isolation::Chroot | Isolation::Overlay)
    }

    /// As operators write it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Chroot => "chroot",
            Isolation::Overlay => "overlay",
            Isolation::Landlock => "landlock",
            Isolation::None => "none",
        }
    }
}

/// A driver in one of its modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub flavour: Flavour,
    /// Its mode.
    pub isolation: Isolation,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flavour, self.isolation) {
            (Flavour::Python | Flavour::YurtExec, Isolation::Chroot)
            | (Flavour::YurtRawExec | Flavour::YurtWasi | Flavour::RawExec | Flavour::Exec, _) => {
                f.write_str(self.flavour.name())
            }
            (flavour, isolation) => write!(f, "{}, isolation {}", flavour.name(), isolation.name()),
        }
    }
}

impl Subject {
    /// All that are there of one flavour.
    pub fn of(flavour: Flavour) -> Vec<Subject> {
        let isolations: &[Isolation] = match flavour {
            Flavour::Python | Flavour::YurtExec => &[Isolation::Chroot, Isolation::None],
            Flavour::RawExec | Flavour::YurtRawExec | Flavour::YurtWasi => &[Isolation::None],
            Flavour::Exec => &[Isolation::Chroot],
        };
        isolations.iter().map(|isolation| Subject { flavour, isolation: *isolation }).collect()
    }

    /// What is under test in this run: with `YURT_DRIVER_ISOLATION` in that mode alone.
    pub fn all() -> Vec<Subject> {
        let flavour = Flavour::of_this_run();
        match std::env::var("YURT_DRIVER_ISOLATION") {
            Err(_) => Subject::of(flavour),
            Ok(name) => {
                let all = [Isolation::Chroot, Isolation::Overlay, Isolation::Landlock, Isolation::None];
                let known = all.into_iter().find(|isolation| isolation.name() == name);
                let isolation = known.unwrap_or_else(|| panic!("YURT_DRIVER_ISOLATION is {name:?}: no such mode"));
                vec![Subject { flavour, isolation }]
            }
        }
    }

    /// Modes in which a run has some rows only: those that are about what a mode does.
    pub fn more() -> Vec<Subject> {
        let flavour = Flavour::of_this_run();
        let more = std::env::var_os("YURT_DRIVER_ISOLATION").is_none()
            && matches!(flavour, Flavour::Python | Flavour::YurtExec);
        let isolations = [Isolation::Overlay, Isolation::Landlock].into_iter().filter(|_| more);
        isolations.map(|isolation| Subject { flavour, isolation }).collect()
    }

    /// Whether a task is process 1 of a namespace, which no signal ends that it does not handle.
    pub fn tasks_are_process_1(self) -> bool {
        matches!(self.flavour, Flavour::Exec | Flavour::YurtExec) && self.isolation != Isolation::None
    }

    /// Its plugin's configuration, as an operator writes it.
    pub fn plugin_config(self) -> &'static str {
        match (self.flavour, self.isolation) {
            (Flavour::Python | Flavour::YurtExec, Isolation::None) => "yurt { isolation = \"none\" }",
            (Flavour::Python | Flavour::YurtExec, Isolation::Overlay) => "yurt { isolation = \"overlay\" }",
            (Flavour::Python | Flavour::YurtExec, Isolation::Landlock) => "yurt { isolation = \"landlock\" }",
            (Flavour::RawExec | Flavour::YurtRawExec, _) => "enabled = true",
            _ => "",
        }
    }

    /// The same with more in the host's block, of a guest of this workspace.
    pub fn plugin_config_with(self, in_the_block: &str) -> String {
        let usual = self.plugin_config();
        match usual.strip_prefix("yurt {").and_then(|block| block.strip_suffix('}')) {
            Some(block) => format!("yurt {{\n{block}\n{in_the_block}\n}}"),
            None => format!("{usual}\nyurt {{\n{in_the_block}\n}}"),
        }
    }

    /// The `config` block of a job that runs this program.
    pub fn job_config(self, program: &Program) -> String {
        match (self.flavour, program) {
            (_, Program::Config(text)) => text.clone(),
            (Flavour::Python, Program::Shell(text)) => python(BECOME_SH, &[text]),
            (Flavour::Python, Program::Python(code, args)) => {
                python(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
            }
            (_, Program::Shell(text)) => command("/bin/sh", &["-c", text]),
            (_, Program::Python(code, args)) => {
                let args = ["-u", "-c", code].into_iter().chain(args.iter().map(String::as_str));
                command("/usr/bin/python3", &args.collect::<Vec<_>>())
            }
        }
    }
}

impl Flavour {
    /// `YURT_DRIVER_FLAVOUR`, else python.
    pub fn of_this_run() -> Flavour {
        match std::env::var("YURT_DRIVER_FLAVOUR").as_deref() {
            Err(_) | Ok("python") => Flavour::Python,
            Ok("yurt_exec") => Flavour::YurtExec,
            Ok("yurt_raw_exec") => Flavour::YurtRawExec,
            Ok("raw_exec") => Flavour::RawExec,
            Ok("exec") => Flavour::Exec,
            Ok(other) => {
                panic!(
                    "YURT_DRIVER_FLAVOUR is {other:?}, and neither python, yurt_exec, yurt_raw_exec, raw_exec nor exec"
                )
            }
        }
    }

    /// The driver's name: in jobs, and in its attributes.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Python => "python",
            Flavour::YurtExec => "yurt-exec",
            Flavour::YurtRawExec => "yurt-raw-exec",
            Flavour::YurtWasi => "yurt-wasi",
            Flavour::RawExec => "raw_exec",
            Flavour::Exec => "exec",
        }
    }

    /// A guest of this workspace, not a peer.
    pub fn is_yurt(self) -> bool {
        matches!(self, Flavour::Python | Flavour::YurtExec | Flavour::YurtRawExec | Flavour::YurtWasi)
    }

    /// Its file in a plugin directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Flavour::Python => "python-driver",
            other => other.name(),
        }
    }

    /// The binary behind that file.
    pub fn binary(self) -> PathBuf {
        match (std::env::var_os("YURT_DRIVER"), self) {
            (Some(path), _) => std::fs::canonicalize(&path).unwrap_or_else(|why| panic!("YURT_DRIVER {path:?}: {why}")),
            (None, yurt) if yurt.is_yurt() => crate::binary::binary().to_owned(),
            (None, other) => panic!("YURT_DRIVER says where the {} plugin is", other.name()),
        }
    }
}

/// What a task is to run.
#[derive(Debug, Clone)]
pub enum Program {
    /// `sh -c`.
    Shell(String),
    /// Python 3, and arguments.
    Python(String, Vec<String>),
    /// A `config` block in the driver's own words.
    Config(String),
}

impl Program {
    /// `sh -c text`.
    pub fn shell(text: impl Into<String>) -> Program {
        Program::Shell(text.into())
    }

    /// `python3 -c code`.
    pub fn python(code: impl Into<String>) -> Program {
        Program::Python(code.into(), Vec::new())
    }

    /// A `config` block in the driver's own words.
    pub fn config(text: impl Into<String>) -> Program {
        Program::Config(text.into())
    }

    /// Says `ready` and stays.
    pub fn idle() -> Program {
        Program::shell("echo ready; exec sleep 600")
    }
}

/// Python ignores SIGPIPE, and what it becomes would, too.
const BECOME_SH: &str = "import os, signal, sys\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n\
                         os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])\n";

fn python(code: &str, args: &[&str]) -> String {
    format!("code = {}\nscript_args = {}\n", quoted(code), list(args))
}

fn command(command: &str, args: &[&str]) -> String {
    format!("command = {}\nargs = {}\n", quoted(command), list(args))
}

fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A text as HCL has it, with nothing in it that would be filled in.
pub fn quoted(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text");
    quoted.replace("${", "$${").replace("%{", "%%{")
}

/// A plugin directory with one link to the binary.
pub(super) fn link_into(dir: &Path, flavour: Flavour, binary: &Path) -> PathBuf {
    let link = dir.join(flavour.file_name());
    std::os::unix::fs::symlink(binary, &link).expect("a link");
    link
}
