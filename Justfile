# Each line is one habit. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# A bus with USB devices that come and go, offered, reserved and measured through the plugin, as a Nomad agent would.
demo *ARGS:
    cargo run -- demo {{ARGS}}

# What the README's second command runs: unit tests, conformance over the wire, the Rust guests.
test:
    cargo test --workspace

# Format, lints, licences, unused dependencies; nothing is changed.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cd guests && cargo fmt --all --check && cargo clippy --all-targets -- -D warnings
    cd guests/examples/rust && cargo fmt --all --check && cargo clippy --all-targets -- -D warnings
    rustfmt --check --edition 2024 guests/examples/driver/rust/src/lib.rs
    cargo fetch --locked
    cargo deny --offline check bans licenses sources
    cargo machete

# The guests as components, in guests/target/components.
guests:
    guests/build.sh

# One policy in Rust, C, JavaScript, Go and Python: toolchains into target/, builds, the corpus, mistakes, figures.
languages *ARGS:
    tests/languages/run.sh {{ARGS}}

# The same as a release build, its figures into docs/languages.md.
guests-table:
    tests/languages/run.sh --table

# Fake USB buses in namespaces: the real binary, real libusb, uevents broadcast by the kernel. Root or user namespaces.
rig *ARGS:
    tests/rig/run.sh {{ARGS}}

# A real Nomad agent with the demo's agent file and jobs. Root, Go.
agent *ARGS:
    tests/agent/run.sh {{ARGS}}

# Task driver and USB devices in a VM with control groups v2, Debian's kernel and its drivers, under emulation. Debian's apt; no root, no KVM.
vm *ARGS:
    tests/vm/run.sh {{ARGS}}

# A million calls, good and bad, in one process, which stays as it is.
steady:
    YURT_CALLS=1000000 cargo test --release -p yurt-guest --test steady -- --nocapture

# Side by side with Nomad's own example plugin and task drivers, and the cost of a policy call beside bare wasmtime.
bench *ARGS:
    benches/run.sh {{ARGS}}

# Fuzz every parser of foreign bytes for SECONDS each.
fuzz SECONDS="600":
    fuzz/run.sh {{SECONDS}}

# The acceptance list of a task driver against any driver plugin: FLAVOUR is python, yurt_exec, yurt_raw_exec, raw_exec or exec. Root.
conformance PLUGIN FLAVOUR *ARGS:
    YURT_DRIVER=$(realpath {{PLUGIN}}) YURT_DRIVER_FLAVOUR={{FLAVOUR}} cargo test -p yurt-conformance --test driver -- {{ARGS}}

# A thousand exchanges of a guest under load, one in ten of them broken: nothing fails, is mixed, or grows.
swaps *ARGS:
    YURT_SWAPS=1000 cargo test -p yurt-conformance --test contract swap_drill -- --nocapture {{ARGS}}

# Ten thousand unplugs and replugs: each is told, nothing grows.
replugs *ARGS:
    YURT_REPLUGS=10000 cargo test -p yurt-conformance --test contract replug_drill -- --nocapture {{ARGS}}

# A thousand short tasks, 200 that want too much memory, 500 one after the other: no exit lost, nothing left. Root.
tasks *ARGS:
    YURT_SHORT_TASKS=1000 YURT_HUNGRY_TASKS=200 YURT_CYCLES=500 cargo test -p yurt-conformance --test driver many:: -- {{ARGS}}

# Ten thousand short tasks and 200 long ones while plugins, keepers and agents are killed, a process id that goes round 65536 times, a reboot. Root, Go: an hour.
chaos:
    YURT_CHAOS_SHORT=10000 YURT_CHAOS_LONG=200 cargo test -p yurt-conformance --test driver l10_ -- --nocapture
    YURT_RECYCLED=65536 cargo test -p yurt-task --test task recycled -- --nocapture
    YURT_CHAOS_AGENTS=10 YURT_CHAOS_KILLS=60 YURT_TEST_TIMEOUT=60m tests/agent/run.sh -run TestAgentsPluginsAndKeepers
    tests/vm/run.sh reboot

# What a hostile task achieves under Yurt's drivers and under Nomad's exec, in the VM, line by line.
hostile:
    tests/vm/run.sh hostile

# All that CI runs.
ci:
    .ci/run
