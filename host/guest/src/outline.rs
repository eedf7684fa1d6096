//! What a component is from outside, read without compiling anything: its world, its version, what it asks for.

use std::fmt;

use semver::Version;
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use crate::error::LoadCause;
use crate::journal::clean;
use crate::wasi;
use crate::worlds::{Contract, NEWEST};

/// Imports, and exports, that a component may have: ten times what the largest toolchain asks for.
const NAMES: usize = 512;
/// Names listed before a sentence gets too long.
const LISTED: usize = 8;

/// What a guest decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// USB devices: which are offered, and what a reservation hands out.
    UsbPlugin,
    /// Tasks: how one kind of them is described, checked and launched.
    DriverPlugin,
}

impl World {
    /// The interface that a component of this world exports.
    fn interface(self) -> &'static str {
        match self {
            World::UsbPlugin => "yurt:plugin/usb-policy",
            World::DriverPlugin => "yurt:plugin/driver",
        }
    }

    /// What Nomad calls a plugin whose guest is of this world.
    fn plugin(self) -> &'static str {
        match self {
            World::UsbPlugin => "a device plugin",
            World::DriverPlugin => "a task driver",
        }
    }

    /// The sentence that refuses a guest of this world, of that `version` of the contract, where one of the `other` world is needed.
    pub(crate) fn not(self, version: &Version, other: World) -> LoadCause {
        LoadCause::World(format!(
            "it is {}'s guest (exports {}@{version}, world {self}), but {} needs {} (world {other})",
            self.plugin(),
            self.interface(),
            other.plugin(),
            other.spoken()
        ))
    }

    /// The interface with the versions of it that this host speaks.
    fn spoken(self) -> String {
        format!("{}@{}.{}", self.interface(), NEWEST.0, NEWEST.1)
    }
}

impl fmt::Display for World {
    /// As the WIT package names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::UsbPlugin => "usb-plugin",
            World::DriverPlugin => "driver-plugin",
        })
    }
}

/// Names on a component's outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<String>,
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// `wasi:clocks/wall-clock@0.2.6`.
    pub name: String,
    /// Who grants it.
    pub grant: Grant,
}

/// What an import amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The log: every guest has it.
    Log,
    /// Types only: no authority.
    Types,
    /// WASI, granted as empty: no files, no time, no chance.
    Empty,
    /// Nobody: the guest is refused.
    Missing,
}

