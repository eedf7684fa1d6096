//! What a plugin learns from its environment: who started it, and what the parent wishes.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::socket;
use crate::handshake::{Handshake, beginning};
use crate::tls;

/// Longest path that a unix socket's address can hold: `sun_path` less its terminator.
pub(crate) const SOCKET_PATH_MAX: usize = 107;

/// How this process was started.
#[derive(Debug, Clone)]
pub enum Invocation {
    /// As a plugin; here is what the parent said.
    Plugin(Environment),
    /// The cookie's variable is there with another value: another product, or another version of the protocol.
    WrongCookie,
    /// No cookie: a person, or a script.
    Person,
}

/// The parent's wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Application protocol versions that the parent accepts, as listed; empty where it names none.
    pub accepted_versions: Vec<u32>,
    /// Where to make the socket's directory; absolute.
    pub socket_dir: PathBuf,
    /// Group that may connect beside the user: a name or a number.
    pub socket_group: Option<String>,
    /// AutoMTLS: the certificates, DER, of which a client must hold one.
    pub client_certificates: Option<Vec<Vec<u8>>>,
    /// The parent would like side connections to share one socket. Not supported, and the handshake line says so.
    pub multiplexing_wanted: bool,
}

/// Why the parent's wishes cannot be met. Nothing was started or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The address would not fit.
    #[error(
        "the socket's path would be {length} bytes below {}, more than the {SOCKET_PATH_MAX} that a unix socket can have; set {variable} to a shorter directory",
        shown(directory)
    )]
    PathTooLong {
        /// The directory as given.
        directory: PathBuf,
        /// Where that came from.
        variable: &'static str,
        /// Bytes of the whole path.
        length: usize,
    },
    /// The address would not survive the handshake line.
    #[error(
        "{variable} is {}: a directory for the plugin's socket must be UTF-8 without \"|\" and control characters, because its path goes into the handshake line",
        shown(directory)
    )]
    PathUnprintable {
        /// The directory as given.
        directory: OsString,
        /// Where that came from.
        variable: &'static str,
    },
    /// AutoMTLS is asked for and impossible.
    #[error("PLUGIN_CLIENT_CERT asks for AutoMTLS, but holds no certificate that can be used: {0}")]
    ClientCertificate(String),
    /// The group is no text.
    #[error("PLUGIN_UNIX_SOCKET_GROUP is {}, which is not UTF-8", shown(.0))]
    Group(OsString),
    /// The plugin's own fault.
    #[error("this plugin was built with an empty magic cookie; please report that to its author")]
    EmptyCookie,
}

/// A value for a message: quoted, escaped, and only its beginning where it is long.
fn shown(value: impl AsRef<OsStr>) -> String {
    beginning(&format!("{:?}", value.as_ref()))
}

/// How this process was started, by its environment variables.
///
/// # Errors
///
/// Under the right cookie, a wish of the parent's that cannot be met.
pub fn invocation(handshake: &Handshake) -> Result<Invocation, EnvironmentError> {
    invocation_from(handshake, |key| std::env::var_os(key))
}

