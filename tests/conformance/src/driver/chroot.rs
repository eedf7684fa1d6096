//! A small root directory for tasks: a shell, the usual small programs, the system's Python with what of its library the rows use.
//!
//! Made once per test program as a template, and linked into every task's directory, as an agent links its `chroot_env`. The template is
//! below cargo's target directory, until the next program finds that its maker is gone; where temporary files are on another file
//! system, it is copied.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PROGRAMS: &[&str] = &[
    "cat", "chmod", "cut", "dd", "echo", "env", "false", "grep", "head", "id", "kill", "ls", "mkdir", "mktemp",
    "mknod", "nice", "ps", "readlink", "rm", "seq", "setsid", "sh", "sleep", "sort", "stat", "stty", "tail", "touch",
    "tr", "true", "wc", "whoami", "yes",
];

/// Small files that programs look for.
const FILES: &[&str] =
    &["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/ld.so.cache"];

/// Prints what Python loads for these modules. What is not there on some Python is left out.
const LIBRARY: &str = "
import importlib, os, sys
for name in 'ctypes encodings.ascii encodings.latin_1 json platform resource runpy signal site socket subprocess threading time'.split():
    try: importlib.import_module(name)
    except ImportError: pass
print(os.path.dirname(os.__file__) + '/lib-dynload')
for module in list(sys.modules.values()):
    for name in '__file__', '__cached__':
        path = getattr(module, name, None)
        if path and os.path.exists(path): print(path)
";

/// The interpreter of the rows that name one.
pub(super) const PYTHON: &str = "/usr/bin/python3";

/// The template.
#[derive(Debug)]
pub(super) struct Template {
    dir: PathBuf,
}

impl Template {
    /// The one of this test program.
    pub(super) fn shared() -> &'static Template {
        static SHARED: OnceLock<Template> = OnceLock::new();
        SHARED.get_or_init(Template::build)
    }

    fn build() -> Template {
        let parent = crate::place::workshops();
        for old in fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = old.file_name().to_string_lossy().into_owned();
            if let Some(maker) = name.strip_prefix("root-").and_then(|maker| maker.parse().ok())
                && !super::exists(maker)
            {
                let _ = fs::remove_dir_all(old.path());
            }
        }
        let template = Template { dir: parent.join(format!("root-{}", std::process::id())) };
        let _ = fs::remove_dir_all(&template.dir);
        fs::create_dir_all(&template.dir).expect("a directory");
        let mut with_libraries = Vec::new();
        for name in PROGRAMS {
            let places = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
            assert!(places.iter().any(|path| path.exists()), "this system has no {name}, which the rows use");
            with_libraries.extend(places.into_iter().filter(|path| path.exists()));
        }
        assert!(Path::new(PYTHON).exists(), "this system has no {PYTHON}, which the rows use");
        with_libraries.push(PYTHON.into());
        let library = Command::new(PYTHON).args(["-I", "-c", LIBRARY]).output().expect("Python runs");
        assert!(library.status.success(), "{}", String::from_utf8_lossy(&library.stderr));
        let library = String::from_utf8(library.stdout).expect("paths are text");
        for path in library.lines().map(PathBuf::from) {
            if path.extension().is_some_and(|extension| extension == "so") {
                with_libraries.push(path);
            } else {
                template.bring(&path);
            }
        }
        for path in with_libraries.iter().cloned().chain(libraries(&with_libraries)) {
            template.bring(&path);
        }
        for path in FILES {
            template.bring(Path::new(path));
        }
        template
    }

    /// A copy of a file of the host at the same path, and of every link on the way there. A directory is made, without content.
    fn bring(&self, path: &Path) {
        let mut on_host = PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            on_host.push(name);
            let Ok(meta) = fs::symlink_metadata(&on_host) else { return };
            let here = self.dir.join(on_host.strip_prefix("/").expect("absolute"));
            if meta.is_symlink() {
                let target = fs::read_link(&on_host).expect("a link");
                if fs::symlink_metadata(&here).is_err() {
                    std::os::unix::fs::symlink(&target, &here).expect("a link");
                }
                let rest = path.strip_prefix(&on_host).expect("on the way");
                let target = on_host.parent().expect("not the root").join(target).join(rest);
                return self.bring(&normal(&target));
            } else if meta.is_dir() {
                let _ = fs::create_dir(&here);
            } else if !here.exists() {
                copy(&on_host, &meta, &here).unwrap_or_else(|why| panic!("{}: {why}", on_host.display()));
            }
        }
    }

    /// Fills a task's directory.
    pub(super) fn link_into(&self, dir: &Path) {
        link_all(&self.dir, dir);
    }
}

/// Of the same age, by which Python knows a source that it has compiled.
fn copy(from: &Path, meta: &fs::Metadata, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.set_modified(meta.modified()?)
}

fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            let _ = fs::create_dir(&there);
            link_all(&here, &there);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&here).expect("a link"), &there).expect("a link");
        } else {
            let linked = fs::hard_link(&here, &there).or_else(|_| fs::copy(&here, &there).map(|_| ()));
            linked.unwrap_or_else(|why| panic!("{}: {why}", there.display()));
        }
    }
}

/// What the dynamic linker would load for these.
fn libraries(programs: &[PathBuf]) -> BTreeSet<PathBuf> {
    // Most have two names, and each takes a few processes.
    let programs: BTreeSet<PathBuf> = programs.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let output = Command::new("ldd").args(programs).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter(|line| line.starts_with(char::is_whitespace)).flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Without `..`, which in a path of links already followed is the directory above.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
