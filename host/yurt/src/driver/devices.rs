//! Devices that a task keeps over a replug.
//!
//! Yurt's device plugin mounts a directory into the task in which nodes follow the device, and names it in the reservation's variables. A
//! device control group knows numbers only: those of the directory are allowed at the task's start and whenever they change, also of a task
//! that an earlier process of this plugin started. What has left is allowed no more, since its number may be another device's next.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, open, openat, statat};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use yurt_nomad::driver::TaskConfig;
use yurt_task::{DeviceRule, Task};

use crate::folders::Manifest;

/// How often a directory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes of a manifest.
const LONGEST: u64 = 1 << 20;
const MANIFEST: &str = "manifest.json";

/// Which devices a task may open beside the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Devices {
    /// Block or not, major, minor, access: by the numbers of the start.
    fixed: Vec<(bool, u32, u32, String)>,
    /// By the numbers of the moment.
    directories: Vec<PathBuf>,
}

impl Devices {
    /// Of a task about to be started, and what is wrong with directories that are not believed.
    pub(crate) fn of(task: &TaskConfig) -> (Devices, Vec<String>) {
        let (mut devices, mut warnings) = (Devices::default(), Vec::new());
        for directory in named(task) {
            match Directory::open(&directory).and_then(|open| open.rules()) {
                Ok(_) => devices.directories.push(directory),
                Err(why) => warnings.push(format!("{} is not followed: {why}", directory.display())),
            }
        }
        let followed = devices.now();
        let fixed = task.devices.iter().filter_map(|device| {
            let stat = statat(CWD, &device.host_path, AtFlags::empty()).ok()?;
            let rule = rule(&stat, &device.permissions)?;
            let same =
                |other: &DeviceRule| (other.block, other.major, other.minor) == (rule.block, rule.major, rule.minor);
            (!followed.iter().any(same)).then_some((rule.block, rule.major, rule.minor, rule.access))
        });
        devices.fixed = fixed.collect();
        (devices, warnings)
    }

    /// The rules of this moment.
    pub(crate) fn now(&self) -> Vec<DeviceRule> {
        let fixed = self.fixed.iter().map(|(block, major, minor, access)| DeviceRule {
            block: *block,
            major: *major,
            minor: *minor,
            access: access.clone(),
        });
        let open = |path: &PathBuf| Directory::open(path).and_then(|open| open.rules());
        let followed = self.directories.iter().filter_map(|path| open(path).ok()).flatten();
        let mut rules: Vec<DeviceRule> = fixed.chain(followed).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.directories.is_empty()
    }

    /// When each directory was written last.
    fn written(&self) -> Vec<Option<SystemTime>> {
        let of =
            |path: &PathBuf| std::fs::symlink_metadata(path.join(MANIFEST)).and_then(|about| about.modified()).ok();
        self.directories.iter().map(of).collect()
    }
}

/// Follows the directories of a task until it ends.
pub(crate) fn follow(task: Task, devices: Devices) {
    if devices.directories.is_empty() || task.exit().is_some() {
        return;
    }
    tokio::spawn(async move {
        let (mut seen, mut allowed) = (Vec::new(), None);
        loop {
            let written = devices.written();
            if written != seen {
                let now = devices.now();
                if allowed.as_ref() != Some(&now) {
                    match task.allow_devices(&now) {
                        Ok(()) => tracing::debug!(
                            task = task.id(),
                            devices = now.len(),
                            "the task's devices are allowed by their numbers"
                        ),
                        Err(why) => {
                            tracing::error!(task = task.id(), error = %why, "the task's devices cannot be allowed")
                        }
                    }
                    allowed = Some(now);
                }
                seen = written;
            }
            if tokio::time::timeout(LOOK, task.wait()).await.is_ok() {
                return;
            }
        }
    });
}

/// The directories that the reservation names: `YURT_USB_<ID>_DIR`. The agent takes these variables from the device plugin only.
fn named(task: &TaskConfig) -> Vec<PathBuf> {
    let variables = task.device_env.0.iter().filter(|(name, _)| name.starts_with("YURT_") && name.ends_with("_DIR"));
    variables.map(|(_, value)| PathBuf::from(value)).collect()
}

/// A directory of the device plugin's.
struct Directory(OwnedFd);

