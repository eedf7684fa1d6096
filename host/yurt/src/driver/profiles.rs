//! Which system calls tasks are refused: profiles by name, those that the operator defines and the two that are always there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use yurt_guest::driver as wit;
use yurt_task::{Profile, Seccomp};

use super::clamp::{Clamped, clamp, refused};
use super::config::{Grants, Isolation};

/// Bytes of a file; Docker's has twenty thousand.
const SIZE_MAX: u64 = 1 << 20;

const DEFAULT: &str = "default";
const NONE: &str = "none";

/// The operator's profiles, and which one is for all tasks.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Profiles {
    defined: BTreeMap<String, Arc<Profile>>,
    /// `None`: see [`Profiles::usual`].
    for_all: Option<String>,
}

impl Profiles {
    /// Reads the files, too: a profile is what stood in its file when the driver was configured.
    pub(super) fn from_json(block: &Value) -> Result<Profiles, String> {
        let mut profiles = Profiles::default();
        for one in block.get("seccomp_profile").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = text("name");
            let wrong = |why: String| format!("yurt.seccomp_profile {name:?}: {why}");
            if ["", DEFAULT, NONE].contains(&name) || profiles.defined.contains_key(name) {
                return Err(wrong("must have a name of its own, other than \"default\" and \"none\"".to_owned()));
            }
            let profile = read(Path::new(text("file"))).map_err(|why| wrong(format!("{}: {why}", text("file"))))?;
            if !profile.unknown().is_empty() {
                let unknown = profile.unknown().join(", ");
                tracing::debug!(profile = name, unknown, "system calls that this machine does not have");
            }
            profiles.defined.insert(name.to_owned(), Arc::new(profile));
        }
        if let Some(name) = block.get("seccomp").and_then(Value::as_str) {
            profiles.named(name).ok_or_else(|| format!("yurt.seccomp = {name:?}: {}", profiles.there_is()))?;
            profiles.for_all = Some(name.to_owned());
        }
        Ok(profiles)
    }

    /// Whether all that is granted there is. `key`: where the grants stand.
    pub(super) fn check(&self, key: &str, grants: &Grants) -> Result<(), String> {
        match grants.seccomp.iter().find(|name| self.named(name).is_none()) {
            Some(unknown) => Err(format!("{key}.seccomp: {unknown:?}: {}", self.there_is())),
            None => Ok(()),
        }
    }

    /// [`clamp`], and the filter of the task.
    pub(crate) fn clamp(
        &self,
        plan: wit::LaunchPlan,
        grants: &Grants,
        isolation: Isolation,
        user: Option<&str>,
    ) -> Result<(Clamped, Seccomp), String> {
        let clamped = clamp(plan, grants, isolation, user)?;
        let seccomp = self.of(isolation, grants, clamped.seccomp.as_deref())?;
        Ok((clamped, seccomp))
    }

    /// What a task gets whose plan asks for a profile, or for none in particular. What it would get anyway it may ask for, and a filter where it
    /// would get none; all else takes a grant.
    pub(crate) fn of(&self, isolation: Isolation, grants: &Grants, asked: Option<&str>) -> Result<Seccomp, String> {
        let usual = self.usual(isolation);
        let name = asked.unwrap_or(usual);
        let no = |why: &str| refused("wishes.seccomp", &format!("the profile {name:?}"), why);
        let profile = self.named(name).ok_or_else(|| no("no block yurt.seccomp_profile defines it"))?;
        let free = name == usual || (name == DEFAULT && usual == NONE);
        if !free && !grants.seccomp.iter().any(|granted| granted == name) {
            return Err(no("yurt.grants.seccomp does not name it"));
        }
        Ok(profile)
    }

    /// Who sees the host's files may need what a root of its own has no use for.
    fn usual(&self, isolation: Isolation) -> &str {
        self.for_all.as_deref().unwrap_or(match isolation {
            Isolation::None => NONE,
            Isolation::Chroot | Isolation::Overlay | Isolation::Landlock => DEFAULT,
        })
    }

    /// What tasks get that are components, which no profile of an operator's is for: they have a second filter of their own.
    pub(crate) fn of_components(&self) -> Seccomp {
        if self.for_all.as_deref() == Some(NONE) { Seccomp::None } else { Seccomp::Default }
    }

    fn named(&self, name: &str) -> Option<Seccomp> {
        match name {
            DEFAULT => Some(Seccomp::Default),
            NONE => Some(Seccomp::None),
            other => self.defined.get(other).cloned().map(Seccomp::Profile),
        }
    }

    fn there_is(&self) -> String {
        let names = [DEFAULT, NONE].into_iter().chain(self.defined.keys().map(String::as_str));
        let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
        format!("must be one of {}, or be defined by a block yurt.seccomp_profile", names.join(", "))
    }
}

/// Whoever can write it decides what tasks may do.
fn read(path: &Path) -> Result<Profile, String> {
    if !path.is_absolute() {
        return Err("must be an absolute path".to_owned());
    }
    // Not to wait for whoever writes into a pipe.
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let file = File::from(file.map_err(|why| format!("it cannot be read: {why}"))?);
    let status = file.metadata().map_err(|why| format!("it cannot be read: {why}"))?;
    if !status.is_file() {
        return Err("it is no file".to_owned());
    }
    let (owner, mode) = (status.uid(), status.mode() & 0o7777);
    if ![0, rustix::process::geteuid().as_raw()].contains(&owner) || mode & 0o022 != 0 {
        return Err(format!(
            "others may write it (owner {owner}, mode {mode:04o}): it must be root's, and only root's to write"
        ));
    }
    let mut text = String::new();
    file.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(|why| format!("it cannot be read: {why}"))?;
    if text.len() as u64 > SIZE_MAX {
        return Err(format!("it has more than {SIZE_MAX} bytes, which no profile has"));
    }
    Profile::parse(&text).map_err(|why| format!("it is no profile: {why}"))
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
