//! Guests that are compiled in a worker. This program is its own worker, so it brings its own `main`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "guests/make.rs"]
mod make;

use std::fs;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use make::Guest;
use yurt_guest::{CompileCause, Compiler, Limits, LoadCause, LoadError, Options, Runtime, Source, Stage, Trial};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_guest_from_a_worker_serves_and_is_compiled_once", a_guest_from_a_worker_serves_and_is_compiled_once),
    ("without_a_cache_it_serves_as_well", without_a_cache_it_serves_as_well),
    ("what_the_compiler_says_is_told", what_the_compiler_says_is_told),
    (
        "one_that_takes_too_long_is_killed_and_the_next_compiles",
        one_that_takes_too_long_is_killed_and_the_next_compiles,
    ),
    ("one_that_takes_too_much_memory_ends_without_us", one_that_takes_too_much_memory_ends_without_us),
    ("bombs_of_names_types_and_functions_end_as_values", bombs_of_names_types_and_functions_end_as_values),
    ("a_worker_is_not_for_people", a_worker_is_not_for_people),
];

fn main() -> ExitCode {
    if let Some(status) = yurt_guest::take_over() {
        return status;
    }
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| name.contains(wanted))) {
        let start = Instant::now();
        test();
        println!("test {name} ... ok ({:?})", start.elapsed());
    }
    ExitCode::SUCCESS
}

fn options() -> Options {
    Options { compiler: Some(Compiler::this_program()), ..Options::default() }
}

fn embedded(component: Vec<u8>) -> Source {
    Source::Embedded { name: "test", bytes: component.leak() }
}

fn refused(limits: Limits, component: Vec<u8>) -> LoadError {
    let runtime = Runtime::new(Options { limits, ..options() }).unwrap();
    let why = runtime.open(&embedded(component)).unwrap_err();
    println!("{why}");
    assert_eq!(why.stage, Stage::Compile);
    // On a busy machine even that takes its time.
    runtime.set_limits(Limits::default());
    runtime.open(&embedded(Guest::quiet().component())).expect("the next one compiles");
    why
}

fn children() -> Vec<String> {
    let all = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap();
    all.split_whitespace().map(str::to_owned).collect()
}

fn a_guest_from_a_worker_serves_and_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    let source = embedded(Guest::quiet().component());
    for compiles in [true, false] {
        let runtime = Runtime::new(Options { cache_dir: Some(dir.path().join("cache")), ..options() }).unwrap();
        let inspection = runtime.inspect(&source);
        assert_eq!(inspection.compiling.is_some(), compiles, "{:?}", inspection.refused);
        inspection.loaded.unwrap().activate(&Trial::default()).unwrap();
    }
    // In this process, without a worker, the same engine reads what the worker made.
    let runtime = Runtime::new(Options { cache_dir: Some(dir.path().join("cache")), ..Options::default() }).unwrap();
    assert!(runtime.inspect(&source).compiling.is_none());
    assert!(children().is_empty());
}

fn without_a_cache_it_serves_as_well() {
    let runtime = Runtime::new(options()).unwrap();
    for _ in 0..2 {
        let inspection = runtime.inspect(&embedded(Guest::quiet().component()));
        assert!(inspection.compiling.is_some(), "{:?}", inspection.refused);
        inspection.loaded.unwrap().activate(&Trial::default()).unwrap();
    }
    // A limit that keeps nothing.
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { cache: 0, ..Limits::default() };
    let runtime = Runtime::new(Options { cache_dir: Some(dir.path().into()), limits, ..options() }).unwrap();
    runtime.open(&embedded(Guest::quiet().component())).unwrap();
}

fn what_the_compiler_says_is_told() {
    // The last byte of a function's body is its end.
    let mut component = Guest::new("(func $marked i32.const 0x1234567 drop)").component();
    let marker = [0x41, 0xe7, 0x8a, 0x8d, 0x09, 0x1a, 0x0b];
    let at = component.windows(marker.len()).position(|bytes| bytes == marker).unwrap();
    component[at + 6] = 0x01;
    let why = refused(Limits::default(), component);
    let LoadCause::Compile(CompileCause::Invalid(said)) = &*why.cause else { panic!("{why}") };
    assert!(said.contains("offset"), "{said}");
}

