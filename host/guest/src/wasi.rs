//! WASI 0.2 with nothing in it, for guests whose toolchain insists: no arguments, environment, files or sockets, stdin at its end,
//! stdout and stderr as log lines, clocks that stand still, random numbers that repeat.
//!
//! Nothing here waits, so a deadline is never spent in the host, and no thread is started: streams and pollables, which wasmtime-wasi
//! drives by an async runtime of its own, are implemented here over values that are always ready.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::WasiCli;
use wasmtime_wasi::cli::WasiCliView as _;
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets, sync};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::prints::{Print, Prints};
use crate::state::State;

/// The packages of WASI that are there, empty.
pub(crate) const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Made at the first use: most guests import no WASI.
#[derive(Default)]
pub(crate) struct Empty {
    context: Option<Box<WasiCtx>>,
    prints: Prints,
}

impl Empty {
    /// What was printed, whole lines and the rest.
    pub(crate) fn printed(&self) -> Vec<(Print, String)> {
        self.prints.take()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: self.wasi.context.get_or_insert_with(|| Box::new(empty())), table: &mut self.table }
    }
}

/// 2000-01-01T00:00:00Z: a date that no certificate or log line can mistake for today.
const WALL: Duration = Duration::from_secs(946_684_800);
/// Not zero: Go's runtime takes a clock at zero for a broken one.
const MONOTONIC: u64 = 1_000_000_000;
/// Bytes that one request for random numbers may ask for.
const RANDOM_MAX: u64 = 64 << 10;

struct StillWall;

impl HostWallClock for StillWall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        WALL
    }
}

struct StillMonotonic;

impl HostMonotonicClock for StillMonotonic {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        MONOTONIC
    }
}

fn empty() -> WasiCtx {
    WasiCtx::builder()
        .wall_clock(StillWall)
        .monotonic_clock(StillMonotonic)
        .secure_random(repeating())
        .insecure_random(repeating())
        .insecure_random_seed(0x5EED)
        .max_random_size(RANDOM_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Bytes that look random and are the same in every call (xorshift).
fn repeating() -> Deterministic {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = (0..1024).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    Deterministic::new(bytes.collect())
}

/// Links every interface of the packages named in [`PACKAGES`].
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    io::error::add_to_linker::<State, Still>(l, still)?;
    sync::io::poll::add_to_linker::<State, Still>(l, still)?;
    sync::io::streams::add_to_linker::<State, Still>(l, still)?;
    clocks::monotonic_clock::add_to_linker::<State, Still>(l, still)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, Still>(l, still)?;
    cli::stderr::add_to_linker::<State, Still>(l, still)?;

    // These never wait: what could has no handle to wait on.
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    sync::filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<State, WasiSockets>(l, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sync::sockets::tcp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sync::sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sync::sockets::udp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    Ok(())
}

fn still(state: &mut State) -> View<'_> {
    View { table: &mut state.table, prints: &state.wasi.prints }
}

/// Stands for [`View`] where the linker wants a type without a lifetime.
struct Still;

impl HasData for Still {
    type Data<'a> = View<'a>;
}

/// The parts of a state that streams and clocks need.
struct View<'a> {
    table: &'a mut ResourceTable,
    prints: &'a Prints,
}

/// Everything here is ready at once; what is not would never be.
fn now<F: Future>(future: F) -> wasmtime::Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(wasmtime::Error::msg("it waits for something that never happens")),
    }
}

fn now_stream<T>(future: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    now(future).map_err(StreamError::Trap)?
}

/// A moment that has come: sleeping takes no time where clocks stand still.
struct Come;

#[async_trait]
impl Pollable for Come {
    async fn ready(&mut self) {}
}

impl clocks::monotonic_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(MONOTONIC)
    }
    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let come = self.table.push(Come)?;
        subscribe(self.table, come)
    }
    fn subscribe_duration(&mut self, _how_long: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(0)
    }
}

impl cli::stdout::Host for View<'_> {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.table.push(self.prints.stream(Print::Stdout))?)
    }
}

impl cli::stderr::Host for View<'_> {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self.table.push(self.prints.stream(Print::Stderr))?)
    }
}

impl io::error::Host for View<'_> {}

impl io::error::HostError for View<'_> {
    fn drop(&mut self, error: Resource<wasmtime_wasi::p2::IoError>) -> wasmtime::Result<()> {
        io::error::HostError::drop(self.table, error)
    }
    fn to_debug_string(&mut self, error: Resource<wasmtime_wasi::p2::IoError>) -> wasmtime::Result<String> {
        io::error::HostError::to_debug_string(self.table, error)
    }
}

impl sync::io::poll::Host for View<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        now(io::poll::Host::poll(self.table, pollables))?
    }
}

impl sync::io::poll::HostPollable for View<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        now(io::poll::HostPollable::ready(self.table, pollable))?
    }
    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        now(io::poll::HostPollable::block(self.table, pollable))?
    }
    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        io::poll::HostPollable::drop(self.table, pollable)
    }
}

impl sync::io::streams::Host for View<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<sync::io::streams::StreamError> {
        sync::io::streams::Host::convert_stream_error(self.table, error)
    }
}

impl sync::io::streams::HostInputStream for View<'_> {
    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        now(io::streams::HostInputStream::drop(self.table, stream))?
    }
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        io::streams::HostInputStream::read(self.table, stream, len)
    }
    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        now_stream(io::streams::HostInputStream::blocking_read(self.table, stream, len))
    }
    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        io::streams::HostInputStream::skip(self.table, stream, len)
    }
    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        now_stream(io::streams::HostInputStream::blocking_skip(self.table, stream, len))
    }
    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        io::streams::HostInputStream::subscribe(self.table, stream)
    }
}

impl sync::io::streams::HostOutputStream for View<'_> {
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        now(io::streams::HostOutputStream::drop(self.table, stream))?
    }
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        io::streams::HostOutputStream::check_write(self.table, stream)
    }
    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        io::streams::HostOutputStream::write(self.table, stream, bytes)
    }
    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        now_stream(io::streams::HostOutputStream::blocking_write_and_flush(self.table, stream, bytes))
    }
    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        now_stream(io::streams::HostOutputStream::blocking_write_zeroes_and_flush(self.table, stream, len))
    }
    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        io::streams::HostOutputStream::subscribe(self.table, stream)
    }
    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        io::streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }
    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        io::streams::HostOutputStream::flush(self.table, stream)
    }
    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        now_stream(io::streams::HostOutputStream::blocking_flush(self.table, stream))
    }
    fn splice(&mut self, to: Resource<DynOutputStream>, from: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        io::streams::HostOutputStream::splice(self.table, to, from, len)
    }
    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        now_stream(io::streams::HostOutputStream::blocking_splice(self.table, to, from, len))
    }
}