impl Directory {
    /// Follows no link, and passes through no directory in which somebody else could put another one into its place.
    fn open(path: &Path) -> Result<Directory, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err("its path is not absolute".to_owned());
        }
        let mut at = open("/", flags, Mode::empty()).map_err(|errno| errno.to_string())?;
        for component in components {
            let Component::Normal(name) = component else { return Err("its path has dots in it".to_owned()) };
            let told = |why: String| format!("{}: {why}", Path::new(name).display());
            at = openat(&at, name, flags, Mode::empty()).map_err(|errno| told(errno.to_string()))?;
            let stat = fstat(&at).map_err(|errno| told(errno.to_string()))?;
            ours(&stat).map_err(told)?;
        }
        Ok(Directory(at))
    }

    fn rules(&self) -> Result<Vec<DeviceRule>, String> {
        let manifest = self.manifest()?;
        let rules = manifest.slots().filter_map(|slot| {
            let numbers = slot.node.as_ref()?.numbers();
            // Not what is written but what is there, if that is the same.
            let stat = self.there(&slot.name)?;
            rule(&stat, "rw").filter(|rule| (rule.block, rule.major, rule.minor) == numbers)
        });
        Ok(rules.collect())
    }

    fn manifest(&self) -> Result<Manifest, String> {
        use std::io::Read as _;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let told = |why: String| format!("{MANIFEST}: {why}");
        let file = openat(&self.0, MANIFEST, flags, Mode::empty()).map_err(|errno| told(errno.to_string()))?;
        let mut text = Vec::new();
        let read = std::fs::File::from(file).take(LONGEST).read_to_end(&mut text);
        read.map_err(|why| told(why.to_string()))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|why| told(why.to_string()))?;
        if manifest.is_sound() { Ok(manifest) } else { Err(told("it is of another release, or nobody's".to_owned())) }
    }

    /// A name has one part, or two where the instance has several devices.
    fn there(&self, name: &str) -> Option<Stat> {
        let (folder, file) = name.split_once('/').map_or((None, name), |(folder, file)| (Some(folder), file));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = folder.map(|folder| openat(&self.0, folder, flags, Mode::empty())).transpose().ok()?;
        statat(below.as_ref().unwrap_or(&self.0), OsStr::new(file), AtFlags::SYMLINK_NOFOLLOW).ok()
    }
}

/// Whether nobody but root and this user can change what stands in a directory. In one like `/tmp` others cannot change what is ours.
fn ours(stat: &Stat) -> Result<(), String> {
    const STICKY: u32 = 0o1000;
    const OTHERS: u32 = 0o022;
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(format!("it belongs to user {}", stat.st_uid));
    }
    if stat.st_mode & OTHERS != 0 && stat.st_mode & STICKY == 0 {
        return Err(format!("others may write to it (mode {:04o})", stat.st_mode & 0o7777));
    }
    Ok(())
}

fn rule(stat: &Stat, access: &str) -> Option<DeviceRule> {
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Some(DeviceRule { block, major, minor, access: if access.is_empty() { "rwm" } else { access }.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use yurt_nomad::driver::Env;

    use super::*;

    const NOTHING: &str = r#"{"version":1,"id":"sn-1","devices":[]}"#;

    fn task(directory: &Path) -> TaskConfig {
        let variables = [("YURT_USB_SN_1_DIR".to_owned(), directory.display().to_string())];
        TaskConfig { device_env: Env(variables.into()), ..TaskConfig::default() }
    }

    #[test]
    fn a_directory_is_followed_if_nobody_else_can_have_made_it() {
        let place = tempfile::tempdir().unwrap();
        // The test's own path may lead over a link.
        let place = fs::canonicalize(place.path()).unwrap();
        let directory = place.join("sn-1");
        fs::create_dir(&directory).unwrap();
        let why = |task: &TaskConfig| Devices::of(task).1.join(" ");
        assert!(why(&task(&directory)).contains("manifest.json"), "{}", why(&task(&directory)));
        fs::write(directory.join(MANIFEST), NOTHING).unwrap();
        assert_eq!(
            Devices::of(&task(&directory)),
            (Devices { directories: vec![directory.clone()], fixed: vec![] }, vec![])
        );

        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(why(&task(&directory)).contains("others may write to it (mode 0777)"));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&directory, place.join("link")).unwrap();
        assert!(why(&task(&place.join("link"))).contains("link: "));
        assert!(why(&task(Path::new("sn-1"))).contains("not absolute"));
        assert!(why(&task(&place.join("..").join("sn-1"))).contains("dots"));
        fs::write(directory.join(MANIFEST), NOTHING.replace("sn-1", "../sn-1")).unwrap();
        assert!(why(&task(&directory)).contains("of another release"));
        // What a job says of its environment is nothing to go by.
        let own = TaskConfig { env: task(&directory).device_env, ..TaskConfig::default() };
        assert_eq!(Devices::of(&own), (Devices::default(), vec![]));
    }
}
