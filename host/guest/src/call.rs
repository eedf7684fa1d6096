//! One call into a guest: a fresh store, a deadline that covers setting up and calling, and a typed cause for whatever goes wrong.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::engine::PLACES;
use crate::error::{Cause, GuestError, Phase};
use crate::identity::Identity;
use crate::journal::{Level, clean};
use crate::limits::Limits;
use crate::prints::Print;
use crate::receipt::Receipt;
use crate::runtime::Shared;
use crate::size;
use crate::state::{Refused, State};
use crate::tally::Tally;
use crate::ticker::{Deadline, DeadlinePassed};
use crate::tier::Tier;

/// Longest text taken over from wasmtime or a panic, in bytes.
const TEXT: usize = 512;
/// Longest name in a backtrace, in bytes.
const NAME: usize = 120;

/// A function of the contract, with its deadline.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Its place among the [`CALLS`].
    pub(crate) place: usize,
    pub(crate) deadline: fn(&Limits) -> Duration,
    pub(crate) deadline_key: &'static str,
}

pub(crate) const DESCRIBE: Kind =
    Kind { name: "describe", place: 0, deadline: |l| l.describe_deadline, deadline_key: "describe_deadline" };
pub(crate) const CHECK_CONFIG: Kind = Kind {
    name: "check-config",
    place: 1,
    deadline: |l| l.check_config_deadline,
    deadline_key: "check_config_deadline",
};
pub(crate) const GROUP: Kind =
    Kind { name: "group", place: 2, deadline: |l| l.group_deadline, deadline_key: "group_deadline" };
pub(crate) const RESERVE: Kind =
    Kind { name: "reserve", place: 3, deadline: |l| l.reserve_deadline, deadline_key: "reserve_deadline" };
pub(crate) const STATS: Kind =
    Kind { name: "stats", place: 4, deadline: |l| l.stats_deadline, deadline_key: "stats_deadline" };
pub(crate) const CHECK_TASK: Kind =
    Kind { name: "check-task", place: 5, deadline: |l| l.check_task_deadline, deadline_key: "check_task_deadline" };
pub(crate) const PROBES: Kind =
    Kind { name: "probes", place: 6, deadline: |l| l.probes_deadline, deadline_key: "probes_deadline" };
pub(crate) const JUDGE: Kind =
    Kind { name: "judge", place: 7, deadline: |l| l.judge_deadline, deadline_key: "judge_deadline" };
pub(crate) const PLAN: Kind =
    Kind { name: "plan", place: 8, deadline: |l| l.plan_deadline, deadline_key: "plan_deadline" };

/// Every function of the contract.
pub(crate) const CALLS: [&Kind; 9] =
    [&DESCRIBE, &CHECK_CONFIG, &GROUP, &RESERVE, &STATS, &CHECK_TASK, &PROBES, &JUDGE, &PLAN];

/// Who is called, and with whose means; what is called is the world's.
pub(crate) struct Callee {
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Arc<Identity>,
    tally: Arc<Tally>,
}

impl Callee {
    pub(crate) fn new(shared: &Arc<Shared>, identity: Identity) -> Callee {
        let tally = shared.tallies.of(&identity);
        Callee { shared: Arc::clone(shared), identity: Arc::new(identity), tally }
    }

    /// Calls `function` in a fresh `instance` and holds its answer against `check`. Every call has a receipt, and is counted.
    pub(crate) fn call<I, R: Serialize>(
        &self,
        kind: &Kind,
        tier: &Tier,
        question: &impl Serialize,
        instance: impl FnOnce(&mut Store<State>) -> wasmtime::Result<I>,
        function: impl FnOnce(&I, &mut Store<State>) -> wasmtime::Result<R>,
        check: impl FnOnce(&R, &Limits) -> Result<(), Cause>,
    ) -> (Result<R, GuestError>, Receipt) {
        let begun = Instant::now();
        let mut receipt = Receipt { bytes_in: size::of(question), ..Receipt::of(kind.name) };
        let outcome = self.uncounted(kind, tier, &mut receipt, instance, function, check);
        receipt.host_time = begun.elapsed().saturating_sub(receipt.guest_time);
        receipt.failed = outcome.as_ref().err().map(|why| why.cause().kind());
        self.tally.add(kind, &receipt);
        receipt.emit(&self.identity);
        (outcome, receipt)
    }

