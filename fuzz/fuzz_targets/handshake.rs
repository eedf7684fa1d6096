//! What a parent and its plugin say before they talk: the environment, in the form of /proc/PID/environ, and the first line.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::text;
use yurt_go_plugin::handshake::{Address, Line};
use yurt_go_plugin::server::{Environment, Invocation, invocation_from};
use yurt_nomad::HANDSHAKE;

/// Longest path of a unix socket: `sun_path` less its terminator.
const SOCKET_PATH_MAX: usize = 107;
const ACCEPTED: [u32; 2] = [1, 2];
/// 200 foreign characters at most are named, and each may need an escape of ten.
const LONGEST_MESSAGE: usize = 2500;

fuzz_target!(|bytes: &[u8]| {
    let variables: Vec<(&[u8], &[u8])> = bytes
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.split_at_checked(variable.iter().position(|byte| *byte == b'=')?))
        .map(|(key, value)| (key, &value[1..]))
        .collect();
    let lookup = |key: &str| {
        let found = variables.iter().find(|(name, _)| *name == key.as_bytes());
        found.map(|(_, value)| OsStr::from_bytes(value).to_owned())
    };
    let cookie = lookup(HANDSHAKE.cookie_key);
    match invocation_from(&HANDSHAKE, lookup) {
        Ok(Invocation::Person) => assert_eq!(cookie, None),
        Ok(Invocation::WrongCookie) => assert_ne!(cookie, Some(OsString::from(HANDSHAKE.cookie_value))),
        Ok(Invocation::Plugin(environment)) => can_be_kept(&environment),
        Err(why) => text::is_fit_for_a_log(&why.to_string(), LONGEST_MESSAGE),
    }
    // The cookie opens the door; a mutation that finds it by chance is rare.
    match Environment::read(lookup) {
        Ok(environment) => can_be_kept(&environment),
        Err(why) => text::is_fit_for_a_log(&why.to_string(), LONGEST_MESSAGE),
    }

    match Line::parse(&String::from_utf8_lossy(bytes), &ACCEPTED) {
        Ok(line) => {
            assert!(ACCEPTED.contains(&line.protocol_version));
            is_read_as_written(&line);
        }
        Err(why) => text::is_fit_for_a_log(&why.to_string(), LONGEST_MESSAGE),
    }
});

/// A wish that was taken can be met: the socket fits its address, and the address fits the line.
fn can_be_kept(environment: &Environment) {
    let socket = environment.socket_dir.join("pluginxxxxxxxx").join("s");
    assert!(socket.is_absolute() && socket.as_os_str().len() <= SOCKET_PATH_MAX, "{socket:?}");
    assert!(environment.socket_group.as_ref().is_none_or(|group| !group.is_empty()));
    assert!(environment.client_certificates.as_ref().is_none_or(|certificates| !certificates.is_empty()));
    for certificate in environment.client_certificates.iter().flatten() {
        assert!(!certificate.is_empty());
        let line = Line {
            protocol_version: 2,
            address: Address::Unix(socket.clone()),
            certificate: (certificate.len() > 40).then(|| certificate.clone()),
        };
        is_read_as_written(&line);
    }
    is_read_as_written(&Line { protocol_version: 2, address: Address::Unix(socket), certificate: None });
}

fn is_read_as_written(line: &Line) {
    let written = line.to_string();
    assert_eq!(Line::parse(&written, &[line.protocol_version]).as_ref(), Ok(line), "{written:?}");
}
