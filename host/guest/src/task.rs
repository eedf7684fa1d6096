//! Components that are tasks, not guests: held against what a task may be, compiled as guests are, and run by another process.
//!
//! The two halves of this file never meet in one process. The plugin looks at the outside, has a worker compile, and keeps the code in the
//! cache; the process of the task gets the code's file, open and to be read only, and maps it. So the plugin runs nothing of a task, and the
//! compiler's appetite is not the task's: a component of a few megabytes takes more memory to compile than it may be given to run.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use wasmtime::component::Component;
use wasmtime::{Engine, Store};

use crate::cache::Cache;
use crate::engine::{self, Memory, Translator};
use crate::error::LoadCause;
use crate::identity::digest;
use crate::outline::Outline;
use crate::runtime::Runtime;
use crate::ticker::Ticker;

/// Where compiled tasks lie in the cache: many of them must not displace the guests.
const FOLDER: &str = "tasks";
/// Ticks of the clock after which a task that computes lets its host see to sockets and time.
const TURN: u64 = 10;

/// Machine code of a task.
#[derive(Debug)]
pub struct TaskCode {
    /// Open for reading only; wasmtime's serialised form.
    pub file: File,
    /// Which of the engine's settings it is for: what [`TaskEngine::new`] takes.
    pub settings: &'static str,
}

/// Why a component is not run as a task: a clause about it.
#[derive(Debug, thiserror::Error)]
pub enum TaskCause {
    /// What holds of guests, too: it is no component, or does not compile.
    #[error(transparent)]
    Component(#[from] LoadCause),
    /// WebAssembly without interfaces.
    #[error(
        "it is a core WebAssembly module, and a task is a component: build it for wasm32-wasip2, or make one of it with \
         `wasm-tools component new --adapt wasi_snapshot_preview1=wasi_snapshot_preview1.command.wasm`"
    )]
    CoreModule,
    /// It is no command.
    #[error(
        "it does not export wasi:cli/run@0.2, so there is nothing to run: build it as a command, with a main function"
    )]
    NoCommand,
    /// It asks for what no task gets.
    #[error(
        "it imports {0}, which tasks do not have: of WASI 0.2 there are cli, clocks, filesystem, io, random and sockets"
    )]
    Import(String),
    /// There is no file to hand over.
    #[error("its machine code cannot be handed over: {0}")]
    File(#[source] io::Error),
}

impl Runtime {
    /// Looks at a component that is to be a task, and compiles it unless that was done before. Blocks, as long as the limit `compile_deadline`
    /// says.
    ///
    /// # Errors
    /// What is wrong with it, or with the place.
    pub fn task_code(&self, bytes: &[u8]) -> Result<TaskCode, TaskCause> {
        command(bytes)?;
        let shared = &self.0;
        let tier = &shared.tier;
        let cache = Cache::new(shared.cache_dir().map(|dir| dir.join(FOLDER)), &tier.engine).for_others();
        let digest = digest(bytes);
        let settings = match tier.memory {
            Memory::Small => Memory::Small,
            Memory::Pool | Memory::Mapped => Memory::Mapped,
        };
        let code = |file| TaskCode { file, settings: settings.word() };
        if let Some(file) = cache.file(&digest) {
            return Ok(code(file));
        }
        // One after the other: a job of a hundred allocations is compiled once.
        let _turn = turn();
        if let Some(file) = cache.file(&digest) {
            return Ok(code(file));
        }
        let limits = shared.limits();
        let compiled = tier.compile(shared.compiler.as_ref(), bytes, &limits).map_err(LoadCause::Compile)?;
        cache.store(&digest, &compiled, limits.cache);
        match cache.file(&digest) {
            Some(file) => Ok(code(file)),
            None => in_memory(&compiled).map(code).map_err(TaskCause::File),
        }
    }
}

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is a command of WASI 0.2 that asks for nothing else.
fn command(bytes: &[u8]) -> Result<(), TaskCause> {
    let outline = Outline::of(bytes).map_err(|why| match why {
        LoadCause::CoreModule => TaskCause::CoreModule,
        other => TaskCause::Component(other),
    })?;
    if !outline.exports.iter().any(|name| name.starts_with("wasi:cli/run@0.2.")) {
        return Err(TaskCause::NoCommand);
    }
    match outline.imports.iter().find(|import| import.grant != crate::Grant::Empty) {
        Some(import) => Err(TaskCause::Import(crate::journal::clean(&import.name, 128).0)),
        None => Ok(()),
    }
}

