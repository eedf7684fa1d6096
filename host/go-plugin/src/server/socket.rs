//! The plugin's socket: in a fresh directory of its own that nobody else may enter, gone when the plugin is.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::Gid;
use tokio::net::UnixListener;

/// Tries to find a name that is not taken; with 40 random bits a second one is rare.
const TRIES: usize = 16;
const RANDOM: usize = 8;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory.
    #[error("cannot make a directory for the plugin's socket below {}: {source}; set TMPDIR or PLUGIN_UNIX_SOCKET_DIR to a directory that this user can write", base.display())]
    Directory {
        /// Below which it was to be.
        base: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The socket itself.
    #[error("cannot listen on {}: {source}", path.display())]
    Listen {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The group is not known.
    #[error("PLUGIN_UNIX_SOCKET_GROUP names the group {0:?}, which is not in /etc/group; give its number instead")]
    Group(String),
}

/// A listening socket. Its files go when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) files: Files,
}

/// The directory and the socket in it.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    pub(super) socket: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl Socket {
    /// Listens below `base`. With a group, its members may connect, too.
    pub(super) fn listen(base: &Path, group: Option<&str>) -> Result<Socket, SocketError> {
        let group = group.map(group_id).transpose()?;
        let files = Files::create(base).map_err(|source| SocketError::Directory { base: base.to_owned(), source })?;
        let listen = |source| SocketError::Listen { path: files.socket.clone(), source };
        // Until here only this user can reach the socket, whatever the umask.
        let listener = UnixListener::bind(&files.socket).map_err(listen)?;
        files.open_to(group).map_err(listen)?;
        Ok(Socket { listener, files })
    }
}

impl Files {
    fn create(base: &Path) -> io::Result<Files> {
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            let directory = base.join(name()?);
            match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => {
                    let files = Files { socket: directory.join("s"), directory };
                    set_mode(&files.directory, 0o700)?;
                    return Ok(files);
                }
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => last = why,
                Err(why) => return Err(why),
            }
        }
        Err(last)
    }

    fn open_to(&self, group: Option<Gid>) -> io::Result<()> {
        let Some(group) = group else { return set_mode(&self.socket, 0o600) };
        // The socket first: nobody can reach it before the directory opens.
        rustix::fs::chown(&self.socket, None, Some(group))?;
        set_mode(&self.socket, 0o660)?;
        rustix::fs::chown(&self.directory, None, Some(group))?;
        set_mode(&self.directory, 0o710)
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Bytes of the path that a socket below `base` will have.
pub(super) fn path_length(base: &Path) -> usize {
    base.join(format!("plugin{}", "x".repeat(RANDOM))).join("s").as_os_str().len()
}

fn name() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0_u8; RANDOM];
    let got = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if got != RANDOM {
        return Err(io::Error::other("too few random bytes"));
    }
    let letters = random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok("plugin".chars().chain(letters.copied().map(char::from)).collect())
}

/// A number is one; a name is looked up in `/etc/group`.
fn group_id(group: &str) -> Result<Gid, SocketError> {
    let number = group.parse().ok().or_else(|| find_group(&std::fs::read_to_string("/etc/group").ok()?, group));
    // All ones mean "leave as it is" to chown.
    number.filter(|gid| *gid != u32::MAX).map(Gid::from_raw).ok_or_else(|| SocketError::Group(group.to_owned()))
}

fn find_group(file: &str, group: &str) -> Option<u32> {
    let entry = file.lines().find(|line| line.split(':').next() == Some(group))?;
    entry.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_for_this_user_only_and_goes_with_its_directory() {
        let base = tempfile::tempdir().unwrap();
        let socket = Socket::listen(base.path(), None).unwrap();
        assert_eq!(mode(&socket.files.socket), 0o600);
        assert_eq!(mode(&socket.files.directory), 0o700);
        assert_eq!(socket.files.socket.as_os_str().len(), path_length(base.path()));
        drop(socket);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_group_may_enter_and_connect_but_not_look_around() {
        use std::os::unix::fs::MetadataExt as _;
        let base = tempfile::tempdir().unwrap();
        let own = rustix::process::getgid().as_raw();
        let socket = Socket::listen(base.path(), Some(&own.to_string())).unwrap();
        assert_eq!(mode(&socket.files.socket), 0o660);
        assert_eq!(mode(&socket.files.directory), 0o710);
        assert_eq!(std::fs::metadata(&socket.files.socket).unwrap().gid(), own);
    }

    #[tokio::test]
    async fn an_unknown_group_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let why = Socket::listen(base.path(), Some("no such group")).unwrap_err();
        assert!(why.to_string().contains("\"no such group\""), "{why}");
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_directory_that_is_missing_is_named() {
        let why = Socket::listen(Path::new("/nonexistent/here"), None).unwrap_err();
        assert!(why.to_string().contains("/nonexistent/here"), "{why}");
    }

    #[test]
    fn group_names_are_found_in_the_group_file() {
        let file = "root:x:0:\nwheel:x:10:a,b\nodd\n";
        assert_eq!(find_group(file, "wheel"), Some(10));
        assert_eq!(find_group(file, "whee"), None);
        assert_eq!(find_group(file, "odd"), None);
        assert!(group_id("4294967295").is_err());
    }
}
