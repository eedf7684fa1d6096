//! Paths of the host for tasks that have no root of their own, as operators and jobs write them: `rx:/usr`. And what comes of them for a
//! task: the operator's paths, the task's own directories, what its job asked for within the operator's grants.

use std::path::{Path, PathBuf};

use yurt_nomad::driver::TaskConfig;
use yurt_task::{Access, Unveil, Unveiled};

use super::clamp::Clamped;
use super::start::task_dir;

/// What a program of the system's needs to run.
const USUAL: [&str; 21] = [
    "rx:/bin",
    "rx:/sbin",
    "rx:/lib",
    "rx:/lib32",
    "rx:/lib64",
    "rx:/usr",
    "r:/etc",
    "r:/run/resolvconf",
    "r:/run/systemd/resolve",
    "r:/proc",
    "r:/sys/devices/system/cpu",
    "r:/sys/fs/cgroup",
    "rw:/dev/null",
    "rw:/dev/zero",
    "rw:/dev/full",
    "r:/dev/random",
    "r:/dev/urandom",
    "rw:/dev/tty",
    "rw:/dev/ptmx",
    "rw:/dev/pts",
    "rwc:/dev/shm",
];

/// A path, and what may be done with it and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unveiling {
    pub(crate) access: Access,
    pub(crate) path: String,
}

/// What a job asked for, held against a grant: the grant's path, and the rest of the job's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) access: Access,
    pub(crate) path: String,
    pub(crate) below: String,
}

/// What every task gets where the operator does not say.
pub(super) fn usual() -> Vec<Unveiling> {
    USUAL.iter().filter_map(|text| parse(text).ok()).collect()
}

pub(super) fn list(texts: &[String]) -> Result<Vec<Unveiling>, String> {
    texts.iter().map(|text| parse(text)).collect()
}

/// `rwxc:/srv/shared`.
pub(super) fn parse(text: &str) -> Result<Unveiling, String> {
    let wrong = |why: &str| Err(format!("{text:?}: {why}"));
    let Some((mode, path)) = text.split_once(':') else {
        return wrong("must be a mode and a path, as in \"rx:/usr\"");
    };
    if mode.is_empty() || !mode.bytes().all(|letter| b"rwxc".contains(&letter)) {
        return wrong("its mode must be of the letters r, w, x and c: read, write, execute, create and remove");
    }
    let parts = path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part));
    if !path.starts_with('/') || !parts || path.contains('\0') {
        return wrong(
            "its path must be absolute, of a file or directory below the root, without .. and double slashes",
        );
    }
    let has = |letter| mode.contains(letter);
    let access = Access { read: has('r'), write: has('w'), execute: has('x'), create: has('c') };
    Ok(Unveiling { access, path: path.to_owned() })
}

impl Unveiling {
    /// Held against what is granted.
    pub(super) fn granted(&self, grants: &[Unveiling]) -> Option<Granted> {
        let fits =
            |grant: &&Unveiling| self.access.within(grant.access) && Path::new(&self.path).starts_with(&grant.path);
        let grant = grants.iter().find(fits)?;
        let below = self.path.get(grant.path.len()..).unwrap_or_default().trim_start_matches('/');
        Some(Granted { access: self.access, path: grant.path.clone(), below: below.to_owned() })
    }
}

/// The directory in which `local` lies, as the task sees it: an agent mounts it where the task need not see other allocations. The job can
/// set every variable, so that one which leads elsewhere counts for nothing.
pub(super) fn own_dir(task: &TaskConfig) -> PathBuf {
    let real = task_dir(task);
    let told = task.env.0.get("NOMAD_TASK_DIR").and_then(|local| Path::new(local).parent().map(Path::to_owned));
    let same = |told: &PathBuf| {
        let (Ok(told), Ok(real)) = (rustix::fs::stat(told), rustix::fs::stat(&real)) else { return false };
        (told.st_dev, told.st_ino) == (real.st_dev, real.st_ino)
    };
    told.filter(same).unwrap_or(real)
}

/// All that a task may use.
pub(super) fn of(task: &TaskConfig, clamped: &Clamped, operators: &[Unveiling]) -> Unveiled {
    let real = task_dir(task);
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let whole =
        |directory: PathBuf| Unveil { path: path(directory), below: String::new(), access: Access::ALL, needed: true };
    // Rules are about what stands at a path, and hold wherever else that is mounted: these are the agent's own words, not the job's.
    let mut paths =
        vec![whole(real.clone()), whole(Path::new(&task.alloc_dir).join("alloc")), whole(real.join("secrets"))];
    paths.extend(operators.iter().map(|one| Unveil {
        path: one.path.clone(),
        below: String::new(),
        access: one.access,
        needed: false,
    }));
    paths.extend(clamped.unveil.iter().map(|one| Unveil {
        path: one.path.clone(),
        below: one.below.clone(),
        access: one.access,
        needed: true,
    }));
    paths.extend(task.devices.iter().map(|device| Unveil {
        path: device.host_path.clone(),
        below: String::new(),
        access: Access {
            read: device.permissions.is_empty() || device.permissions.contains('r'),
            write: device.permissions.is_empty() || device.permissions.contains('w'),
            ..Access::default()
        },
        needed: true,
    }));
    Unveiled {
        namespaces: clamped.namespaces(),
        paths,
        // Where an agent keeps what it does not show to every task.
        hidden: vec![path(real.join("private")), path(own_dir(task).join("private"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_task_gets_is_written_as_an_operator_would() {
        assert_eq!(usual().len(), USUAL.len());
    }

    #[test]
    fn a_mode_and_a_path_are_read_and_anything_else_is_refused() {
        let read = Access { read: true, ..Access::default() };
        assert_eq!(parse("r:/etc/mime.types"), Ok(Unveiling { access: read, path: "/etc/mime.types".to_owned() }));
        assert_eq!(parse("cxwr:/srv").unwrap().access, Access::ALL);
        for wrong in ["", "/etc", ":/etc", "rz:/etc", "r:etc", "r:/", "r:/etc/../root", "r:/etc//x", "r:/etc/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_grant_is_for_its_path_and_all_below_and_for_no_more_than_its_mode() {
        let grants = list(&["r:/etc/ssl", "rwc:/srv/shared"].map(str::to_owned)).unwrap();
        let granted = |text: &str| parse(text).unwrap().granted(&grants).map(|granted| (granted.path, granted.below));
        let is = |path: &str, below: &str| Some((path.to_owned(), below.to_owned()));
        assert_eq!(granted("r:/etc/ssl"), is("/etc/ssl", ""));
        assert_eq!(granted("rw:/srv/shared/a/b"), is("/srv/shared", "a/b"));
        for beyond in ["r:/etc", "r:/etc/sslx", "rw:/etc/ssl", "rx:/srv/shared"] {
            assert_eq!(granted(beyond), None, "{beyond}");
        }
    }
}
