//! One module per version of the WIT package. A guest is called in the version that it was built for; everybody else in this crate, and
//! above it, speaks the newest.
//!
//! When a field is added, the WIT files are copied to a folder of the new version, the old folder is left as it is for ever, and the old
//! version's module keeps its bindings and converts ([`converted`]): what a guest does not know is not told to it, and what
//! it does not say is `none`. So a field is added to an argument as any type, and to an answer as an `option`. [`Contract`] and
//! [`usb::Usb`] get a case. `v0_0_9` is such a version that never was: it keeps all this in use, for tests.

pub(crate) mod usb;
#[cfg(test)]
mod v0_0_9;
pub(crate) mod v0_1_0;

use semver::Version;
use serde::{Serialize, de::DeserializeOwned};
use wasmtime::component::{HasSelf, Linker};

use crate::notation;
use crate::state::State;

/// The versions of `yurt:plugin` that guests may have been built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    V0_1,
    #[cfg(test)]
    V0_0,
}

/// Major and minor number of the newest.
pub(crate) const NEWEST: (u64, u64) = (0, 1);

impl Contract {
    pub(crate) fn of(version: &Version) -> Option<Contract> {
        match (version.major, version.minor) {
            _ if !version.pre.is_empty() => None,
            NEWEST => Some(Contract::V0_1),
            #[cfg(test)]
            (0, 0) => Some(Contract::V0_0),
            _ => None,
        }
    }
}

/// The log, in every version.
pub(crate) fn add_log_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    #[cfg(test)]
    v0_0_9::bindings::yurt::plugin::log::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    v0_1_0::bindings::yurt::plugin::log::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// The same record in another version: by the names of fields and cases, and without loss.
#[allow(dead_code)]
fn converted<Theirs: Serialize + ?Sized, Ours: DeserializeOwned>(theirs: &Theirs) -> wasmtime::Result<Ours> {
    let other = |why: serde_json::Error| wasmtime::Error::msg(format!("it has no form in another version: {why}"));
    notation::from_json(notation::to_json(theirs).map_err(other)?).map_err(other)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use wit_parser::{Resolve, SizeAlign, Type};

    use crate::make::Guest;
    use crate::trial::usb::snapshot;
    use crate::{Options, Runtime, Source, Stage, Trial};

    const WIT: [&str; 2] = ["../../wit/0.1.0", "tests/older"];

    /// As if it had been frozen before the newest got the fields that are missing there.
    #[test]
    fn the_older_version_is_the_newest_without_two_fields() {
        const ADDED: [&str; 2] = [
            "        /// Facts that this version has no field for, by name.\n        extra: list<tuple<string, string>>,\n",
            "        ask-again-milliseconds: option<u32>,\n",
        ];
        let mut added = 0;
        for file in ["common.wit", "usb.wit", "usb-policy.wit"] {
            let [newest, older] = WIT.map(|dir| fs::read_to_string(Path::new(dir).join(file)).unwrap());
            let mut expected = newest.replace("yurt:plugin@0.1.0", "yurt:plugin@0.0.9");
            for field in ADDED {
                added += expected.matches(field).count();
                expected = expected.replace(field, "");
            }
            assert_eq!(older, expected, "{file}");
        }
        assert_eq!(added, 2);
    }

    /// Remembers the name of the second device: where that lies says in which version the list came.
    fn guest(version: &str, dir: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        resolve.push_dir(dir).unwrap();
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        let device = resolve.types.iter().find(|(_, of)| of.name.as_deref() == Some("usb-device")).unwrap().0;
        let size = sizes.size(&Type::Id(device)).size_wasm32();
        let text = format!(
            "(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
              (if (i32.eq (local.get 4) (i32.const 2)) (then
                (i32.store (i32.const 268) (i32.const 1))
                (i32.store (i32.const 272) (i32.load (i32.add (local.get 3) (i32.const {size}))))
                (i32.store (i32.const 276) (i32.load offset=4 (i32.add (local.get 3) (i32.const {size}))))))
              (i32.const 256))"
        );
        Guest::new(&text).of_version(version)
    }

    #[test]
    fn a_guest_of_an_older_version_is_served_as_one_of_the_newest() {
        let runtime = Runtime::new(Options::default()).unwrap();
        for (version, dir) in ["0.1.0", "0.0.9"].into_iter().zip(WIT) {
            let source = Source::Embedded { name: "test", bytes: guest(version, dir).leak() };
            let policy = runtime.open(&source).unwrap().activate(&Trial::default()).unwrap();
            assert_eq!(policy.contract().to_string(), version);
            let offer = policy.group("{}", &snapshot(), None).unwrap().unwrap();
            assert_eq!((offer.memory.as_deref(), offer.ask_again_milliseconds), (Some("usb1"), None), "{version}");
            assert_eq!(policy.check_config("{}").unwrap(), []);
            assert_eq!(policy.stats("{}", &[], &[]).unwrap(), Ok(Vec::new()));
        }
    }

    #[test]
    fn the_older_name_with_the_newest_types_is_refused() {
        let mut component = Guest::quiet().component();
        // The same length, so nothing else moves.
        for at in 0..component.len() - 5 {
            if component[at..].starts_with(b"@0.1.0") {
                component[at..at + 6].copy_from_slice(b"@0.0.9");
            }
        }
        let runtime = Runtime::new(Options::default()).unwrap();
        let why = runtime.open(&Source::Embedded { name: "test", bytes: component.leak() }).unwrap_err();
        assert_eq!(why.stage, Stage::Describe, "{why}");
        assert!(why.to_string().contains("expected record of 24 fields, found 25 fields"), "{why}");
    }
}
