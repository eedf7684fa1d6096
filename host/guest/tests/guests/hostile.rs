//! The corpus of `tests/hostile`: every guest ends as a value, in time, and harms neither the next call nor another guest.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use yurt_guest::usb::GroupName;
use yurt_guest::{
    Cause, GuestError, Limits, LoadCause, LoadError, Loaded, Options, Phase, Runtime, Source, Stage, Trial, UsbPolicy,
};

use crate::calls::{active, no_devices};
use crate::log;
use crate::make::Guest;

/// A deadline that keeps the tests short.
const SOON: Duration = Duration::from_millis(50);

fn runtime() -> Runtime {
    let limits = Limits { group_deadline: SOON, check_config_deadline: SOON, ..Limits::default() };
    Runtime::new(Options { limits, ..Options::default() }).unwrap()
}

fn open(runtime: &Runtime, guest: &Guest) -> Result<Loaded, LoadError> {
    runtime.open(&Source::Embedded { name: "test", bytes: guest.component().leak() })
}

/// Loads a guest whose trial fails, and says how.
fn tried(runtime: &Runtime, guest: &Guest) -> GuestError {
    let why = open(runtime, guest).unwrap().activate(&Trial::default()).unwrap_err();
    assert_eq!(why.stage, Stage::Trial, "{why}");
    assert!(
        why.to_string().starts_with(&format!(
            "guest test (sha256 {}) was not loaded, refused at stage trial: guest trial 1.0.0 (",
            &why.digest.as_ref().unwrap()[..12]
        )),
        "{why}"
    );
    println!("{why}");
    match *why.cause {
        LoadCause::Call(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_guest_that_spins_is_ended_at_its_deadline_and_the_next_call_works() {
    let runtime = runtime();
    let good = active(&runtime, Guest::quiet().component());
    for name in ["spin", "spin-copying", "wait-for-later"] {
        let guest = match name {
            "wait-for-later" => Guest::hostile(name).wasi(&["clocks/monotonic-clock"]),
            _ => Guest::hostile(name),
        };
        let loaded = open(&runtime, &guest).unwrap();
        let start = Instant::now();
        let why = loaded.activate(&Trial::default()).unwrap_err();
        let took = start.elapsed();
        println!("{name}: {took:?}: {why}");
        let LoadCause::Call(why) = *why.cause else { panic!("{why}") };
        assert_eq!(*why.cause(), Cause::Deadline { limit: SOON, key: "group_deadline" });
        assert_eq!((why.call(), why.phase()), ("group", Phase::Call));
        // One long instruction may pass before the guest is asked, and this machine does other things, too: sixteen guests of another
        // test may be spinning.
        assert!(took >= SOON && took < SOON * 100, "{name} took {took:?}");
        assert!(good.group("{}", &no_devices(), None).is_ok());
    }
}

#[test]
fn a_guest_that_spins_or_traps_while_it_is_set_up_is_not_loaded() {
    let limits = Limits { describe_deadline: SOON, ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let why = open(&runtime, &Guest::hostile("spin-at-start")).unwrap_err();
    assert_eq!(why.stage, Stage::Describe);
    assert!(
        why.to_string().contains(
            "failed in describe while being set up: it ran into its deadline of 50 ms (limit describe_deadline)"
        ),
        "{why}"
    );
    let why = open(&runtime, &Guest::hostile("trap-at-start")).unwrap_err();
    assert!(
        why.to_string().contains(
            "failed in describe while being set up: it trapped: wasm `unreachable` instruction executed in setup"
        ),
        "{why}"
    );
}

#[test]
fn a_trap_names_the_guest_s_functions() {
    let why = tried(&runtime(), &Guest::hostile("trap"));
    assert!(matches!(why.cause(), Cause::Trap { .. }), "{why}");
    assert_eq!(why.backtrace(), ["look_at_device", "sort_into_groups", "group"]);
    assert!(why.to_string().ends_with("in look_at_device < sort_into_groups < group"), "{why}");
}

#[test]
fn traps_in_describe_and_check_config_keep_a_guest_from_serving() {
    let runtime = runtime();
    let why = open(&runtime, &Guest::hostile("trap-in-describe")).unwrap_err();
    assert!(matches!(&*why.cause, LoadCause::Call(why) if why.call() == "describe"), "{why}");
    assert_eq!(tried(&runtime, &Guest::hostile("trap-in-check-config")).call(), "check-config");
}

#[test]
fn memory_and_tables_end_at_their_limits() {
    let runtime = runtime();
    let why = tried(&runtime, &Guest::hostile("grow"));
    assert_eq!(*why.cause(), Cause::Memory { what: "bytes of memory", limit: 64 << 20, key: "memory" });
    let why = tried(&runtime, &Guest::hostile("grow-table"));
    assert_eq!(*why.cause(), Cause::Memory { what: "table elements", limit: 65_536, key: "table_elements" });
    let why = open(&runtime, &Guest::quiet().pages(1025)).unwrap_err();
    assert!(
        matches!(&*why.cause, LoadCause::Call(why) if matches!(why.cause(), Cause::Memory { key: "memory", .. }) && why.phase() == Phase::Instantiate),
        "{why}"
    );
    // Being refused memory is no crime.
    active(&runtime, Guest::hostile("grow-politely").component());
}

#[test]
fn deep_recursion_ends_at_the_stack_s_end() {
    let why = tried(&runtime(), &Guest::hostile("recurse"));
    assert!(matches!(why.cause(), Cause::Trap { what, .. } if what.contains("stack exhausted")), "{why}");
}

#[test]
fn answers_over_a_limit_are_refused() {
    let runtime = runtime();
    for name in ["huge-text", "huge-list"] {
        assert_eq!(*tried(&runtime, &Guest::hostile(name)).cause(), Cause::Transfer { limit: 1 << 20 }, "{name}");
    }
    for (name, what, size, limit, key) in [
        ("many-groups", "groups", 1025, 1024, "groups"),
        ("long-name", "bytes in one text", 40_000, 32_768, "text"),
        ("long-memory", "bytes of memory to be remembered", 65_537, 65_536, "remembered"),
    ] {
        let why = tried(&runtime, &Guest::hostile(name));
        assert_eq!(*why.cause(), Cause::TooLarge { what, size, limit, key }, "{name}");
        assert_eq!(why.phase(), Phase::Answer);
    }
}

#[test]
fn answers_that_are_no_values_of_the_contract_are_refused() {
    let runtime = runtime();
    for name in ["outside", "list-outside", "bad-variant", "bad-text"] {
        let why = tried(&runtime, &Guest::hostile(name));
        assert!(matches!(why.cause(), Cause::Answer(_)), "{name}: {why}");
    }
    let why = tried(&runtime, &Guest::hostile("log-outside"));
    assert!(matches!(why.cause(), Cause::Trap { .. } | Cause::Transfer { .. }), "{why}");
}

#[test]
fn an_error_of_the_guest_s_own_is_printable_and_no_failure() {
    let runtime = runtime();
    let policy = active(&runtime, Guest::hostile("rude-error").component());
    assert_eq!(policy.group("{}", &no_devices(), None).unwrap(), Err("·[31mred⏎and more".into()));
}

#[test]
fn a_flood_of_log_lines_is_bounded_and_its_rest_counted_once() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let policy = active(&runtime, Guest::hostile("flood-log").component());
    let (outcome, lines) = log::of(|| policy.group("{}", &no_devices(), None));
    outcome.unwrap().unwrap();
    assert_eq!(lines.len(), 65);
    let first = &lines[0];
    assert_eq!((first.level, first.target.as_str()), (tracing::Level::WARN, "guest"));
    assert_eq!(
        ["guest", "version", "call", "message"].map(|name| first.field(name)),
        ["trial", "1.0.0", "group", "I have much to say"]
    );
    assert_eq!(lines[64].field("left_out"), (10_000 - 64).to_string());
}

#[test]
fn handles_and_resources_cannot_fill_the_host_s_memory() {
    let runtime = runtime();
    let why = tried(&runtime, &Guest::hostile("leak-handles").wasi(&["clocks/monotonic-clock"]));
    assert!(matches!(why.cause(), Cause::Trap { .. }), "{why}");

    let why = tried(
        &runtime,
        &Guest::hostile("leak-resources").beside("export things;", "interface things { resource thing; }"),
    );
    assert!(matches!(why.cause(), Cause::Trap { what, .. } if what.contains("handle limit")), "{why}");
}

#[test]
fn a_destructor_that_spins_is_ended_and_one_that_was_left_is_never_called() {
    const THINGS: &str = "interface things { resource thing; }";
    let runtime = runtime();
    let why = tried(&runtime, &Guest::hostile("spin-in-destructor").beside("export things;", THINGS));
    assert_eq!(*why.cause(), Cause::Deadline { limit: SOON, key: "group_deadline" });
    let left = active(&runtime, Guest::hostile("leave-destructor").beside("export things;", THINGS).component());
    assert!(left.group("{}", &no_devices(), None).unwrap().is_ok());
}

#[test]
fn what_comes_after_the_answer_is_part_of_the_call() {
    let runtime = runtime();
    let why = tried(&runtime, &Guest::hostile("spin-after-answer"));
    assert_eq!(*why.cause(), Cause::Deadline { limit: SOON, key: "group_deadline" });
    assert!(matches!(tried(&runtime, &Guest::hostile("trap-after-answer")).cause(), Cause::Trap { .. }));
}

#[test]
fn reservations_and_statistics_that_trap_or_spin_are_failed_calls() {
    let limits = Limits { reserve_deadline: SOON, stats_deadline: SOON, ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let guest = |function: &str, parameters: usize, body: &str| {
        Guest::new(&format!("(func ${function} (param{}) (result i32) {body} unreachable)", " i32".repeat(parameters)))
    };
    const SPIN: &str = "(loop $forever (br $forever))";
    // Neither is asked for in a trial in which nothing was offered.
    let failed = |function, parameters, body, call: &dyn Fn(&UsbPolicy) -> GuestError| {
        let policy = active(&runtime, guest(function, parameters, body).component());
        let why = call(&policy);
        assert_eq!((why.call(), why.phase()), (function, Phase::Call));
        assert_eq!(policy.check_config("{}").unwrap(), [], "the next call works");
        why.cause().clone()
    };
    let group = GroupName { vendor: "acme".into(), kind: "usb".into(), name: "board".into() };
    let reserve = |policy: &UsbPolicy| policy.reserve("{}", &no_devices(), &group, &[]).unwrap_err();
    let stats = |policy: &UsbPolicy| policy.stats("{}", &[], &[]).unwrap_err();
    assert!(matches!(failed("reserve", 15, "", &reserve), Cause::Trap { .. }));
    assert!(matches!(failed("stats", 6, "", &stats), Cause::Trap { .. }));
    assert_eq!(failed("reserve", 15, SPIN, &reserve), Cause::Deadline { limit: SOON, key: "reserve_deadline" });
    assert_eq!(failed("stats", 6, SPIN, &stats), Cause::Deadline { limit: SOON, key: "stats_deadline" });
}

#[test]
fn wasi_is_empty_and_nothing_in_it_waits() {
    let runtime = runtime();
    for (name, interfaces) in [
        ("sleep", &["clocks/monotonic-clock", "io/poll"][..]),
        ("read-stdin", &["cli/stdin", "io/streams"]),
        ("look-around", &["cli/environment", "filesystem/preopens"]),
        ("socket", &["sockets/tcp-create-socket"]),
    ] {
        let start = Instant::now();
        active(&runtime, Guest::hostile(name).wasi(interfaces).component());
        println!("{name}: {:?}", start.elapsed());
    }
    let why = tried(&runtime, &Guest::hostile("exit").wasi(&["cli/exit"]));
    assert_eq!(*why.cause(), Cause::Exit(1));
    // An async runtime's workers are called so.
    let threads = threads();
    assert!(!threads.iter().any(|name| name.contains("tokio")), "{threads:?}");
}

#[test]
fn what_is_printed_on_stdout_and_stderr_is_logged_line_by_line() {
    let policy =
        active(&runtime(), Guest::hostile("print").wasi(&["cli/stdout", "cli/stderr", "io/streams"]).component());
    let (outcome, lines) = log::of(|| policy.group("{}", &no_devices(), None));
    outcome.unwrap().unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.level, line.field("message"))).collect();
    let (info, warn) = (tracing::Level::INFO, tracing::Level::WARN);
    assert_eq!(lines, [(info, "to stdout"), (warn, "to stderr"), (warn, "and more")]);
}

#[test]
fn clocks_stand_still_and_random_numbers_repeat() {
    let component = Guest::hostile("chance")
        .wasi(&["clocks/monotonic-clock", "clocks/wall-clock", "random/random", "random/insecure-seed"])
        .component();
    let said = |component: &[u8]| {
        let policy = active(&runtime(), component.to_vec());
        let (outcome, lines) = log::of(|| policy.group("{}", &no_devices(), None));
        outcome.unwrap().unwrap();
        lines[0].field("message").to_owned()
    };
    let first = said(&component);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(first, said(&component));
    // 2000-01-01 in seconds, and one second: little-endian.
    assert!(first.starts_with("80436d3800000000") && first[32..].starts_with("00ca9a3b00000000"), "{first}");
    // Two draws differ.
    assert_ne!(first[48..64], first[64..80]);
}

#[test]
fn a_call_that_finds_no_place_says_so_after_its_deadline_and_places_come_back() {
    let limits = Limits { group_deadline: Duration::from_secs(1), stats_deadline: SOON, ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let policy = active(&runtime, Guest::hostile("spin").later().component());
    let spinning: Vec<_> = (0..16)
        .map(|_| {
            let policy = policy.clone();
            thread::spawn(move || policy.group("{}", &no_devices(), None).unwrap_err())
        })
        .collect();
    // Until the last of them has begun there is a place, in which a call may be late beside so many that spin.
    let why = (0..200).find_map(|_| {
        thread::sleep(Duration::from_millis(5));
        policy.stats("{}", &[], &[]).err().filter(|why| why.phase() == Phase::Waiting)
    });
    let why = why.unwrap();
    assert_eq!((why.phase(), why.cause()), (Phase::Waiting, &Cause::Busy { places: 16, limit: SOON }));
    for thread in spinning {
        assert!(matches!(thread.join().unwrap().cause(), Cause::Deadline { .. }));
    }
    let back = (0..200).any(|_| policy.stats("{}", &[], &[]).is_ok());
    assert!(back, "no place came back");
}

#[test]
fn while_one_guest_spins_the_others_answer_as_before() {
    let limits = Limits { group_deadline: Duration::from_secs(2), ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let good = active(&runtime, Guest::quiet().component());
    let spins = active(&runtime, Guest::hostile("spin").later().component());
    let measure = || {
        let mut times: Vec<Duration> = (0..500)
            .map(|_| {
                let start = Instant::now();
                good.group("{}", &no_devices(), None).unwrap().unwrap();
                start.elapsed()
            })
            .collect();
        times.sort();
        (times[250], times[495])
    };
    let alone = measure();
    let done = Arc::new(AtomicBool::new(false));
    let spinning = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let outcome = spins.group("{}", &no_devices(), None);
            done.store(true, Ordering::SeqCst);
            outcome
        }
    });
    thread::sleep(Duration::from_millis(100));
    let beside = measure();
    assert!(!done.load(Ordering::SeqCst), "it ended too early to tell");
    println!("median and 99 %: alone {alone:?}, beside a spinning guest {beside:?}");
    assert!(beside.0 < alone.0 * 5 + Duration::from_micros(200), "alone {alone:?}, beside {beside:?}");
    assert!(matches!(spinning.join().unwrap().unwrap_err().cause(), Cause::Deadline { .. }));
}

fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect()
}
