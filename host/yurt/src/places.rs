//! Where Yurt keeps its files: a state directory per plugin directory, so that two agents on one machine never see
//! each other's. Directories are 0700, files 0600, each written whole and then renamed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::choice::Named;

/// Overrides the directory that holds every scope.
pub(crate) const STATE_DIR: &str = "YURT_STATE_DIR";

/// Overrides the directory that holds what must not outlive a boot.
pub(crate) const RUNTIME_DIR: &str = "YURT_RUNTIME_DIR";

/// The files of one plugin file in one plugin directory.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    scope: PathBuf,
    runtime: PathBuf,
    devices: PathBuf,
    file_name: String,
}

impl Places {
    /// Below `YURT_STATE_DIR`, else `/var/lib/yurt` for root, else the user's state directory; what belongs to one boot below
    /// `YURT_RUNTIME_DIR`, else `/run/yurt` for root, else the user's runtime directory.
    pub(crate) fn of(named: &Named) -> Places {
        Places::below(&base(), named)
    }

    /// The same in another state directory.
    pub(crate) fn below(base: &Path, named: &Named) -> Places {
        let scope = scope_name(&named.plugin_dir);
        Places {
            scope: base.join(&scope),
            runtime: runtime_base().join(&scope),
            devices: devices_base().join(scope),
            file_name: named.file_name.clone(),
        }
    }

    /// What the agent calls the plugin.
    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn of_a_test(dir: &Path, file_name: &str) -> Places {
        Places {
            scope: dir.join("state"),
            runtime: dir.join("run"),
            devices: dir.join("devices"),
            file_name: file_name.to_owned(),
        }
    }

    /// One directory per task of this plugin file.
    pub(crate) fn tasks(&self) -> PathBuf {
        self.runtime.join("tasks").join(&self.file_name)
    }

    /// Compiled guests; shared by every plugin file of the scope.
    pub(crate) fn cache(&self) -> PathBuf {
        self.scope.join("cache")
    }

    /// The last guest of this plugin file that reached *Active*.
    pub(crate) fn last_good_guest(&self) -> PathBuf {
        self.scope.join("last-good").join(format!("{}.wasm", self.file_name))
    }

    /// The last rules of its policy file that proved themselves.
    pub(crate) fn last_good_rules(&self) -> PathBuf {
        self.scope.join("last-good").join(format!("{}.hcl", self.file_name))
    }

    /// What became of guests and rules that were exchanged.
    pub(crate) fn swap_state(&self) -> PathBuf {
        self.scope.join(format!("{}.swap.json", self.file_name))
    }

    /// Where the running plugin is spoken to.
    pub(crate) fn control(&self) -> PathBuf {
        self.runtime.join(format!("{}.sock", self.file_name))
    }

    /// One directory per reserved instance, which tasks get mounted: beside the runtime directory, through which they must not pass.
    pub(crate) fn folders(&self) -> PathBuf {
        self.devices.join(&self.file_name)
    }

    /// What was plugged where, for the next process.
    pub(crate) fn history(&self) -> PathBuf {
        self.scope.join(format!("{}.history.json", self.file_name))
    }

    /// What the device policy asked to be reminded of.
    pub(crate) fn memory(&self) -> PathBuf {
        self.scope.join(format!("{}.memory.json", self.file_name))
    }

    /// Log lines of a time when nobody reads our stderr.
    pub(crate) fn log(&self) -> PathBuf {
        self.scope.join(format!("{}.log", self.file_name))
    }

    /// Makes the scope, 0700, and refuses one that somebody else owns or may write to.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        private_dir(&self.scope)
    }
}

/// Sockets of plugins that ran last in this plugin directory, or in any.
pub(crate) fn sockets(plugin_dir: Option<&Path>) -> Vec<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let scopes: Vec<PathBuf> = match plugin_dir {
        Some(dir) => {
            vec![runtime_base().join(scope_name(&std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())))]
        }
        None => below(runtime_base()).collect(),
    };
    let mut sockets: Vec<PathBuf> = scopes
        .into_iter()
        .flat_map(below)
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    sockets.sort();
    sockets
}

/// The directory that holds every scope.
pub(crate) fn base() -> PathBuf {
    std::env::var_os(STATE_DIR).filter(|dir| !dir.is_empty()).map_or_else(default_base, PathBuf::from)
}

fn default_base() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/yurt");
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    std::env::var_os("XDG_STATE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".local/state")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("yurt-{}", rustix::process::geteuid().as_raw())))
        .join("yurt")
}

fn runtime_base() -> PathBuf {
    if let Some(dir) = std::env::var_os(RUNTIME_DIR).filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match user {
        _ if rustix::process::geteuid().is_root() => PathBuf::from("/run/yurt"),
        Some(dir) => PathBuf::from(dir).join("yurt"),
        None => base().join("run"),
    }
}

fn devices_base() -> PathBuf {
    let mut base = runtime_base().into_os_string();
    base.push("-devices");
    base.into()
}

/// `/opt/nomad/plugins` → `opt-nomad-plugins-0a1b2c3d`: readable, and unambiguous by a digest of the whole path.
fn scope_name(plugin_dir: &Path) -> String {
    let text = plugin_dir.to_string_lossy();
    let words: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words = words.trim_matches('-');
    let tail: String = words.chars().rev().take(48).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{}-{:08x}", tail.trim_start_matches('-'), fnv1a(plugin_dir.as_os_str().as_encoded_bytes()))
}

/// FNV-1a, 32 bits: tells paths apart, guards nothing.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Makes `dir`, 0700 and ours alone, and such parents as are missing, 0700 too.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is not a directory of this user", dir.display())));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Replaces `path` with `bytes`, 0600: readers see the old file or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a file needs a directory"))?;
    private_dir(parent)?;
    sweep(path, parent);
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Removes drafts of `path` by processes that ended in the middle of writing.
fn sweep(path: &Path, parent: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let writer = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".new"));
        if writer
            .and_then(|pid| pid.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_plugin_dirs_never_share_a_scope() {
        let a = scope_name(Path::new("/opt/nomad/plugins"));
        let b = scope_name(Path::new("/opt/nomad-plugins"));
        assert!(a.starts_with("opt-nomad-plugins-") && b.starts_with("opt-nomad-plugins-"));
        assert_ne!(a, b);
    }

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yurt/state/memory.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for made in ["yurt", "yurt/state"] {
            assert_eq!(fs::metadata(dir.path().join(made)).unwrap().mode() & 0o777, 0o700, "{made}");
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_is_removed_once_its_writer_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // Beyond the largest process id that there can be, and one that is there.
        let [gone, there] = ["m.json.4194305.new", "m.json.1.new"].map(|name| dir.path().join(name));
        fs::write(&gone, "half").unwrap();
        fs::write(&there, "half").unwrap();
        replace(&dir.path().join("m.json"), b"whole").unwrap();
        assert!(!gone.exists() && there.exists());
    }

    #[test]
    fn a_state_directory_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        private_dir(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    }
}
