//! Compiles the protocol definitions of `proto/nomad` without `protoc`.

use std::path::Path;

const FILES: [&str; 7] = ["attribute", "base", "device", "driver", "hclspec", "recoverable_error", "stats"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: checkouts that share a target folder share this program.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join("nomad").display());
    let files = protox::compile(FILES.map(|name| format!("nomad/{name}.proto")), [root])?;
    // Maps sorted by key: the same facts are always the same bytes.
    tonic_prost_build::configure().btree_map(".").include_file("nomad.rs").compile_fds(files)?;
    Ok(())
}
