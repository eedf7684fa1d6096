//! How guests fail: as values that name the guest, where it was, and what to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;

/// No runtime: guests cannot be run in this process at all.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its configuration, or there is too little address space even for one small guest.
    #[error("WebAssembly cannot run here: {0}")]
    Engine(String),
    /// No thread for the clock.
    #[error("the thread that keeps the guests' deadlines could not be started: {0}")]
    Ticker(#[source] std::io::Error),
}

/// The stages of loading, in order. A guest serves only after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The file: owner, mode, size.
    File,
    /// The bytes: a component at all.
    Component,
    /// The world that it implements, and in which version.
    World,
    /// What it asks for.
    Imports,
    /// Translation to machine code.
    Compile,
    /// Imports and exports are of the expected types.
    Link,
    /// What it says of itself, twice.
    Describe,
    /// One call of each kind before anything depends on it.
    Trial,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::File => "file",
            Stage::Component => "component",
            Stage::World => "world",
            Stage::Imports => "imports",
            Stage::Compile => "compile",
            Stage::Link => "link",
            Stage::Describe => "describe",
            Stage::Trial => "trial",
        })
    }
}

/// A guest was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("guest {origin}{} was not loaded, refused at stage {stage}: {cause}", .digest.as_deref().map(|digest| format!(" (sha256 {})", short(digest))).unwrap_or_default())]
pub struct LoadError {
    /// The file, or the name of the embedded guest.
    pub origin: String,
    /// SHA-256 of its bytes in hexadecimal, once they were read.
    pub digest: Option<String>,
    /// Where it was refused.
    pub stage: Stage,
    /// Why.
    pub cause: Box<LoadCause>,
}

/// Why a guest was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadCause {
    /// The file could not be opened or read.
    #[error("it cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// A directory, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// A directory of versions whose link does not lead to one of them.
    #[error("{0}")]
    Version(String),
    /// Bigger than the limit `component`.
    #[error("it has {size} bytes, more than the {limit} allowed (limit component)")]
    TooBig {
        /// Its size in bytes; at least, where it grew while it was read.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Somebody else could have written it.
    #[error("{path} belongs to user {uid}, who is neither root nor the plugin's user: chown it")]
    Owner {
        /// The file or its directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Somebody else could write it.
    #[error("{path} may be written by its group or by others (mode {mode:04o}): chmod go-w it")]
    Mode {
        /// The file or its directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not WebAssembly, cut off, or damaged.
    #[error("it is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// WebAssembly, but of the kind without interfaces.
    #[error(
        "it is a core WebAssembly module, not a component: link it with wasm-component-ld, or convert it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Another world, or another version of it.
    #[error("{0}")]
    World(String),
    /// It asks for what nobody grants.
    #[error("{0}")]
    Import(String),
    /// No machine code of it.
    #[error("it cannot be compiled: {0}")]
    Compile(#[source] CompileCause),
    /// Its imports or exports have other types than the contract's.
    #[error("it does not fit the contract: {0}")]
    Link(String),
    /// What it says of itself cannot be used.
    #[error("its description cannot be used: {0}")]
    Description(String),
    /// It said two things of itself.
    #[error("it describes itself differently each time it is asked ({0}): describe must not depend on anything")]
    Unsteady(&'static str),
    /// A call failed.
    #[error("{0}")]
    Call(#[source] GuestError),
}

/// Why a guest could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileCause {
    /// Not valid, or it uses a WebAssembly feature that is off: the compiler's words.
    #[error("{0}")]
    Invalid(String),
    /// The compiler was killed.
    #[error("it took longer than {} ms (limit compile_deadline)", .limit.as_millis())]
    Deadline {
        /// The limit.
        limit: Duration,
    },
    /// The compiler's memory, or the code that it made.
    #[error("it took more than {limit} bytes of memory (limit compile_memory)")]
    Memory {
        /// The limit in bytes.
        limit: u64,
    },
    /// The compiler ended on its own, which a component should not be able to bring about.
    #[error("the compiler failed on it, please report this: {0}")]
    Ended(String),
    /// There is no process to compile in.
    #[error("no process to compile it in: {0}")]
    Worker(String),
    /// What the compiler gave back is not for this engine.
    #[error("its machine code cannot be used: {0}")]
    Code(String),
}

/// What a guest was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for one of the places for running guests.
    Waiting,
    /// Being set up: start functions, constructors.
    Instantiate,
    /// In the called function.
    Call,
    /// Its answer was looked at.
    Answer,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Waiting => "while waiting for its turn",
            Phase::Instantiate => "while being set up",
            Phase::Call => "in the call",
            Phase::Answer => "with its answer",
        })
    }
}