    fn uncounted<I, R: Serialize>(
        &self,
        kind: &Kind,
        tier: &Tier,
        receipt: &mut Receipt,
        instance: impl FnOnce(&mut Store<State>) -> wasmtime::Result<I>,
        function: impl FnOnce(&I, &mut Store<State>) -> wasmtime::Result<R>,
        check: impl FnOnce(&R, &Limits) -> Result<(), Cause>,
    ) -> Result<R, GuestError> {
        let limits = self.shared.limits();
        let deadline = (kind.deadline)(&limits);
        let failed = |(phase, cause)| GuestError {
            identity: Arc::clone(&self.identity),
            call: kind.name,
            phase,
            cause: Box::new(cause),
        };
        let Some(_place) = self.shared.places.take(deadline) else {
            return Err(failed((Phase::Waiting, Cause::Busy { places: PLACES, limit: deadline })));
        };
        let _ticking = tier.ticker.run();
        // A panic here would be a fault of ours or wasmtime's; it must not become the plugin's death.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut store = store(tier, &limits, deadline);
            if self.shared.fuel {
                // Refused only by an engine that does not count.
                drop(store.set_fuel(u64::MAX));
            }
            let outcome = match instance(&mut store) {
                Ok(instance) => {
                    let begun = Instant::now();
                    let outcome = function(&instance, &mut store).map_err(|why| (Phase::Call, why));
                    receipt.guest_time = begun.elapsed();
                    outcome
                }
                Err(why) => Err((Phase::Instantiate, why)),
            };
            let outcome = outcome.map_err(|(phase, why)| (phase, cause(&why, phase, &store, &limits, kind)));
            receipt.fuel = self.shared.fuel.then(|| store.get_fuel().map_or(0, |left| u64::MAX - left));
            receipt.memory = store.data().usage.memory();
            receipt.log_lines = self.log(store.into_data(), kind.name);
            outcome
        }))
        .unwrap_or_else(|panic| Err((Phase::Call, Cause::HostPanic(panic_text(&*panic)))));
        let answer = outcome.map_err(failed)?;
        receipt.bytes_out = size::of(&answer);
        check(&answer, &limits).map_err(|cause| failed((Phase::Answer, cause)))?;
        Ok(answer)
    }

    /// How many lines there were.
    fn log(&self, state: State, call: &'static str) -> u64 {
        let State { mut journal, wasi, .. } = state;
        for (to, line) in wasi.printed() {
            journal.write(if to == Print::Stdout { Level::Info } else { Level::Warn }, &line);
        }
        journal.emit(&self.identity.name, &self.identity.version, call)
    }
}

fn store(tier: &Tier, limits: &Limits, deadline: Duration) -> Store<State> {
    let mut store = Store::new(&tier.engine, State::new(limits));
    store.limiter(|state| &mut state.usage);
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
    store.set_hostcall_fuel(usize::try_from(limits.transfer).unwrap_or(usize::MAX));
    Deadline::after(deadline).arm(&mut store);
    store
}

fn cause(why: &wasmtime::Error, phase: Phase, store: &Store<State>, limits: &Limits, kind: &Kind) -> Cause {
    if let Some(DeadlinePassed(limit)) = why.downcast_ref() {
        return Cause::Deadline { limit: *limit, key: kind.deadline_key };
    }
    if let Some(I32Exit(code)) = why.downcast_ref() {
        return Cause::Exit(*code);
    }
    match store.data().usage.refused {
        Some(Refused::Memory) => return Cause::Memory { what: "bytes of memory", limit: limits.memory, key: "memory" },
        Some(Refused::Table) => {
            return Cause::Memory { what: "table elements", limit: limits.table_elements, key: "table_elements" };
        }
        None => {}
    }
    let root = why.root_cause().to_string();
    // wasmtime has no public type for it.
    if root.contains("fuel allocated for hostcalls") {
        return Cause::Transfer { limit: limits.transfer };
    }
    let text = clean(root.trim_start_matches("wasm trap: "), TEXT).0;
    if why.is::<Trap>() || why.is::<WasmBacktrace>() {
        return Cause::Trap { what: text, backtrace: backtrace(why) };
    }
    match phase {
        Phase::Instantiate => Cause::Setup(text),
        _ => Cause::Answer(text),
    }
}

fn backtrace(why: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = why.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        // Only Rust's mangling: a demangler of C++ is not worth its surface in a privileged process.
        Some(name) => clean(&format!("{:#}", rustc_demangle::demangle(name)), NAME).0,
        None => format!("function {}", frame.func_index()),
    };
    trace.frames().iter().map(name).collect()
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    clean(text.unwrap_or("a panic without a text"), TEXT).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Runtime, Source, Trial};

    #[test]
    fn a_panic_of_the_host_fails_one_call_and_frees_its_place() {
        let runtime = Runtime::new(Options::default()).unwrap();
        let source = Source::Embedded { name: "test", bytes: crate::make::Guest::quiet().component().leak() };
        let policy = runtime.open(&source).unwrap().activate(&Trial::default()).unwrap();
        for _ in 0..=PLACES {
            let callee = &policy.guest.callee;
            let tier = &policy.code.now().tier;
            let outcome: Result<(), _> =
                callee.call(&GROUP, tier, &(), |_| Ok(()), |(), _| panic!("of the test's making"), |(), _| Ok(())).0;
            assert_eq!(*outcome.unwrap_err().cause(), Cause::HostPanic("of the test's making".into()));
        }
        assert_eq!(policy.check_config("{}").unwrap(), []);
    }
}
