//! What a guest wants to know of the node, or of a task's root: programs that are run, found or looked at for it, where the operator
//! allows. What is not allowed or not there is a finding, too.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use tokio::task::JoinSet;
use yurt_guest::driver::{self as wit, Trouble};
use yurt_task::Probe;

use super::config::Grants;
use super::{glob, layers};

/// Where programs are looked for, in this order; not the plugin's own `PATH`, which a service manager decides.
pub(crate) const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Longest that one program may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most of one output and of one file, in bytes.
const TEXT_MAX: usize = 16 * 1024;
/// Most programs that one glob finds.
const FOUND_MAX: usize = 64;

/// Where to look, and what may be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory that stands for `/`.
    root: PathBuf,
    /// Of the host and in the root, where the root itself has nothing: see [`layers`].
    host: Vec<String>,
    /// A task's own files: its root, or its directory where it has no root of its own.
    own: Option<PathBuf>,
    /// Globs.
    programs: Vec<String>,
    /// Globs.
    files: Vec<String>,
}

/// A grant that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// It belongs into `grants.programs`, else into `grants.files`.
    pub(crate) program: bool,
    /// The entry that would do.
    pub(crate) what: String,
}

impl Place {
    /// The node itself.
    pub(crate) fn node(driver: &str, grants: &Grants) -> Place {
        let kind = driver.strip_prefix("yurt-").unwrap_or(driver);
        let programs = grants.programs.clone().unwrap_or_else(|| vec![format!("{kind}*")]);
        Place { root: PathBuf::from("/"), host: Vec::new(), own: None, programs, files: grants.files.clone() }
    }

    /// A task's root directory.
    pub(crate) fn root(self, root: &Path) -> Place {
        Place { root: root.to_owned(), own: Some(PathBuf::from("/")), ..self }
    }

    /// What of the host is in the task's root, too.
    pub(crate) fn over(self, host_paths: &[String]) -> Place {
        Place { host: host_paths.to_vec(), ..self }
    }

    /// The node with a task's own directory in it.
    pub(crate) fn with_own(self, dir: &Path) -> Place {
        Place { own: Some(dir.to_owned()), ..self }
    }

    /// Globs for programs that may be run.
    pub(crate) fn granted_programs(&self) -> &[String] {
        &self.programs
    }

    /// What would have to be granted for this look; none: it is allowed.
    pub(crate) fn lacks(&self, look: &wit::Look) -> Option<Lacking> {
        let program = |what: &str| Some(Lacking { program: true, what: what.to_owned() });
        match look {
            wit::Look::Run(argv) => {
                argv.first().filter(|wanted| !self.may_run(wanted)).and_then(|wanted| program(wanted))
            }
            // Of a glob all that it finds.
            wit::Look::Programs(pattern) if self.may_run(pattern) => None,
            wit::Look::Programs(pattern) => program(pattern),
            wit::Look::Stat(path) if self.may_run(path) => None,
            wit::Look::Stat(path) | wit::Look::Read(path) => match self.may_look(path) {
                Err(Trouble::Refused(_)) => Some(Lacking { program: false, what: path.clone() }),
                _ => None,
            },
        }
    }

