//! The bindings for C and Go in the repository are those that the generators make of the contract, to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

/// Compares what is in `<folder>/bindings` with what would be generated; other languages have none.
pub(crate) fn checked(folder: &Path, language: &str) -> anyhow::Result<()> {
    let mut generator: Box<dyn WorldGenerator> = match language {
        "c" => {
            wit_bindgen_c::Opts { rename_world: Some("guest".into()), rename: renamed(), ..Default::default() }.build()
        }
        "go" => wit_bindgen_go::Opts { pkg_name: Some("shelf/bindings".into()), ..Default::default() }.build(),
        _ => return Ok(()),
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(folder.join("wit/0.1.0"))?;
    let world = resolve.select_world(&[package], Some("usb-plugin"))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    let made: BTreeMap<String, Vec<u8>> = files.iter().map(|(name, text)| (name.to_owned(), text.to_vec())).collect();
    let bindings = folder.join("bindings");
    for (name, text) in &made {
        let file = bindings.join(name);
        if std::env::var_os("YURT_WRITE").is_some() {
            fs::write(&file, text)?;
        }
        if fs::read(&file).with_context(|| file.display().to_string())? != *text {
            bail!("{} is not what the generator makes: YURT_WRITE=1 makes it anew", file.display());
        }
    }
    println!("✓ {} files of bindings are what the generator makes", made.len());
    Ok(())
}

fn renamed() -> Vec<(String, String)> {
    [("usb-policy", "policy"), ("usb", "usb"), ("common", "common"), ("log", "log")]
        .map(|(interface, name)| (format!("yurt:plugin/{interface}@0.1.0"), name.to_owned()))
        .into()
}