impl Outline {
    pub(crate) fn of(bytes: &[u8]) -> Result<Outline, LoadCause> {
        let broken = |why: wasmparser::BinaryReaderError| LoadCause::NotAComponent(clean(&why.to_string(), 256).0);
        if !bytes.starts_with(b"\0asm") {
            return Err(LoadCause::NotAComponent(
                if bytes.is_empty() { "it is empty" } else { "it does not begin as WebAssembly does" }.into(),
            ));
        }
        let mut outline = Outline::default();
        let mut parser = Parser::new(0);
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).ok_or_else(|| LoadCause::NotAComponent("it is cut off".into()))?;
            let (consumed, payload) = match parser.parse(rest, true).map_err(broken)? {
                wasmparser::Chunk::NeedMoreData(_) => return Err(LoadCause::NotAComponent("it is cut off".into())),
                wasmparser::Chunk::Parsed { consumed, payload } => (consumed, payload),
            };
            at += consumed;
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } => return Err(LoadCause::CoreModule),
                // What is inside is the compiler's to judge.
                Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                    at = unchecked_range.end;
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let import = import.map_err(broken)?;
                        let kind = ComponentExternalKind::Instance;
                        let grant = if import.ty.kind() == kind { grant(import.name.name) } else { Grant::Missing };
                        outline.imports.push(Import { name: import.name.name.to_owned(), grant });
                        few(outline.imports.len(), "imports")?;
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        outline.exports.push(export.map_err(broken)?.name.name.to_owned());
                        few(outline.exports.len(), "exports")?;
                    }
                }
                Payload::End(_) => return Ok(outline),
                _ => {}
            }
        }
    }

    /// The world that is exported and its version, or why this is no guest for us.
    pub(crate) fn world(&self) -> Result<(World, Version), LoadCause> {
        let exported = |world: World| {
            let exports = self.exports.iter().filter_map(|name| split(name));
            exports.filter(|(name, _)| *name == world.interface()).map(|(_, version)| version).collect::<Vec<_>>()
        };
        let (usb, driver) = (exported(World::UsbPlugin), exported(World::DriverPlugin));
        let (world, versions) = match (usb.is_empty(), driver.is_empty()) {
            (false, true) => (World::UsbPlugin, usb),
            (true, false) => (World::DriverPlugin, driver),
            (false, false) => {
                return Err(LoadCause::World(format!(
                    "it exports {}, but a guest is of one world: {} or {}",
                    list(&self.exports),
                    World::UsbPlugin,
                    World::DriverPlugin
                )));
            }
            (true, true) => {
                return Err(LoadCause::World(format!(
                    "it exports {}, but a device plugin needs {} (world {}) and a task driver {} (world {})",
                    list(&self.exports),
                    World::UsbPlugin.spoken(),
                    World::UsbPlugin,
                    World::DriverPlugin.spoken(),
                    World::DriverPlugin
                )));
            }
        };
        if let Some(version) = versions.iter().find(|version| Contract::of(version).is_some()) {
            return Ok((world, version.clone()));
        }
        let newer = versions.iter().any(|other| (other.major, other.minor) > NEWEST);
        let advice = if newer {
            "a newer Yurt is needed, or a build against the older contract"
        } else {
            "build it against wit/0.1.0"
        };
        let other = versions.iter().map(|version| format!("{}@{version}", world.interface())).collect::<Vec<_>>();
        Err(LoadCause::World(format!(
            "it exports {}, but this Yurt speaks {} (world {world}): {advice}",
            list(&other),
            world.spoken()
        )))
    }

    /// Every import has a grant, or the sentence that names those without.
    pub(crate) fn granted(&self) -> Result<(), LoadCause> {
        let missing: Vec<String> = self
            .imports
            .iter()
            .filter(|import| import.grant == Grant::Missing)
            .map(|import| import.name.clone())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let its = if missing.len() == 1 { "a grant of it" } else { "grants of them" };
        Err(LoadCause::Import(format!(
            "it imports {}, and {its} would have to exist: a guest may import yurt:plugin/log@0.1 and, empty, wasi:{{{}}}@0.2, nothing else",
            list(&missing),
            wasi::PACKAGES.join(",")
        )))
    }
}

/// Names are compared with each other and with the contract's, so there is an end to them.
fn few(names: usize, what: &str) -> Result<(), LoadCause> {
    if names <= NAMES {
        return Ok(());
    }
    Err(LoadCause::NotAComponent(format!("it has more than {NAMES} {what}, and no guest needs so many")))
}

/// `a:b/c@1.2.3` in its two parts.
fn split(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.split_once('@')?;
    Some((interface, Version::parse(version).ok()?))
}

fn grant(name: &str) -> Grant {
    let Some((interface, version)) = split(name) else { return Grant::Missing };
    if let Some(ours) = interface.strip_prefix("yurt:plugin/") {
        return match ours {
            _ if Contract::of(&version).is_none() => Grant::Missing,
            "log" => Grant::Log,
            "common" | "usb" => Grant::Types,
            _ => Grant::Missing,
        };
    }
    let package = interface.strip_prefix("wasi:").and_then(|rest| rest.split('/').next());
    match package {
        Some(package)
            if wasi::PACKAGES.contains(&package)
                && (version.major, version.minor) == (0, 2)
                && version.pre.is_empty() =>
        {
            Grant::Empty
        }
        _ => Grant::Missing,
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| clean(name, 128).0).collect();
    let more = names.len().saturating_sub(LISTED);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}