fn slow() -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| Guest::slow_to_compile().component()).clone()
}

fn one_that_takes_too_long_is_killed_and_the_next_compiles() {
    let limit = Duration::from_millis(400);
    let component = slow();
    let start = Instant::now();
    let why = refused(Limits { compile_deadline: limit, ..Limits::default() }, component);
    println!("{:?} in all", start.elapsed());
    assert!(matches!(&*why.cause, LoadCause::Compile(CompileCause::Deadline { limit: hit }) if *hit == limit), "{why}");
    assert!(why.to_string().ends_with("it cannot be compiled: it took longer than 400 ms (limit compile_deadline)"));
    assert!(children().is_empty());
}

fn one_that_takes_too_much_memory_ends_without_us() {
    let limit = 64 << 20;
    let why = refused(Limits { compile_memory: limit, ..Limits::default() }, slow());
    assert!(matches!(&*why.cause, LoadCause::Compile(CompileCause::Memory { limit: hit }) if *hit == limit), "{why}");
    assert!(children().is_empty());
}

/// A component of this text that seems to be a guest until its types are looked at.
fn raw(text: &str) -> Vec<u8> {
    let export = "(instance $none) (export \"yurt:plugin/usb-policy@0.1.0\" (instance $none))";
    wat::parse_str(format!("(component {text} {export})")).unwrap()
}

fn bombs_of_names_types_and_functions_end_as_values() {
    let many = |range: std::ops::Range<u32>, one: &dyn Fn(u32) -> String| range.map(one).collect::<String>();
    let doubled = |depth| {
        let first = "(type $t0 (tuple u32 u32))";
        first.to_owned() + &many(1..depth, &|at| format!("(type $t{at} (tuple $t{0} $t{0}))", at - 1))
    };
    let bombs = [
        (
            "imports",
            raw(&many(0..2_000, &|at| format!("(import \"wasi:cli/x{at}@0.2.0\" (instance))"))),
            Stage::Component,
        ),
        (
            "exports",
            raw(&("(instance $all)".to_owned() + &many(0..2_000, &|at| format!("(export \"x{at}\" (instance $all))")))),
            Stage::Component,
        ),
        ("types that double too often", raw(&doubled(64)), Stage::Compile),
        ("types that double", raw(&(doubled(18) + "(type (func (param \"all\" $t17)))")), Stage::Link),
        ("many types", raw(&many(0..10_000, &|at| format!("(type (record (field \"f{at}\" u32)))"))), Stage::Link),
        ("core types", raw(&format!("(core module {})", "(type (func (param i32)))".repeat(50_000))), Stage::Link),
        ("functions", raw(&format!("(core module {})", "(func)".repeat(50_000))), Stage::Link),
        ("modules", raw(&"(core module (func))".repeat(1_000)), Stage::Link),
        ("nests", raw(&("(component ".repeat(80) + &")".repeat(80))), Stage::Link),
    ];
    let limits = Limits { compile_deadline: Duration::from_secs(3), ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..options() }).unwrap();
    for (what, component, stage) in bombs {
        let (size, start) = (component.len(), Instant::now());
        let why = runtime.open(&embedded(component)).unwrap_err();
        println!("{what}: {size} bytes, {:?}: {why}", start.elapsed());
        let contained =
            matches!(&*why.cause, LoadCause::Compile(CompileCause::Deadline { .. } | CompileCause::Memory { .. }));
        assert!(contained || why.stage == stage, "{what}: {why}");
        assert!(!matches!(&*why.cause, LoadCause::Compile(CompileCause::Ended(_))), "{what}: {why}");
        assert!(why.to_string().len() < 1500, "{what}: {why}");
    }
    assert!(children().is_empty());
    runtime.set_limits(Limits::default());
    runtime.open(&embedded(Guest::quiet().component())).unwrap();
}

fn a_worker_is_not_for_people() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("compile-guest-in-worker")
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(run(&[]), "not started by a plugin");
    assert_eq!(run(&["1", "cranelift", "pool", "1000000000", "9"]), "the plugin has ended");
}
