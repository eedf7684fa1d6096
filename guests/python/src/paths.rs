//! Paths as text: nothing here looks at a file system.

use yurt_sdk::driver::TaskView;

/// A program's name for a lookup: no separator, nothing that a glob or an option could be.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

/// An absolute path of something other than the root.
pub(crate) fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && joined("/", text) != "/" && !text.chars().any(char::is_control)
}

/// A path, not a bare name.
pub(crate) fn is_path(text: &str) -> bool {
    text.contains('/') && !text.ends_with('/') && !text.chars().any(char::is_control)
}

/// Where a path leads that is used in `directory`, without `.`, `..` and double slashes. `..` at the root stays there.
pub(crate) fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let both = if path.starts_with('/') { ["", path] } else { [directory, path] };
    for part in both.iter().flat_map(|path| path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory in which `local` lies: `/` for a task with a root of its own.
pub(crate) fn task_directory(view: &TaskView) -> String {
    joined(&view.local_dir, "..")
}

/// Whether a path without `..` is one of the task's: in its own directory, the allocation's or the one for secrets.
pub(crate) fn is_of_the_task(path: &str, view: &TaskView) -> bool {
    let own = task_directory(view);
    [own.as_str(), &view.alloc_dir, &view.secrets_dir].into_iter().any(|directory| is_within(path, directory))
}

/// Whether a path is a directory or below it.
pub(crate) fn is_within(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yurt_sdk::testing::driver::{view, view_of_the_host};

    #[test]
    fn a_path_is_followed_as_text() {
        for (directory, path, want) in [
            ("/", "server.py", "/server.py"),
            ("/", "./a//b.py", "/a/b.py"),
            ("/srv/task", "../other/x.py", "/srv/other/x.py"),
            ("/srv/task", "/x.py", "/x.py"),
            ("/", "../../x.py", "/x.py"),
            ("/srv/task", "", "/srv/task"),
            ("/srv/task/", "..", "/srv"),
        ] {
            assert_eq!(joined(directory, path), want, "{path} in {directory}");
        }
    }

    #[test]
    fn a_task_with_a_root_of_its_own_owns_every_path_in_it() {
        assert_eq!(task_directory(&view()), "/");
        assert!(is_of_the_task("/opt/x.py", &view()));
    }

    #[test]
    fn a_task_that_sees_the_host_owns_its_directories() {
        let view = view_of_the_host();
        assert_eq!(task_directory(&view), "/srv/alloc/8d1bc1b2/server");
        for (path, want) in [
            ("/srv/alloc/8d1bc1b2/server/server.py", true),
            ("/srv/alloc/8d1bc1b2/alloc/data/x.py", true),
            ("/srv/alloc/8d1bc1b2/server2/x.py", false),
            ("/srv/alloc/8d1bc1b2/x.py", false),
            ("/etc/x.py", false),
        ] {
            assert_eq!(is_of_the_task(path, &view), want, "{path}");
        }
    }

    #[test]
    fn a_name_cannot_be_a_glob_an_option_or_a_path() {
        for name in ["python3", "python3.11", "python3.13t", "pypy3.10-v7"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "python*", "-c", "..", ".python", "bin/python", "python 3", "python\0"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_absolute("/opt/py/bin/python"));
        for path in ["", "/", "//", "/..", "bin/python", "/a\nb"] {
            assert!(!is_absolute(path), "{path:?}");
        }
    }
}
