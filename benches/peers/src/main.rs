//! Extism's side: a plugin that does nothing and one that answers what it was asked, called as often as the other side says.
//!
//! On each line of standard input a name and a number: `echo 1000`, `fresh-echo 1000` (an instance per call, as Yurt has it). On each line
//! of standard output the nanoseconds that so many calls took.

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

/// Copies word by word, as Extism's own kits do.
const GUEST: &str = r#"(module
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "input_load_u64" (func $input_load (param i64) (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (memory (export "memory") 2)
    (func (export "empty") (result i32) (i32.const 0))
    (func (export "echo") (result i32)
      (local $length i64) (local $at i64) (local $to i64)
      (local.set $length (call $input_length))
      (local.set $to (call $alloc (local.get $length)))
      (block $done (loop $more
        (br_if $done (i64.ge_u (local.get $at) (local.get $length)))
        (call $store (i64.add (local.get $to) (local.get $at)) (call $input_load (local.get $at)))
        (local.set $at (i64.add (local.get $at) (i64.const 8)))
        (br $more)))
      (call $output_set (local.get $to) (local.get $length))
      (i32.const 0)))"#;

/// A multiple of a word.
const TEXT: usize = 1024;

fn main() -> Result<()> {
    let manifest = Manifest::new([Wasm::data(wat::parse_str(GUEST)?)]).with_timeout(std::time::Duration::from_secs(2));
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false))?;
    let mut kept = Plugin::new_from_compiled(&compiled)?;
    let text = "x".repeat(TEXT);
    ensure!(kept.call::<&str, &str>("echo", &text)? == text, "the echo is not what was asked");
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (what, times) = line.split_once(' ').with_context(|| line.clone())?;
        let times: u32 = times.parse()?;
        let start = Instant::now();
        for _ in 0..times {
            match what {
                "empty" => {
                    black_box(kept.call::<&str, &str>("empty", "")?);
                }
                "echo" => drop(black_box(kept.call::<&str, &str>("echo", &text)?.to_owned())),
                "fresh-empty" => {
                    let mut fresh = Plugin::new_from_compiled(&compiled)?;
                    black_box(fresh.call::<&str, &str>("empty", "")?);
                }
                "fresh-echo" => {
                    let mut fresh = Plugin::new_from_compiled(&compiled)?;
                    drop(black_box(fresh.call::<&str, &str>("echo", &text)?.to_owned()));
                }
                other => bail!("there is no call {other:?}"),
            }
        }
        writeln!(out, "{}", start.elapsed().as_nanos())?;
        out.flush()?;
    }
    Ok(())
}
