//! The handshake line: the first and only line that a plugin writes to stdout.
//!
//! ```text
//! 1|2|unix|/tmp/pluginb3k2m9qa/s|grpc|
//! ```
//!
//! Core protocol, application protocol, network, address, wire protocol, and under AutoMTLS the server's certificate: DER in
//! unpadded standard base64. A seventh field would promise that side connections share this one; we do not, and so leave it out.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The version of go-plugin's own protocol; there is only this one.
pub const CORE_PROTOCOL: u32 = 1;

/// A sixth field that is shorter is not taken for a certificate: some old plugins put other things there.
const CERTIFICATE_MIN: usize = 50;

/// What an application and its plugins have agreed on beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Environment variable that holds the cookie.
    pub cookie_key: &'static str,
    /// Its value. No secret: it tells "started by the right parent" from "started by a person".
    pub cookie_value: &'static str,
    /// The application's plugin protocol.
    pub protocol_version: u32,
}

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix|{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp|{address}"),
        }
    }
}

/// A handshake line in parts. `Display` writes it, without the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The application's plugin protocol that the plugin speaks.
    pub protocol_version: u32,
    /// Where it listens.
    pub address: Address,
    /// AutoMTLS: the server's certificate, DER.
    pub certificate: Option<Vec<u8>>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CORE_PROTOCOL}|{}|{}|grpc|", self.protocol_version, self.address)?;
        match &self.certificate {
            Some(der) => f.write_str(&STANDARD_NO_PAD.encode(der)),
            None => Ok(()),
        }
    }
}

/// Why an application would refuse a plugin's first line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Fewer than four fields: usually something that a library printed.
    #[error(
        "unrecognized first line on stdout: {0:?}; a plugin must print its handshake line there and nothing before it"
    )]
    Unrecognized(String),
    /// Another core protocol.
    #[error("the plugin's go-plugin core protocol is {0:?}, this side's {CORE_PROTOCOL}")]
    Core(String),
    /// None of the versions that this side accepts.
    #[error("the plugin speaks protocol version {plugin:?}, this side accepts {accepted:?}")]
    Version {
        /// As printed.
        plugin: String,
        /// What was offered in `PLUGIN_PROTOCOL_VERSIONS`.
        accepted: Vec<u32>,
    },
    /// Neither `unix` nor `tcp`.
    #[error("the plugin listens on a network of unknown type {0:?}; known are \"unix\" and \"tcp\"")]
    Network(String),
    /// `netrpc`, or no fifth field, which means the same.
    #[error("the plugin's wire protocol is {0:?}; only \"grpc\" is supported")]
    Protocol(String),
    /// The sixth field is no base64.
    #[error("the server certificate in the plugin's first line is not base64: {0}")]
    Certificate(String),
}

impl Line {
    /// Reads a line as strictly as the Go library's client does, and in its order, so that the first fault named is the same.
    ///
    /// `accepted` are the application protocol versions that were offered.
    pub fn parse(line: &str, accepted: &[u32]) -> Result<Line, LineError> {
        let line = line.trim();
        let mut fields = line.split('|');
        let (Some(core), Some(version), Some(network), Some(address)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(LineError::Unrecognized(beginning(line)));
        };
        if core.parse::<u32>() != Ok(CORE_PROTOCOL) {
            return Err(LineError::Core(beginning(core)));
        }
        let protocol_version = version
            .parse()
            .ok()
            .filter(|version| accepted.contains(version))
            .ok_or_else(|| LineError::Version { plugin: beginning(version), accepted: accepted.to_vec() })?;
        let address = match network {
            "unix" => Address::Unix(PathBuf::from(address)),
            "tcp" => Address::Tcp(address.to_owned()),
            other => return Err(LineError::Network(beginning(other))),
        };
        match fields.next().unwrap_or("netrpc") {
            "grpc" => {}
            other => return Err(LineError::Protocol(beginning(other))),
        }
        let certificate = match fields.next() {
            Some(text) if text.len() > CERTIFICATE_MIN => {
                Some(STANDARD_NO_PAD.decode(text).map_err(|why| LineError::Certificate(why.to_string()))?)
            }
            _ => None,
        };
        Ok(Line { protocol_version, address, certificate })
    }
}

/// As much of a foreign text as an error message should carry.
pub(crate) fn beginning(text: &str) -> String {
    const ENOUGH: usize = 200;
    match text.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for certificate in [None, Some(vec![7; 300])] {
            let line = Line { protocol_version: 2, address: Address::Unix("/tmp/pluginx/s".into()), certificate };
            assert_eq!(Line::parse(&format!("{line}\n"), &[1, 2]), Ok(line));
        }
    }

    #[test]
    fn six_fields_are_written_and_the_last_is_empty_without_tls() {
        let line = Line { protocol_version: 2, address: Address::Unix("/run/x".into()), certificate: None };
        assert_eq!(line.to_string(), "1|2|unix|/run/x|grpc|");
    }

    #[test]
    fn what_is_not_a_handshake_is_refused_for_its_first_fault() {
        let parse = |line: &str| Line::parse(line, &[2]).unwrap_err();
        assert_eq!(parse("hello"), LineError::Unrecognized("hello".into()));
        assert_eq!(parse(""), LineError::Unrecognized(String::new()));
        assert_eq!(parse("2|2|unix|/x|grpc|"), LineError::Core("2".into()));
        assert_eq!(parse("x|9|pipe|/x"), LineError::Core("x".into()));
        assert_eq!(parse("1|3|unix|/x|grpc|"), LineError::Version { plugin: "3".into(), accepted: vec![2] });
        assert_eq!(parse("1|2|pipe|/x|grpc|"), LineError::Network("pipe".into()));
        assert_eq!(parse("1|2|unix|/x"), LineError::Protocol("netrpc".into()));
        assert_eq!(parse("1|2|unix|/x|netrpc|"), LineError::Protocol("netrpc".into()));
        assert!(matches!(parse(&format!("1|2|unix|/x|grpc|{}", "!".repeat(51))), LineError::Certificate(_)));
        assert!(parse(&"é".repeat(5000)).to_string().len() < 1000);
    }

    #[test]
    fn extra_fields_and_a_short_sixth_one_do_not_matter() {
        let line = Line::parse("  1|2|tcp|127.0.0.1:9|grpc|extra|true \r\n", &[2]).unwrap();
        assert_eq!(line, Line { protocol_version: 2, address: Address::Tcp("127.0.0.1:9".into()), certificate: None });
    }
}
