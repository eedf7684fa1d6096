//! Compiles the protocol definitions of `proto/go-plugin` without `protoc`.

use std::path::Path;

const FILES: [&str; 3] = ["broker", "controller", "stdio"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: checkouts that share a target folder share this program.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join("go-plugin").display());
    let files = protox::compile(FILES.map(|name| format!("go-plugin/{name}.proto")), [root])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