/// A call into a guest failed. The guest itself is unharmed: the next call gets a fresh instance.
#[derive(Debug, thiserror::Error)]
#[error("guest {} failed in {call} {phase}: {cause}", self.guest())]
pub struct GuestError {
    pub(crate) identity: Arc<Identity>,
    pub(crate) call: &'static str,
    pub(crate) phase: Phase,
    pub(crate) cause: Box<Cause>,
}

impl GuestError {
    /// Name, version and the first digits of the digest: `usb 0.1.0 (3f2a91c04b77)`.
    pub fn guest(&self) -> String {
        self.identity.to_string()
    }

    /// SHA-256 of the guest, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.identity.digest
    }

    /// The function of the contract that was called.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// What the guest was doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What happened.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Names of the guest's functions at a trap, innermost first; empty for other causes.
    pub fn backtrace(&self) -> &[String] {
        match &*self.cause {
            Cause::Trap { backtrace, .. } => backtrace,
            _ => &[],
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The guest stopped itself or did what the sandbox forbids.
    #[error("it trapped: {what}{}", at(.backtrace))]
    Trap {
        /// What WebAssembly calls it.
        what: String,
        /// Names of the guest's functions, innermost first.
        backtrace: Vec<String>,
    },
    /// It took too long.
    #[error("it ran into its deadline of {} ms (limit {})", .limit.as_millis(), .key)]
    Deadline {
        /// The deadline.
        limit: Duration,
        /// Its key.
        key: &'static str,
    },
    /// It wanted more memory, or larger tables, than it may have, and could not go on without.
    #[error("it wanted more {what} than the {limit} allowed (limit {key})")]
    Memory {
        /// `bytes of memory` or `table elements`.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Its key.
        key: &'static str,
    },
    /// It tried to hand over more data than the host copies.
    #[error("it handed over more than {limit} bytes at once (limit transfer)")]
    Transfer {
        /// The limit in bytes.
        limit: u64,
    },
    /// Part of its answer is over a limit.
    #[error("its answer has {size} {what}, more than the {limit} allowed (limit {key})")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        size: u64,
        /// The limit.
        limit: u64,
        /// Its key.
        key: &'static str,
    },
    /// It answered with bytes that are no value of the contract's types.
    #[error("its answer is not of the contract's types: {0}")]
    Answer(String),
    /// It ended itself through WASI.
    #[error("it called exit({0})")]
    Exit(i32),
    /// All places for running guests were taken for as long as its deadline.
    #[error("{places} guests were running already for the whole of its {} ms", .limit.as_millis())]
    Busy {
        /// How many guests may run at once.
        places: usize,
        /// How long it waited.
        limit: Duration,
    },
    /// It could not be set up: too many memories or instances, or the machine has no memory left.
    #[error("it could not be set up: {0}")]
    Setup(String),
    /// A fault of the host's, contained.
    #[error("the host failed, please report this: {0}")]
    HostPanic(String),
}

impl Cause {
    /// Every [`Cause::kind`].
    pub const KINDS: [&'static str; 10] =
        ["trap", "deadline", "memory", "transfer", "too-large", "answer", "exit", "busy", "setup", "host-panic"];

    /// One word for it, as receipts and figures have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Cause::Trap { .. } => "trap",
            Cause::Deadline { .. } => "deadline",
            Cause::Memory { .. } => "memory",
            Cause::Transfer { .. } => "transfer",
            Cause::TooLarge { .. } => "too-large",
            Cause::Answer(_) => "answer",
            Cause::Exit(_) => "exit",
            Cause::Busy { .. } => "busy",
            Cause::Setup(_) => "setup",
            Cause::HostPanic(_) => "host-panic",
        }
    }
}

fn at(backtrace: &[String]) -> String {
    const SHOWN: usize = 4;
    if backtrace.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = backtrace.iter().take(SHOWN).map(String::as_str).collect();
    format!(" in {}{}", shown.join(" < "), if backtrace.len() > SHOWN { " < …" } else { "" })
}

/// The first digits of a digest: enough for people.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
