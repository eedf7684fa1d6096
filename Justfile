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
    cargo deny --offline check bans licenses sources
    cargo machete

# The guests as components, in guests/target/components.
guests:
    guests/build.sh

# Fake USB buses in namespaces: the real binary, real libusb, uevents broadcast by the kernel. Root or user namespaces.
rig *ARGS:
    tests/rig/run.sh {{ARGS}}

# A real Nomad agent with the demo's agent file and jobs. Root, Go.
agent *ARGS:
    tests/agent/run.sh {{ARGS}}

# The task driver's tests in a VM with control groups v2 and Debian's kernel, under emulation. Debian's apt; no root, no KVM.
vm *ARGS:
    tests/vm/run.sh {{ARGS}}

# Side by side with Nomad's own example plugin, and the cost of a policy call beside bare wasmtime.
bench *ARGS:
    benches/run.sh {{ARGS}}

# Fuzz every parser of foreign bytes for SECONDS each.
fuzz SECONDS="600":
    fuzz/run.sh {{SECONDS}}

# All that CI runs.
ci:
    .ci/run
