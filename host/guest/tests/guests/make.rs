//! Guests for tests: a few lines of WebAssembly text each, made into components of the real contract.
//!
//! The text holds whatever of its world's functions (`$describe $check_config $group $reserve $stats`, or `$describe $check_config $check_task
//! $probes $judge $plan`) a guest does in its own way, and anything else that may stand in a module; the rest is filled in with functions
//! that answer at once: `trial 1.0.0`, nothing found, nothing offered, nothing to look at, and no launch before that.

use std::path::Path;
use std::sync::OnceLock;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1.0");
/// A version before, for tests of how an older guest is served.
const OLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/guest/tests/older");
const WASI: &str = include_str!("wasi.wit");
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/hostile");

/// Answers of zeros: `ok` of empty lists, `none`.
const QUIET: &str = "(i32.const 256)";

/// A world and the interface that its guests export: functions by their names in the text and in the contract, with parameters.
struct World {
    name: &'static str,
    interface: &'static str,
    functions: &'static [(&'static str, &'static str, &'static str)],
}

const USB: World = World {
    name: "usb-plugin",
    interface: "usb-policy",
    functions: &[
        ("describe", "describe", ""),
        ("check_config", "check-config", "(param i32 i32)"),
        ("group", "group", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
        ("reserve", "reserve", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
        ("stats", "stats", "(param i32 i32 i32 i32 i32 i32)"),
    ],
};

const DRIVER: World = World {
    name: "driver-plugin",
    interface: "driver",
    functions: &[
        ("describe", "describe", ""),
        ("check_config", "check-config", "(param i32 i32)"),
        ("check_task", "check-task", "(param i32 i32 i32 i32 i32 i32)"),
        ("probes", "probes", "(param i32 i32)"),
        ("judge", "judge", "(param i32 i32 i32 i32)"),
        // Too many for a list of parameters: a pointer to them.
        ("plan", "plan", "(param i32)"),
    ],
};

/// A guest in the making.
pub(crate) struct Guest {
    of: &'static World,
    text: String,
    pages: u32,
    world: Option<String>,
}

impl Guest {
    /// A USB policy from text of its own.
    pub(crate) fn new(text: &str) -> Guest {
        Guest { of: &USB, text: text.into(), pages: 2, world: None }
    }

    /// A task driver from text of its own.
    pub(crate) fn driver(text: &str) -> Guest {
        Guest { of: &DRIVER, ..Guest::new(text) }
    }

    /// A task driver of the corpus in `tests/hostile/driver`.
    pub(crate) fn hostile_driver(name: &str) -> Guest {
        Guest { of: &DRIVER, ..Guest::hostile(&format!("driver/{name}")) }
    }

    /// One of the corpus in `tests/hostile`.
    pub(crate) fn hostile(name: &str) -> Guest {
        let path = Path::new(HOSTILE).join(format!("{name}.wat"));
        Guest::new(&std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
    }

    /// Answers everything, decides nothing.
    pub(crate) fn quiet() -> Guest {
        Guest::new("")
    }

    /// Behaves, but its functions take a compiler seconds and hundreds of megabytes.
    pub(crate) fn slow_to_compile() -> Guest {
        use std::fmt::Write as _;
        let mut text = String::new();
        for function in 0..40 {
            let locals = "(local i32)".repeat(64);
            write!(text, "(func $slow{function} (param i32) (result i32) {locals}").unwrap();
            for at in 0..1500 {
                let (to, from, other) = (at % 64 + 1, (at * 7 + 1) % 64 + 1, (at * 13 + 5) % 64 + 1);
                write!(
                    text,
                    "(loop (local.set {to} (i32.add (i32.mul (local.get {from}) (local.get 0)) (local.get {other})))
                     (br_if 0 (i32.xor (local.get {to}) (local.get {other}))))"
                )
                .unwrap();
            }
            text.push_str("(local.get 3))\n");
        }
        Guest::new(&text)
    }

    /// A driver that refuses the task of its trial by asking to look at nothing, and does its worst about any other: the id of its
    /// trial's begins with eight zeros.
    pub(crate) fn later_than_its_trial(mut self) -> Guest {
        self.text = self.text.replace("(func $plan ", "(func $worst ");
        self.text += &format!(
            "\n(func $plan (param i32) (result i32)
              (if (result i32) (i64.eq (i64.load align=1 (i32.load offset=16 (local.get 0))) (i64.const 0x3030303030303030))
                (then {QUIET}) (else (call $worst (local.get 0)))))"
        );
        self
    }

    /// Behaves when it is asked about snapshot 1, as in its trial, and does its worst about any other.
    pub(crate) fn later(mut self) -> Guest {
        let params = USB.functions[2].2;
        let arguments: String = (0..10).map(|at| format!("(local.get {at}) ")).collect();
        self.text = self.text.replace("(func $group ", "(func $worst ");
        self.text += &format!(
            "\n(func $group {params} (result i32)
              (if (result i32) (i32.eq (local.get 2) (i32.const 1)) (then {QUIET}) (else (call $worst {arguments}))))"
        );
        self
    }

    /// With what stands in another's text, too.
    pub(crate) fn and(mut self, other: &Guest) -> Guest {
        self.text.push('\n');
        self.text += &other.text;
        self
    }

    /// Starts with so many pages of 64 KiB.
    pub(crate) fn pages(mut self, pages: u32) -> Guest {
        self.pages = pages;
        self
    }

    /// In a world of more imports and exports than its own: `import wasi:cli/exit@0.2.6;`. `more`: WIT that stands beside the world.
    pub(crate) fn beside(mut self, items: &str, more: &str) -> Guest {
        let interface = self.of.interface;
        self.world = Some(format!(
            "package test:guest;\n{more}\nworld guest {{ import yurt:plugin/log@0.1.0; export yurt:plugin/{interface}@0.1.0; {items} }}"
        ));
        self
    }

    /// Importing these interfaces of WASI.
    pub(crate) fn wasi(self, interfaces: &[&str]) -> Guest {
        let items: String = interfaces.iter().map(|interface| format!("import wasi:{interface}@0.2.6;\n")).collect();
        self.beside(&items, "")
    }

    /// As a component.
    pub(crate) fn component(&self) -> Vec<u8> {
        self.of_version("0.1.0")
    }

    /// As a component of another version of the contract, with the same types.
    pub(crate) fn of_version(&self, version: &str) -> Vec<u8> {
        let mut module = wat::parse_str(self.module(version)).unwrap();
        let mut resolve = resolve(version);
        let world = match &self.world {
            None => {
                let package = resolve.packages.iter().find(|(_, package)| package.name.name == "plugin").unwrap().0;
                resolve.select_world(&[package], Some(self.of.name)).unwrap()
            }
            Some(world) => {
                resolve.push_str("wasi.wit", WASI).unwrap();
                let package = resolve.push_str("world.wit", world).unwrap();
                resolve.select_world(&[package], Some("guest")).unwrap()
            }
        };
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    /// The core module's text.
    fn module(&self, version: &str) -> String {
        let imports: Vec<&str> = self.text.lines().filter(|line| line.trim_start().starts_with("(import")).collect();
        let rest: Vec<&str> = self.text.lines().filter(|line| !line.trim_start().starts_with("(import")).collect();
        let rest = rest.join("\n");
        let mut functions = String::new();
        let interface = self.of.interface;
        for (name, exported, params) in self.of.functions {
            if self.text.contains(&format!("(func ${name} ")) {
                functions += &format!("(export \"yurt:plugin/{interface}@{version}#{exported}\" (func ${name}))\n");
            } else {
                let body = if *name == "describe" { "(i32.const 128)" } else { QUIET };
                functions += &format!(
                    "(func (export \"yurt:plugin/{interface}@{version}#{exported}\") {params} (result i32) {body})\n"
                );
            }
        }
        format!(
            r#"(module
            (import "yurt:plugin/log@{version}" "write" (func $log (param i32 i32 i32)))
            {imports}
            (memory (export "memory") {pages})
            (data (i32.const 16) "trial") (data (i32.const 32) "1.0.0") (data (i32.const 48) "A test's guest.")
            ;; describe's answer: pointers and lengths of name, version, summary, config-spec; behind them a driver's task-spec, and zeros
            (data (i32.const 64) "object {{}}")
            (data (i32.const 128) "\10\00\00\00\05\00\00\00\20\00\00\00\05\00\00\00\30\00\00\00\0f\00\00\00\00\00\00\00\00\00\00\00\40\00\00\00\09\00\00\00")
            (global $next (mut i32) (i32.const 65536))
            (func $alloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                                      (i32.sub (i32.const 0) (local.get $align))))
              (global.set $next (i32.add (local.get $at) (local.get $new)))
              (block $fits (loop $more
                (br_if $fits (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
                (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
                (unreachable)))
              (local.get $at))
            {functions}
            {rest})"#,
            imports = imports.join("\n"),
            pages = self.pages,
        )
    }
}

/// The contract, its text changed to another version where one is asked for.
fn resolve(version: &str) -> Resolve {
    static CONTRACT: OnceLock<Resolve> = OnceLock::new();
    if version == "0.1.0" {
        let contract = CONTRACT.get_or_init(|| {
            let mut resolve = Resolve::default();
            resolve.push_dir(WIT).unwrap();
            resolve
        });
        return contract.clone();
    }
    if version == "0.0.9" {
        let mut resolve = Resolve::default();
        resolve.push_dir(OLDER).unwrap();
        return resolve;
    }
    let mut group = String::new();
    for (at, file) in ["common.wit", "usb.wit", "usb-policy.wit", "driver.wit"].iter().enumerate() {
        let text = std::fs::read_to_string(Path::new(WIT).join(file)).unwrap();
        let header = format!("package yurt:plugin@{version};");
        group += &text.replace("package yurt:plugin@0.1.0;", if at == 0 { &header } else { "" });
    }
    let mut resolve = Resolve::default();
    resolve.push_str("contract.wit", &group).unwrap();
    resolve
}