    /// Looks at everything at once; findings come in the order of the probes.
    pub(crate) async fn look(&self, probes: &[wit::Probe]) -> Vec<wit::Finding> {
        let mut looks = JoinSet::new();
        for (at, probe) in probes.iter().cloned().enumerate() {
            let place = self.clone();
            looks.spawn(async move {
                let outcome = place.one(probe.look).await;
                (at, wit::Finding { id: probe.id, outcome })
            });
        }
        let mut findings: Vec<(usize, wit::Finding)> = Vec::with_capacity(probes.len());
        while let Some(found) = looks.join_next().await {
            findings.extend(found);
        }
        findings.sort_by_key(|(at, _)| *at);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    async fn one(&self, look: wit::Look) -> Result<wit::Found, Trouble> {
        match look {
            wit::Look::Run(argv) => self.run(argv).await.map(wit::Found::Output),
            wit::Look::Programs(pattern) => self.programs(&pattern).map(wit::Found::Paths),
            wit::Look::Read(path) => self.read(&path).map(wit::Found::Content),
            wit::Look::Stat(path) => self.stat(&path).map(wit::Found::Status),
        }
    }

    async fn run(&self, mut argv: Vec<String>) -> Result<wit::ProgramOutput, Trouble> {
        let Some(program) = argv.first_mut() else {
            return Err(Trouble::Failed("there is no program to run".to_owned()));
        };
        *program = self.program(program)?;
        let resolved = self.resolved(program);
        let root = (self.root != Path::new("/")).then(|| self.root.clone());
        let root = match root {
            // The task's root is not made yet: what is the host's there is run here.
            Some(_) if !self.host.is_empty() && layers::is_host_s(&self.root, &self.host, &resolved) => None,
            Some(_) if !self.host.is_empty() => {
                let why = format!("{program}: a program of the task's own cannot be run before the task is started");
                return Err(Trouble::Failed(why));
            }
            root => root,
        };
        let probe = Probe { argv, root, deadline: DEADLINE, output_max: TEXT_MAX };
        let answer = probe.run().await.map_err(|why| Trouble::Failed(why.to_string()))?;
        Ok(wit::ProgramOutput {
            resolved,
            exit_code: answer.status.code().unwrap_or(-1),
            stdout: lossy(&answer.stdout),
            stderr: lossy(&answer.stderr),
        })
    }

    /// The whole path of a program, if it is there and may be run.
    fn program(&self, wanted: &str) -> Result<String, Trouble> {
        let path = if wanted.contains('/') {
            wanted.to_owned()
        } else {
            let places = PATH.iter().map(|dir| format!("{dir}/{wanted}"));
            places
                .into_iter()
                .find(|path| self.is_program(path))
                .ok_or_else(|| Trouble::Absent(format!("there is no program {wanted} in {}", PATH.join(":"))))?
        };
        if !path.starts_with('/') {
            return Err(Trouble::Failed(format!("{wanted}: must be a name or an absolute path")));
        }
        if !self.may_run(&path) {
            return Err(Trouble::Refused(format!(
                "{path} may not be run: yurt.grants.programs allows {}",
                if self.programs.is_empty() { "nothing".to_owned() } else { self.programs.join(", ") }
            )));
        }
        if !self.is_program(&path) {
            return Err(Trouble::Absent(format!("there is no program {path}")));
        }
        Ok(path)
    }

    fn may_run(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        self.programs.iter().any(|pattern| {
            if pattern.contains('/') { glob::matches(pattern, path) } else { glob::matches(pattern, name) }
        })
    }

    fn programs(&self, pattern: &str) -> Result<Vec<String>, Trouble> {
        if pattern.contains('/') {
            return Err(Trouble::Failed(format!("{pattern}: must be a glob for a file name")));
        }
        let mut found = Vec::new();
        for dir in PATH {
            let mut names: Vec<String> = self
                .opened(dir)
                .into_iter()
                .filter_map(|opened| rustix::fs::Dir::read_from(&opened).ok())
                .flat_map(|entries| entries.flatten())
                .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
                .filter(|name| glob::matches(pattern, name))
                .collect();
            names.sort_unstable();
            names.dedup();
            found.extend(
                names
                    .into_iter()
                    .map(|name| format!("{dir}/{name}"))
                    .filter(|path| self.may_run(path) && self.is_program(path)),
            );
        }
        // `/bin` and `/usr/bin` are often one directory.
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|path| seen.insert(self.same_file(path)));
        found.truncate(FOUND_MAX);
        Ok(found)
    }

