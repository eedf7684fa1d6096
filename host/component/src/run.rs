//! From orders to an exit code.

use std::future::Future;
use std::os::fd::AsRawFd as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Builder;
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::p2::add_to_linker_async;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};
use yurt_guest::TaskEngine;

use crate::limits::Limits;
use crate::network::Doorman;
use crate::orders::{Orders, Received};
use crate::streams::{Input, Output, say};
use crate::wall::{self, Sockets};
use crate::{NO_MEMORY, TRAPPED, stop};

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: Limits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Runs the component to its end. An error: it could not be run.
pub(crate) fn run(received: Received) -> Result<u8, String> {
    let _ = rustix::thread::set_name(c"yurt-component");
    let engine = TaskEngine::new(&received.orders.settings)?;
    let component = engine.component(&received.code)?;
    let input = stop::listen()?;
    let wasi = context(&received, input)?;
    let Received { orders, .. } = received;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    if orders.wall {
        wall::shut(sockets(&orders))?;
    }
    let command = linked(&engine, &component)?;
    let state = State { wasi, table: ResourceTable::new(), limits: Limits::new(orders.memory) };
    let mut store = Store::new(&engine.engine, state);
    store.limiter(|state| &mut state.limits);
    engine.gives_way(&mut store);
    let outcome = runtime.block_on(in_turns(&engine, async {
        let command = command.instantiate_async(&mut store).await?;
        command.wasi_cli_run().call_run(&mut store).await
    }));
    // Whatever it left under way ends with the process.
    runtime.shutdown_background();
    Ok(code(outcome, &store.data().limits))
}

fn linked(engine: &TaskEngine, component: &Component) -> Result<CommandPre<State>, String> {
    let mut linker = Linker::new(&engine.engine);
    add_to_linker_async(&mut linker)
        .and_then(|()| CommandPre::new(linker.instantiate_pre(component)?))
        .map_err(|why| format!("the component asks for what this release of WASI 0.2 does not have: {why:#}"))
}

fn context(received: &Received, input: Input) -> Result<WasiCtx, String> {
    let Received { orders, arguments, env, directories, .. } = received;
    let mut wasi = WasiCtx::builder();
    wasi.args(arguments).envs(env).stdin(input).stdout(Output::Output).stderr(Output::Error);
    // There is one component in here and nobody whom it could hold up.
    wasi.allow_blocking_current_thread(true);
    for (directory, open) in orders.directories.iter().zip(directories) {
        let may = if directory.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        wasi.preopened_dir(format!("/proc/self/fd/{}", open.as_raw_fd()), &directory.name, may)
            .map_err(|why| format!("the directory {}: {why:#}", directory.name))?;
    }
    let network = orders.network.clone();
    if !network.is_none() {
        let names = !network.connect.is_empty();
        let doorman = Arc::new(Doorman::new(network));
        wasi.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(names);
        wasi.socket_addr_check(move |address, reason| {
            let allowed = doorman.may(address, reason);
            Box::pin(std::future::ready(allowed))
        });
    } else {
        wasi.allow_tcp(false).allow_udp(false);
    }
    Ok(wasi.build())
}

fn sockets(orders: &Orders) -> Sockets {
    match &orders.network {
        network if network.is_none() => Sockets::None,
        network if network.connect.is_empty() => Sockets::Internet,
        _ => Sockets::Names,
    }
}

/// The component's clock stands still while it waits.
async fn in_turns<T>(engine: &TaskEngine, component: impl Future<Output = T>) -> T {
    let mut component = pin!(component);
    std::future::poll_fn(|context| -> Poll<T> { engine.turns(|| component.as_mut().poll(context)) }).await
}

/// How it ended, in the terms of a process; of what no exit code says, a line on its standard error.
fn code(outcome: wasmtime::Result<Result<(), ()>>, limits: &Limits) -> u8 {
    let why = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(())) => return 1,
        Err(why) => why,
    };
    if let Some(I32Exit(code)) = why.downcast_ref() {
        return u8::try_from(*code).unwrap_or(1);
    }
    // What happened, and then where.
    let (what, place) = (why.root_cause(), &why);
    match limits.refused {
        Some(wanted) => {
            let (wanted, most) = (wanted.div_ceil(1 << 20), limits.most() >> 20);
            say(&format!(
                "the component trapped after it was refused memory: it wanted {wanted} MiB in all, and may have {most}: {what}\n{place}"
            ));
            NO_MEMORY
        }
        None => {
            say(&format!("the component trapped: {what}\n{place}"));
            TRAPPED
        }
    }
}
