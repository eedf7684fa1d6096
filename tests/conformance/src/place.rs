//! Where a test's plugin lives.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use yurt_nomad::client::Agent;
use yurt_usb::Roots;
use yurt_usb::sim::{Bus, models};

use crate::binary::binary;
use crate::process::Process;

/// Directories of a test's own: `state`, `usb` for a simulated bus, perhaps `plugins`. Gone when dropped.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    plugins: PathBuf,
    name: String,
}

impl Place {
    /// With the built-in guest, in a plugin directory that all places of this kind share: a state directory belongs to a plugin
    /// directory, and only so can each begin with a copy of the same compiled guest, which takes a second to make.
    pub fn new() -> Place {
        let workshop = Workshop::of_this_program("usb");
        let place = Place::in_directory(workshop.plugins.clone(), "usb");
        workshop.state_into(&place.state());
        place
    }

    /// With a plugin directory of its own and a link of this name in it, which may stand for another guest.
    pub fn named(name: &str) -> Place {
        let mut place = Place::in_directory(PathBuf::new(), name);
        place.plugins = place.root().join("plugins");
        std::fs::create_dir(&place.plugins).expect("a directory");
        symlink(binary(), place.program()).expect("a link");
        place
    }

    fn in_directory(plugins: PathBuf, name: &str) -> Place {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for sub in ["state", "usb"] {
            std::fs::create_dir(dir.path().join(sub)).expect("a directory");
        }
        Place { dir, plugins, name: name.to_owned() }
    }

    /// Holds all else.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The agent's `plugin_dir`.
    pub fn plugins(&self) -> PathBuf {
        self.plugins.clone()
    }

    /// The link to the binary, as the agent starts it.
    pub fn program(&self) -> PathBuf {
        self.plugins().join(&self.name)
    }

    /// Overrides the plugin's state directory.
    pub fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// Overrides the plugin's runtime directory.
    pub fn runtime(&self) -> PathBuf {
        self.root().join("run")
    }

    /// The simulated root: `sys`, `dev`, `events.sock`.
    pub fn usb(&self) -> PathBuf {
        self.root().join("usb")
    }

    /// Writes a bus with a root hub. Before this is called the plugin finds no bus at all.
    pub fn bus(&self) -> Bus {
        let bus = Bus::create(&Roots::simulated(&self.usb())).expect("a simulated bus");
        bus.plug("usb1", &models::root_hub(15)).expect("a root hub");
        bus
    }

    /// What the stanza's `args` hold.
    pub fn args(&self) -> [String; 2] {
        ["--usb-root".to_owned(), self.usb().display().to_string()]
    }

    /// An agent that knows this plugin.
    pub fn agent(&self) -> Agent {
        Agent {
            program: self.program(),
            args: self.args().map(Into::into).to_vec(),
            env: vec![
                ("YURT_STATE_DIR".into(), self.state().into()),
                ("YURT_RUNTIME_DIR".into(), self.runtime().into()),
                ("TMPDIR".into(), self.root().into()),
            ],
            ..Agent::default()
        }
    }

    /// A launch as an agent's, to be looked at byte by byte: [`Process::start`](crate::process::Process::start).
    pub fn command(&self) -> Command {
        let mut command = self.bare_command();
        command
            .args(self.args())
            .env(yurt_nomad::HANDSHAKE.cookie_key, yurt_nomad::HANDSHAKE.cookie_value)
            .env("PLUGIN_MIN_PORT", "10000")
            .env("PLUGIN_MAX_PORT", "25000")
            .env("PLUGIN_PROTOCOL_VERSIONS", "2");
        command
    }

    /// The binary as anybody may start it: no cookie, no arguments.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(self.program());
        // What a killed plugin leaves goes with all else.
        command.env("YURT_STATE_DIR", self.state()).env("TMPDIR", self.root());
        command.env("YURT_RUNTIME_DIR", self.runtime());
        for name in ["CLIENT_CERT", "MULTIPLEX_GRPC", "UNIX_SOCKET_DIR", "UNIX_SOCKET_GROUP"] {
            command.env_remove(format!("PLUGIN_{name}"));
        }
        command.env_remove(yurt_nomad::HANDSHAKE.cookie_key);
        command
    }
}

impl Drop for Place {
    /// The plugin's own mounts outlive it.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = |line: &str| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(self.root()));
        for at in mounts.lines().filter(|line| below(line)).filter_map(|line| line.split(' ').nth(4)) {
            let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

/// What the places of one test program share for one plugin file, below cargo's target directory: it is of use to the next run, too.
#[derive(Debug)]
pub struct Workshop {
    plugins: PathBuf,
    state: PathBuf,
    name: String,
}

impl Workshop {
    /// With the compiled guest of this plugin file, made at the first call.
    pub fn of_this_program(name: &str) -> Arc<Workshop> {
        static WORKSHOPS: Mutex<BTreeMap<String, Arc<Workshop>>> = Mutex::new(BTreeMap::new());
        let mut workshops = WORKSHOPS.lock().expect("no panic");
        let make = || Arc::new(Workshop::make(name));
        Arc::clone(workshops.entry(name.to_owned()).or_insert_with(make))
    }

    fn make(name: &str) -> Workshop {
        let dir = workshops();
        let (plugins, state) = (dir.join("plugins"), dir.join("state").join(name));
        let workshop = Workshop { plugins, state, name: name.to_owned() };
        for dir in [&workshop.plugins, &workshop.state] {
            std::fs::create_dir_all(dir).expect("a directory");
        }
        let _ = std::fs::remove_file(workshop.program());
        symlink(binary(), workshop.program()).expect("a link");
        workshop.compile();
        workshop
    }

    /// The plugin file.
    pub fn program(&self) -> PathBuf {
        self.plugins.join(&self.name)
    }

    /// A state directory with the compiled guest in it. Made if it is not there.
    pub fn state_into(&self, dir: &Path) {
        let _ = std::fs::create_dir(dir);
        copy_of(&self.state, dir);
    }

    /// One launch, after which the compiled guest is there.
    fn compile(&self) {
        let sockets = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(self.program());
        command.env("YURT_STATE_DIR", &self.state).env("TMPDIR", sockets.path());
        command.env(yurt_nomad::HANDSHAKE.cookie_key, yurt_nomad::HANDSHAKE.cookie_value);
        drop(Process::start(&mut command));
    }
}

/// A directory below cargo's own for what is of use to the next run, too.
pub(crate) fn workshops() -> PathBuf {
    let program = std::env::current_exe().expect("this program's path");
    // target/debug/deps/<test>, target/release/<bench>
    let profile = program.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("cargo's layout");
    profile.parent().expect("cargo's layout").join("tmp/conformance")
}

/// The same directories and files with the same modes.
fn copy_of(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            std::fs::create_dir(&to).expect("a directory");
            copy_of(&from, &to);
            std::fs::set_permissions(&to, from.metadata().expect("a mode").permissions()).expect("a mode");
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}