/// The same for any environment.
pub fn invocation_from(
    handshake: &Handshake,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Invocation, EnvironmentError> {
    if handshake.cookie_key.is_empty() || handshake.cookie_value.is_empty() {
        return Err(EnvironmentError::EmptyCookie);
    }
    match lookup(handshake.cookie_key) {
        None => Ok(Invocation::Person),
        Some(value) if value != handshake.cookie_value => Ok(Invocation::WrongCookie),
        Some(_) => Environment::read(lookup).map(Invocation::Plugin),
    }
}

impl Environment {
    /// Reads the variables of go-plugin's protocol. An empty one counts as absent.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Environment, EnvironmentError> {
        let variable = |key: &str| lookup(key).filter(|value| !value.is_empty());
        let (directory, named_by) = variable("PLUGIN_UNIX_SOCKET_DIR")
            .map(|directory| (directory, "PLUGIN_UNIX_SOCKET_DIR"))
            .or_else(|| variable("TMPDIR").map(|directory| (directory, "TMPDIR")))
            .unwrap_or_else(|| ("/tmp".into(), "TMPDIR"));
        let client_certificates = variable("PLUGIN_CLIENT_CERT")
            .map(|pem| {
                tls::certificates(pem.as_encoded_bytes())
                    .map_err(|why| EnvironmentError::ClientCertificate(beginning(&why.to_string())))
            })
            .transpose()?;
        Ok(Environment {
            accepted_versions: versions(&variable("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default()),
            socket_dir: socket_dir(&directory, named_by)?,
            socket_group: variable("PLUGIN_UNIX_SOCKET_GROUP")
                .map(|group| group.into_string().map_err(EnvironmentError::Group))
                .transpose()?,
            client_certificates,
            multiplexing_wanted: variable("PLUGIN_MULTIPLEX_GRPC").is_some(),
        })
    }
}

/// Entries that are no number are passed over, as the Go library does.
fn versions(list: &OsStr) -> Vec<u32> {
    list.to_string_lossy().split(',').filter_map(|version| version.trim().parse().ok()).collect()
}

fn socket_dir(directory: &OsStr, variable: &'static str) -> Result<PathBuf, EnvironmentError> {
    let unprintable = || EnvironmentError::PathUnprintable { directory: directory.to_owned(), variable };
    // The parent need not share our working directory.
    let absolute = std::path::absolute(Path::new(directory)).map_err(|_| unprintable())?;
    let text = absolute.to_str().ok_or_else(unprintable)?;
    if text.chars().any(|c| c == '|' || c.is_control()) {
        return Err(unprintable());
    }
    let length = socket::path_length(&absolute);
    if length > SOCKET_PATH_MAX {
        return Err(EnvironmentError::PathTooLong { directory: directory.into(), variable, length });
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    const HANDSHAKE: Handshake = Handshake { cookie_key: "COOKIE", cookie_value: "yes", protocol_version: 2 };

    fn environment(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(|key| variables.iter().find(|(name, _)| *name == key).map(|(_, value)| value.into()))
    }

    fn invoked(value: Option<&str>) -> Invocation {
        invocation_from(&HANDSHAKE, |key| (key == "COOKIE").then(|| value.map(OsString::from)).flatten()).unwrap()
    }

    #[test]
    fn the_cookie_tells_a_parent_from_a_stranger_and_a_person() {
        assert!(matches!(invoked(Some("yes")), Invocation::Plugin(_)));
        assert!(matches!(invoked(Some("no")), Invocation::WrongCookie));
        assert!(matches!(invoked(Some("")), Invocation::WrongCookie));
        assert!(matches!(invoked(None), Invocation::Person));
    }

    #[test]
    fn a_plugin_without_a_cookie_of_its_own_starts_for_nobody() {
        let handshake = Handshake { cookie_value: "", ..HANDSHAKE };
        assert_eq!(invocation_from(&handshake, |_| None).unwrap_err(), EnvironmentError::EmptyCookie);
    }

    #[test]
    fn the_socket_goes_to_the_parents_directory_then_tmpdir_then_tmp() {
        let directory = |variables: &[(&str, &str)]| environment(variables).unwrap().socket_dir;
        assert_eq!(directory(&[("PLUGIN_UNIX_SOCKET_DIR", "/run/a"), ("TMPDIR", "/b")]), Path::new("/run/a"));
        assert_eq!(directory(&[("PLUGIN_UNIX_SOCKET_DIR", ""), ("TMPDIR", "/b")]), Path::new("/b"));
        assert_eq!(directory(&[("TMPDIR", "")]), Path::new("/tmp"));
        assert!(directory(&[("TMPDIR", "relative")]).is_absolute());
    }

    #[test]
    fn a_directory_too_long_for_a_socket_is_refused_and_the_longest_that_fits_is_not() {
        // As much as the Go library's own sockets leave room for.
        let fits = format!("/{}", "d".repeat(89));
        assert_eq!(environment(&[("TMPDIR", &fits)]).unwrap().socket_dir, Path::new(&fits));
        let why = environment(&[("TMPDIR", &format!("{fits}d"))]).unwrap_err();
        assert!(matches!(why, EnvironmentError::PathTooLong { length: 108, variable: "TMPDIR", .. }), "{why}");
        assert!(why.to_string().contains("set TMPDIR to a shorter directory"), "{why}");
    }

    #[test]
    fn a_directory_that_would_break_the_handshake_line_is_refused() {
        for bad in ["/a|b", "/a\nb"] {
            let why = environment(&[("PLUGIN_UNIX_SOCKET_DIR", bad)]).unwrap_err();
            assert!(matches!(why, EnvironmentError::PathUnprintable { .. }), "{why}");
        }
    }

    #[test]
    fn a_value_of_any_length_makes_a_short_message() {
        let long = "d".repeat(100_000);
        for (key, value) in [
            ("TMPDIR", format!("/{long}")),
            ("TMPDIR", format!("/{long}|")),
            ("PLUGIN_CLIENT_CERT", format!("-----BEGIN {long}-----\n-----END {long}")),
        ] {
            let why = environment(&[(key, &value)]).unwrap_err().to_string();
            assert!(why.chars().count() < 500 && !why.contains(char::is_control), "{why}");
        }
        let group = OsString::from_vec(vec![0xff; 100_000]);
        assert!(EnvironmentError::Group(group).to_string().chars().count() < 500);
    }

    #[test]
    fn versions_are_a_list_and_what_is_no_number_is_passed_over() {
        let accepted = |list| environment(&[("PLUGIN_PROTOCOL_VERSIONS", list)]).unwrap().accepted_versions;
        assert_eq!(accepted("2"), [2]);
        assert_eq!(accepted("3, 2,x,,4"), [3, 2, 4]);
        assert_eq!(accepted(""), [0u32; 0]);
    }

    #[test]
    fn a_client_certificate_that_is_none_is_an_error() {
        let pem = |base64: &str| format!("-----BEGIN CERTIFICATE-----\n{base64}-----END CERTIFICATE-----\n");
        for bad in ["yes", &pem("!!\n"), &pem("")] {
            let why = environment(&[("PLUGIN_CLIENT_CERT", bad)]).unwrap_err();
            assert!(matches!(why, EnvironmentError::ClientCertificate(_)), "{why}");
        }
    }
}
