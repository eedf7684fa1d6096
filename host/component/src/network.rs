//! Whom a component may talk to: ports on which it may be called, and places that it may call. Everything else is refused, and told once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::streams::say;

/// Callers by UDP that are remembered for an answer; beyond, all are forgotten.
const CALLERS: usize = 4096;
/// Refusals that are told.
const TOLD: usize = 32;

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Where it may be called.
    pub listen: Vec<Port>,
    /// What it may call.
    pub connect: Vec<Peers>,
}

/// A port that the job reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its label, for people.
    pub label: String,
    /// On this address only; none: on any of the task's network, which is its own.
    pub address: Option<IpAddr>,
    /// Its number.
    pub port: u16,
}

/// Addresses, and one port or all: `10.0.0.0/8`, `192.0.2.7:5432`, `[2001:db8::]/32`, `[::1]:53`, `any`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Peers {
    /// None: any.
    network: Option<(IpAddr, u8)>,
    /// None: all.
    port: Option<u16>,
}

/// It names no addresses.
#[derive(Debug)]
pub struct NetworkError(String);

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} must be \"any\", an address or a network, with a port or without: 10.0.0.0/8, 192.0.2.7:5432, [::1]:53",
            self.0
        )
    }
}

impl FromStr for Peers {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Peers, NetworkError> {
        Peers::parse(text).ok_or_else(|| NetworkError(text.to_owned()))
    }
}

impl Peers {
    fn parse(text: &str) -> Option<Peers> {
        if text == "any" {
            return Some(Peers { network: None, port: None });
        }
        let (address, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                (address.parse::<std::net::Ipv6Addr>().ok()?.into(), rest)
            }
            // Without brackets only the address itself has colons.
            None if text.matches(':').count() > 1 => {
                let end = text.find('/').unwrap_or(text.len());
                (text.get(..end)?.parse::<std::net::Ipv6Addr>().ok()?.into(), text.get(end..)?)
            }
            None => {
                let end = text.find(['/', ':']).unwrap_or(text.len());
                (text.get(..end)?.parse::<IpAddr>().ok()?, text.get(end..)?)
            }
        };
        let (bits, port) = match rest.split_once(':') {
            Some((bits, port)) => (bits, Some(port.parse().ok().filter(|port| *port > 0)?)),
            None => (rest, None),
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits.strip_prefix('/') {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
            None if bits.is_empty() => width,
            None => return None,
        };
        Some(Peers { network: Some((address, bits)), port })
    }

    fn has(&self, peer: SocketAddr) -> bool {
        let within = |(network, bits): (IpAddr, u8)| {
            let same = |ours: u128, theirs: u128, width: u32| {
                let shift = width - u32::from(bits).min(width);
                ours.checked_shr(shift).unwrap_or_default() == theirs.checked_shr(shift).unwrap_or_default()
            };
            match (network, peer.ip().to_canonical()) {
                (IpAddr::V4(ours), IpAddr::V4(theirs)) => same(ours.to_bits().into(), theirs.to_bits().into(), 32),
                (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), 128),
                _ => false,
            }
        };
        self.network.is_none_or(within) && self.port.is_none_or(|port| port == peer.port())
    }
}

impl From<Peers> for String {
    fn from(peers: Peers) -> String {
        let Some((address, bits)) = peers.network else { return "any".to_owned() };
        let port = peers.port.map_or(String::new(), |port| format!(":{port}"));
        match address {
            IpAddr::V4(address) => format!("{address}/{bits}{port}"),
            IpAddr::V6(address) => format!("[{address}]/{bits}{port}"),
        }
    }
}

impl TryFrom<String> for Peers {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Peers, NetworkError> {
        text.parse()
    }
}

impl Network {
    /// Nobody at all.
    pub(crate) fn is_none(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty()
    }

    fn may_listen(&self, at: SocketAddr) -> bool {
        let allowed = |port: &Port| port.port == at.port() && port.address.is_none_or(|address| address == at.ip());
        self.listen.iter().any(allowed)
    }

    fn may_call(&self, peer: SocketAddr) -> bool {
        self.connect.iter().any(|peers| peers.has(peer))
    }
}

/// Holds every use of an address against what is allowed.
#[derive(Debug, Default)]
pub(crate) struct Doorman {
    network: Network,
    /// Who may be answered by UDP.
    callers: Mutex<BTreeSet<SocketAddr>>,
    told: Mutex<BTreeSet<String>>,
}

impl Doorman {
    pub(crate) fn new(network: Network) -> Doorman {
        Doorman { network, ..Doorman::default() }
    }

    /// Whether the component may do this, else a line on its standard error.
    pub(crate) fn may(&self, address: SocketAddr, reason: SocketAddrUse) -> bool {
        let allowed = self.allows(address, reason);
        if !allowed {
            self.tell(address, reason);
        }
        allowed
    }