/// A file that cannot be changed any more, opened anew so that it can only be read.
fn in_memory(code: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("yurt-task", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(code)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// What runs a task: an engine with the settings of guests, one instance and no deadline.
#[derive(Debug)]
pub struct TaskEngine {
    /// For the store and the linker.
    pub engine: Engine,
    ticker: Ticker,
}

impl TaskEngine {
    /// `settings` are those of the code.
    ///
    /// # Errors
    /// They are not known, or WebAssembly cannot run here.
    pub fn new(settings: &str) -> Result<TaskEngine, String> {
        let memory = Memory::from_word(settings).ok_or_else(|| format!("no settings are called {settings:?}"))?;
        let engine = engine::compiling(Translator::Cranelift, memory).map_err(|why| format!("{why:#}"))?;
        let ticker = Ticker::start(&engine).map_err(|why| why.to_string())?;
        Ok(TaskEngine { engine, ticker })
    }

    /// Maps code that a plugin handed over.
    ///
    /// # Errors
    /// It is not for this engine.
    #[allow(unsafe_code)]
    pub fn component(&self, code: &File) -> Result<Component, String> {
        let path = format!("/proc/self/fd/{}", code.as_raw_fd());
        // SAFETY: the file came open from the plugin that started this process for it, which took it from its own cache or compiler. Whoever
        // could hand over another one has started another program, with no more rights than this one has. Files of the cache are never
        // written in place, and one in memory is sealed.
        unsafe { Component::deserialize_file(&self.engine, path) }.map_err(|why| format!("{why:#}"))
    }

    /// Has the task in `store` give way now and then while it computes, so that [`TaskEngine::turns`] gets its turn.
    pub fn gives_way<T: 'static>(&self, store: &mut Store<T>) {
        store.set_epoch_deadline(TURN);
        store.epoch_deadline_async_yield_and_update(TURN);
    }

    /// Polls once, with the clock running meanwhile: a task that waits has no clock.
    pub fn turns<T>(&self, poll: impl FnOnce() -> T) -> T {
        let _running = self.ticker.run();
        poll()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    /// A command of nothing: exports an instance that is called as it should be.
    fn named(export: &str, import: &str) -> Vec<u8> {
        wat::parse_str(format!(r#"(component {import} (instance $run) (export "{export}" (instance $run)))"#)).unwrap()
    }

    #[test]
    fn what_is_no_command_of_wasi_0_2_is_refused_before_anything_is_compiled() {
        let http = r#"(import "wasi:http/types@0.2.6" (instance))"#;
        for (bytes, words) in [
            (b"#!/bin/sh".to_vec(), "it does not begin as WebAssembly does"),
            (b"\0asm\x01\0\0\0".to_vec(), "wasm32-wasip2"),
            (named("wasi:http/incoming-handler@0.2.6", ""), "does not export wasi:cli/run@0.2"),
            (named("wasi:cli/run@0.3.0", ""), "does not export wasi:cli/run@0.2"),
            (named("wasi:cli/run@0.2.6", http), "it imports wasi:http/types@0.2.6"),
        ] {
            let why = command(&bytes).unwrap_err().to_string();
            assert!(why.contains(words) && !why.contains("guest"), "{why}");
        }
        let wasi = r#"(import "wasi:sockets/tcp@0.2.12" (instance))"#;
        command(&named("wasi:cli/run@0.2.0", wasi)).unwrap();
    }

    #[test]
    fn code_comes_from_the_cache_the_second_time_and_can_only_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = named("wasi:cli/run@0.2.6", "");
        for cache_dir in [Some(dir.path().join("cache")), None] {
            let runtime = Runtime::new(Options { cache_dir: cache_dir.clone(), ..Options::default() }).unwrap();
            let code = runtime.task_code(&bytes).unwrap();
            TaskEngine::new(code.settings).unwrap().component(&code.file).unwrap();
            assert!((&code.file).write_all(b"x").is_err());
            if let Some(dir) = cache_dir {
                let written = |dir: &std::path::Path| {
                    let entry = std::fs::read_dir(dir.join(FOLDER)).unwrap().next().unwrap().unwrap();
                    std::os::unix::fs::MetadataExt::ino(&entry.metadata().unwrap())
                };
                let first = written(&dir);
                runtime.task_code(&bytes).unwrap();
                assert_eq!(written(&dir), first);
            }
        }
        assert!(TaskEngine::new("other").is_err());
    }
}
