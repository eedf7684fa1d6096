//! Does what its first argument says, in WASI's own terms: no library comes between.

use wasip2::cli::{environment, exit, stderr, stdin, stdout};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::io::streams::OutputStream;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::{instance_network, tcp_create_socket};

wasip2::cli::command::export!(Task);

struct Task;

impl wasip2::exports::cli::run::Guest for Task {
    fn run() -> Result<(), ()> {
        let arguments = environment::get_arguments();
        let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        match words.as_slice() {
            ["hello"] => {
                say("to stdout");
                write(&stderr::get_stderr(), "to stderr\n");
            }
            ["arguments", ..] => say(&format!("{arguments:?}")),
            ["env", name] => say(&format!("{:?}", environment::get_environment().iter().find(|(key, _)| key == name))),
            ["directories"] => {
                let names: Vec<_> = preopens::get_directories().into_iter().map(|(_, name)| name).collect();
                say(&names.join(" "));
            }
            ["read", path] => say(&read(path)),
            ["write", path, text] => say(&written(path, text)),
            ["exit", code] => exit::exit_with_code(code.parse().map_err(drop)?),
            ["fail"] => return Err(()),
            ["trap"] => core::arch::wasm32::unreachable(),
            ["grow", mib] => grow(mib.parse().map_err(drop)?),
            ["spin"] => {
                say("ready");
                loop {
                    core::hint::spin_loop();
                }
            }
            ["sleep"] => {
                say("ready");
                monotonic_clock::subscribe_duration(600_000_000_000).block();
            }
            ["until-stdin-ends"] => {
                say("ready");
                let ended = stdin::get_stdin().blocking_read(1).is_err();
                say(&format!("ended: {ended}"));
            }
            ["listen", port] => say(&listening(port.parse().map_err(drop)?)),
            ["connect", port] => say(&connected(port.parse().map_err(drop)?)),
            _ => {
                say(&format!("what is {words:?}?"));
                return Err(());
            }
        }
        Ok(())
    }
}

fn say(line: &str) {
    write(&stdout::get_stdout(), &format!("{line}\n"));
}

fn write(to: &OutputStream, text: &str) {
    for piece in text.as_bytes().chunks(4096) {
        let _ = to.blocking_write_and_flush(piece);
    }
}

/// In the directory whose name the path begins with, else in the first.
fn place(path: &str) -> (Descriptor, String) {
    let mut all = preopens::get_directories();
    let at = all.iter().position(|(_, name)| path.starts_with(name.as_str())).unwrap_or_default();
    let (directory, name) = all.swap_remove(at);
    let below = path.strip_prefix(name.as_str()).unwrap_or(path).trim_start_matches('/');
    (directory, below.to_owned())
}

fn read(path: &str) -> String {
    let (directory, below) = place(path);
    let file = directory.open_at(PathFlags::SYMLINK_FOLLOW, &below, OpenFlags::empty(), DescriptorFlags::READ);
    match file.and_then(|file| file.read(4096, 0)) {
        Ok((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(why) => format!("not read: {}", why.name()),
    }
}

fn written(path: &str, text: &str) -> String {
    let (directory, below) = place(path);
    let flags = DescriptorFlags::WRITE;
    match directory
        .open_at(PathFlags::empty(), &below, OpenFlags::CREATE, flags)
        .and_then(|file| file.write(text.as_bytes(), 0))
    {
        Ok(_) => "written".to_owned(),
        Err(why) => format!("not written: {}", why.name()),
    }
}

/// So many MiB more, a MiB at a time, each byte of which is touched.
fn grow(mib: usize) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for number in 1..=mib {
        kept.push(vec![1; 1 << 20]);
        say(&number.to_string());
    }
    say(&format!("{} MiB", kept.len()));
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

/// Retries what is not done yet.
fn done<T>(socket: &TcpSocket, mut attempt: impl FnMut() -> Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    loop {
        match attempt() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            outcome => return outcome,
        }
    }
}

/// Listens on a port of the host itself, and answers one caller with what it said.
fn listening(port: u16) -> String {
    let begun = || {
        let network = instance_network::instance_network();
        let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
        socket.start_bind(&network, loopback(port))?;
        done(&socket, || socket.finish_bind())?;
        socket.start_listen()?;
        done(&socket, || socket.finish_listen())?;
        Ok(socket)
    };
    let socket = match begun() {
        Ok(socket) => socket,
        Err(why) => return format!("not listening: {}", ErrorCode::name(&why)),
    };
    say("ready");
    let (_caller, from, to) = match done(&socket, || socket.accept()) {
        Ok(accepted) => accepted,
        Err(why) => return format!("nobody came: {}", ErrorCode::name(&why)),
    };
    let heard = from.blocking_read(4096).unwrap_or_default();
    let _ = to.blocking_write_and_flush(&heard);
    format!("heard {}", String::from_utf8_lossy(&heard))
}

fn connected(port: u16) -> String {
    let called = || {
        let network = instance_network::instance_network();
        let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
        socket.start_connect(&network, loopback(port))?;
        let streams = done(&socket, || socket.finish_connect())?;
        // In this order they are dropped: what belongs to a socket goes before it.
        Ok((streams, socket))
    };
    match called() {
        Ok(_) => "connected".to_owned(),
        Err(why) => format!("not connected: {}", ErrorCode::name(&why)),
    }
}
