//! From a core WebAssembly module, which is what linkers of C and Go make, to a component.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// `world`: the folder of the contract and the name of the world, for modules that do not say themselves what they implement.
pub(super) fn component(mut module: Vec<u8>, world: Option<(&Path, &str)>) -> anyhow::Result<Vec<u8>> {
    if let Some((contract, world)) = world {
        let mut resolve = Resolve::default();
        let read = resolve.push_path(contract).and_then(|(package, _)| resolve.select_world(&[package], Some(world)));
        let world = read.map_err(|why| anyhow!("{}: {why:#}", contract.display()))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|why| anyhow!("{why:#}"))?;
    }
    // The adapter turns what a C library asks of WASI's first version into the second; what is not asked for is left out.
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|why| anyhow!("{why:#}"))
        .context("the module cannot be made a component")
}