    fn read(&self, path: &str) -> Result<String, Trouble> {
        self.may_look(path)?;
        let failed = |why: io::Error| trouble(path, &why);
        let file = fs::File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(failed)?);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Trouble::Failed(format!("{path} is no file")));
        }
        let mut content = Vec::new();
        let limit = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut content).map_err(failed)?;
        Ok(lossy(&content))
    }

    /// What a path leads to within the root. A link that leads nowhere there is told as such.
    fn stat(&self, path: &str) -> Result<wit::PathStatus, Trouble> {
        if !self.may_run(path) {
            self.may_look(path)?;
        }
        let Ok(file) = self.open(path, OFlags::PATH) else {
            let link = self.open(path, OFlags::PATH | OFlags::NOFOLLOW);
            let target = link.ok().and_then(|link| rustix::fs::readlinkat(link, "", Vec::new()).ok());
            let kind = if target.is_some() { wit::PathKind::Link } else { wit::PathKind::Absent };
            let target = target.map(|target| target.to_string_lossy().into_owned());
            return Ok(wit::PathStatus { kind, executable: false, target });
        };
        let meta = rustix::fs::fstat(&file).map_err(|why| trouble(path, &why.into()))?;
        let kind = match FileType::from_raw_mode(meta.st_mode) {
            FileType::RegularFile => wit::PathKind::File,
            FileType::Directory => wit::PathKind::Directory,
            _ => wit::PathKind::Other,
        };
        let executable = kind == wit::PathKind::File && meta.st_mode & 0o111 != 0;
        Ok(wit::PathStatus { kind, executable, target: Some(self.resolved(path)).filter(|real| real != path) })
    }

    /// A file that may be looked at: by grant, or a task's own, but not where its secrets are.
    fn may_look(&self, path: &str) -> Result<(), Trouble> {
        let plain = Path::new(path);
        let upward = plain.components().any(|part| part.as_os_str() == "..");
        if !plain.is_absolute() || upward {
            return Err(Trouble::Failed(format!("{path}: must be an absolute path without ..")));
        }
        let own = self.own.as_deref().and_then(|own| plain.strip_prefix(own).ok());
        if let Some(inside) = own {
            return match inside.components().next().map(|first| first.as_os_str()) {
                Some(first) if first == "secrets" || first == "private" => {
                    Err(Trouble::Refused(format!("{path} may not be looked at: it is where the task's secrets are")))
                }
                _ => Ok(()),
            };
        }
        if self.files.iter().any(|pattern| glob::matches(pattern, path)) {
            return Ok(());
        }
        Err(Trouble::Refused(format!("{path} may not be looked at: yurt.grants.files does not name it")))
    }

    /// A directory, to be read: that of the root, and that of the host beneath it.
    fn opened(&self, dir: &str) -> Vec<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if self.host.is_empty() {
            return self.open(dir, flags).into_iter().collect();
        }
        layers::all(&self.root, &self.host, dir, flags)
    }

    /// Opens within the root, whatever the links in it say.
    fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if !self.host.is_empty() {
            return Ok(layers::open(&self.root, &self.host, path, flags)?.0);
        }
        let root = openat2(
            CWD,
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        )?;
        Ok(openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
    }

    /// A regular file that somebody may execute.
    fn is_program(&self, path: &str) -> bool {
        let Ok(file) = self.open(path, OFlags::PATH) else { return false };
        rustix::fs::fstat(&file).is_ok_and(|meta| {
            FileType::from_raw_mode(meta.st_mode) == FileType::RegularFile && meta.st_mode & 0o111 != 0
        })
    }

    /// Device and inode of its directory, and its name: the same for two names of one directory.
    fn same_file(&self, path: &str) -> Option<(u64, u64, String)> {
        let (dir, name) = path.rsplit_once('/')?;
        let meta = rustix::fs::fstat(self.open(dir, OFlags::PATH).ok()?).ok()?;
        Some((meta.st_dev, meta.st_ino, name.to_owned()))
    }

    /// The path with every link followed, as it is called within the root.
    fn resolved(&self, path: &str) -> String {
        if !self.host.is_empty() {
            return layers::open(&self.root, &self.host, path, OFlags::PATH)
                .map_or_else(|_| path.to_owned(), |(_, resolved)| resolved);
        }
        let real = self.open(path, OFlags::PATH).ok().and_then(|file| {
            use std::os::fd::AsRawFd as _;
            fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
        });
        let Some(real) = real else { return path.to_owned() };
        let root = fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let inside = real.strip_prefix(&root).map_or(real.clone(), |inside| Path::new("/").join(inside));
        inside.to_string_lossy().into_owned()
    }
}

fn trouble(path: &str, why: &io::Error) -> Trouble {
    match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Trouble::Absent(format!("there is no {path}")),
        _ => Trouble::Failed(format!("{path}: {why}")),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