    fn allows(&self, address: SocketAddr, reason: SocketAddrUse) -> bool {
        let network = &self.network;
        // Of who calls others the kernel chooses the port.
        let of_a_caller = address.port() == 0 && !network.connect.is_empty();
        match reason {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => network.may_listen(address) || of_a_caller,
            SocketAddrUse::TcpListen => network.may_listen(address),
            SocketAddrUse::TcpAccept => true,
            SocketAddrUse::TcpConnect => network.may_call(address),
            SocketAddrUse::UdpSend => network.may_call(address) || locked(&self.callers).contains(&address),
            SocketAddrUse::UdpReceive => {
                let allowed = !network.listen.is_empty() || network.may_call(address);
                if allowed {
                    let mut callers = locked(&self.callers);
                    if callers.len() >= CALLERS {
                        callers.clear();
                    }
                    callers.insert(address);
                }
                allowed
            }
        }
    }

    fn tell(&self, address: SocketAddr, reason: SocketAddrUse) {
        let line = match reason {
            SocketAddrUse::TcpBind | SocketAddrUse::TcpListen | SocketAddrUse::UdpBind => {
                let ports = self.network.listen.iter().map(|port| match port.address {
                    Some(address) => format!("{} ({})", SocketAddr::new(address, port.port), port.label),
                    None => format!("port {} ({})", port.port, port.label),
                });
                let ports = ports.collect::<Vec<_>>().join(", ");
                let allowed = if ports.is_empty() { "nowhere, as listen in its job names no port" } else { &ports };
                format!("this task may not listen on {address}: it may on {allowed}")
            }
            _ => format!("this task may not call {address}: yurt.grants.connect on this node does not name it"),
        };
        let mut told = locked(&self.told);
        if told.len() < TOLD && told.insert(line.clone()) {
            say(&line);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(text: &str) -> Peers {
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn peers_are_networks_with_a_port_or_without() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.1.2.3:80", "11.0.0.1:80"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.7:5432", "192.0.2.7:5432", "192.0.2.7:5433"),
            ("10.0.0.0/8:53", "10.9.9.9:53", "10.9.9.9:54"),
            ("::1", "[::1]:80", "[::2]:80"),
            ("[2001:db8::]/32", "[2001:db8:1::1]:80", "[2001:db9::1]:80"),
            ("[::1]:53", "[::1]:53", "[::1]:54"),
            ("0.0.0.0/0", "8.8.8.8:53", "[2001:db8::1]:53"),
            // An address of version 4 in one of version 6 is that of version 4.
            ("127.0.0.0/8", "[::ffff:127.0.0.1]:80", "[::ffff:126.0.0.1]:80"),
        ] {
            assert!(peers(text).has(at(inside)) && !peers(text).has(at(outside)), "{text}");
            assert_eq!(peers(&String::from(peers(text))), peers(text), "{text}");
        }
        assert!(peers("any").has(at("[::1]:1")) && String::from(peers("any")) == "any");
        for text in
            ["", "all", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:x", "[10.0.0.1]:1", "10.0.0.1x", "example.org:80", "/8"]
        {
            assert!(text.parse::<Peers>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_component_listens_where_it_may_and_calls_whom_it_may() {
        let port = |address: Option<&str>, port| Port {
            label: "http".into(),
            address: address.map(|address| address.parse().unwrap()),
            port,
        };
        let listen = vec![port(Some("192.0.2.1"), 8080), port(None, 9090)];
        let doorman = Doorman::new(Network { listen: listen.clone(), connect: Vec::new() });
        let listening = |address: &str| doorman.allows(at(address), SocketAddrUse::TcpListen);
        assert!(listening("192.0.2.1:8080") && listening("0.0.0.0:9090"));
        assert!(!listening("0.0.0.0:8080") && !listening("192.0.2.1:8081") && !listening("192.0.2.1:0"));
        assert!(!doorman.allows(at("0.0.0.0:0"), SocketAddrUse::TcpBind), "who may not call needs no port of its own");
        assert!(!doorman.allows(at("192.0.2.1:80"), SocketAddrUse::TcpConnect));

        // Whoever called by UDP is answered.
        assert!(!doorman.allows(at("192.0.2.9:999"), SocketAddrUse::UdpSend));
        assert!(doorman.allows(at("192.0.2.9:999"), SocketAddrUse::UdpReceive));
        assert!(doorman.allows(at("192.0.2.9:999"), SocketAddrUse::UdpSend));

        let caller = Doorman::new(Network { listen: Vec::new(), connect: vec![peers("192.0.2.0/24:80")] });
        assert!(caller.allows(at("0.0.0.0:0"), SocketAddrUse::TcpBind));
        assert!(caller.allows(at("192.0.2.5:80"), SocketAddrUse::TcpConnect));
        assert!(!caller.allows(at("192.0.2.5:81"), SocketAddrUse::TcpConnect));
        assert!(!caller.allows(at("127.0.0.1:40000"), SocketAddrUse::TcpListen), "a port that the kernel chose");
        assert!(!caller.allows(at("198.51.100.1:9"), SocketAddrUse::UdpReceive));
    }
}
