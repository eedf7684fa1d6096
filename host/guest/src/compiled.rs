//! Translation to machine code, off the calling thread and out of the way of whoever serves: in a worker ([`crate::worker`]) or, for
//! programs that are none, in this process.

use std::thread;

use rayon::ThreadPoolBuilder;
use rustix::process::setpriority_process;
use wasmtime::Engine;

/// Added to the niceness of compiling threads.
pub(crate) const NICE: i32 = 10;
/// Stack of a compiling thread: the compiler recurses over deeply nested code.
const STACK: usize = 8 << 20;

/// Compiles on threads of its own, which end with it.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .thread_name(|_| "guest-compiler".into())
        // Who may not change priorities compiles at the usual one.
        .start_handler(|_| _ = setpriority_process(None, NICE))
        .build()
        .map_err(|why| format!("no thread to compile on: {why}"))?;
    pool.install(|| engine.precompile_component(bytes)).map_err(|why| format!("{why:#}"))
}
