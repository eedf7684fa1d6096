//! Which guest a launch serves: `--guest NAME|FILE`, else the plugin's own file name, so that a link called
//! `example-device` or `usb` needs no arguments; and what happens when that guest cannot be loaded.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use yurt_guest::{
    Compiler, DriverLogic, DriverTrial, Limits, LoadError, Loaded, Options, Runtime, Source, Trial, UsbPolicy, World,
};
use yurt_nomad::config::from_msgpack;
use yurt_nomad::schema::Spec;

use crate::exchange::{Kept, Known};
use crate::pin::Pin;
use crate::places::Places;
use crate::{device_plugin, driver_plugin, host_config};

/// A guest inside this binary, and the file names that stand for it.
struct BuiltIn {
    name: &'static str,
    file_names: &'static [&'static str],
    component: &'static [u8],
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "usb",
        file_names: &["usb", "yurt-usb", "yurt", "example-device"],
        component: include_bytes!(env!("YURT_GUEST_USB")),
    },
    BuiltIn {
        name: "python",
        file_names: &["python", "yurt-python", "python-driver"],
        component: include_bytes!(env!("YURT_GUEST_PYTHON")),
    },
    // Not `exec`, not `raw_exec`, not `java`: agents would give the file's stanza to their own driver of that name, too.
    BuiltIn { name: "exec", file_names: &["yurt-exec"], component: include_bytes!(env!("YURT_GUEST_EXEC")) },
    BuiltIn {
        name: "raw-exec",
        file_names: &["yurt-raw-exec"],
        component: include_bytes!(env!("YURT_GUEST_RAW_EXEC")),
    },
    BuiltIn { name: "java", file_names: &["yurt-java"], component: include_bytes!(env!("YURT_GUEST_JAVA")) },
    BuiltIn { name: "wasi", file_names: &["wasi", "yurt-wasi"], component: include_bytes!(env!("YURT_GUEST_WASI")) },
];

/// How this process was called.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// Last component of `argv[0]`: the agent's stanza key.
    pub(crate) file_name: String,
    /// The directory that `argv[0]` names, made absolute but not resolved: the agent's `plugin_dir`.
    pub(crate) plugin_dir: PathBuf,
}

impl Named {
    /// From `argv[0]`, which the agent sets to `<plugin_dir>/<file>` without following links.
    pub(crate) fn from_argv0(argv0: Option<OsString>) -> Named {
        let path = argv0.map(PathBuf::from).unwrap_or_else(|| PathBuf::from("yurt"));
        let file_name = path.file_name().map_or_else(|| "yurt".to_owned(), |name| name.to_string_lossy().into_owned());
        let dir = path.parent().unwrap_or(Path::new(""));
        Named { file_name, plugin_dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()) }
    }
}

/// Where the guest comes from, by argument or by name.
pub(crate) fn source(named: &Named, argument: Option<&str>) -> Result<Source, String> {
    let wanted = argument.unwrap_or(&named.file_name);
    if let Some(found) = built_in(wanted, argument.is_none()) {
        return Ok(found);
    }
    if argument.is_some() {
        let path = Path::new(wanted);
        if path.components().count() > 1 || wanted.ends_with(".wasm") {
            return Ok(Source::File(named.plugin_dir.join(path)));
        }
        return Err(format!(
            "--guest {wanted}: no guest of that name is built in ({}); a file is given by its path",
            BUILT_IN.iter().map(|guest| guest.name).collect::<Vec<_>>().join(", ")
        ));
    }
    let beside = named.plugin_dir.join(format!("{wanted}.wasm"));
    if beside.exists() {
        return Ok(Source::File(beside));
    }
    Err(format!(
        "a plugin file called {wanted:?} stands for no guest: call it one of {}, put {wanted}.wasm beside it, or set args = [\"--guest\", …] in its stanza",
        BUILT_IN.iter().flat_map(|guest| guest.file_names).copied().collect::<Vec<_>>().join(", ")
    ))
}

/// A guest by its name, or by a file name that stands for it.
pub(crate) fn built_in(wanted: &str, by_file_name: bool) -> Option<Source> {
    BUILT_IN
        .iter()
        .find(|guest| if by_file_name { guest.file_names.contains(&wanted) } else { guest.name == wanted })
        .map(|guest| Source::Embedded { name: guest.name, bytes: guest.component })
}

/// The guest that serves.
pub(crate) struct Chosen {
    pub(crate) plugin: Plugin,
    /// Why it is not the one that was asked for, if it is not.
    pub(crate) instead_of: Option<String>,
    /// How that one was read.
    pub(crate) known: Option<Known>,
}

/// What it serves as: its world decides.
pub(crate) enum Plugin {
    Device(Box<Device>),
    Driver(Box<Driver>),
}

/// A guest that offers devices.
pub(crate) struct Device {
    pub(crate) policy: UsbPolicy,
    /// Its own keys.
    pub(crate) keys: Spec,
    /// The same with the host's block beside them.
    pub(crate) schema: Spec,
    /// What that schema makes of no configuration.
    pub(crate) defaults: device_plugin::Config,
}

/// A guest that plans tasks.
pub(crate) struct Driver {
    pub(crate) logic: DriverLogic,
    /// Its own keys.
    pub(crate) keys: Spec,
    /// The same with the host's block beside them.
    pub(crate) schema: Spec,
    /// Of a job's `config` block.
    pub(crate) task_schema: Spec,
    /// What the schema makes of no configuration.
    pub(crate) defaults: driver_plugin::Config,
}

impl Plugin {
    /// Check sum of the guest.
    pub(crate) fn digest(&self) -> &str {
        match self {
            Plugin::Device(device) => device.policy.digest(),
            Plugin::Driver(driver) => driver.logic.digest(),
        }
    }
}

/// Loads the guest through every stage. One that cannot be loaded, is not the pinned one, was rolled back, or waits for approval, gives way
/// to the last good one of this plugin file; if there never was one, the error is the one sentence with which the plugin refuses to start.
pub(crate) fn load(runtime: &Runtime, source: &Source, places: &Places, pin: Option<&Pin>) -> Result<Chosen, String> {
    let kept = Kept::open(places);
    let why = match admitted(runtime, source, pin, |digest| kept.objection(digest)) {
        Ok((plugin, source, known)) => {
            kept.serves(&source, plugin.digest());
            return Ok(Chosen { plugin, instead_of: None, known: Some(known) });
        }
        Err(why) => why,
    };
    let last = places.last_good_guest();
    if !last.exists() {
        return Err(why);
    }
    match admitted(runtime, &Source::File(last), pin, |_| None) {
        Ok((plugin, ..)) => Ok(Chosen { plugin, instead_of: Some(why), known: None }),
        Err(second) => Err(format!("{why}; and the last good guest cannot serve either: {second}")),
    }
}

/// A guest with the pinned digest: the file's, or the last good one. None: there is none, or it cannot serve.
pub(crate) fn pinned(runtime: &Runtime, source: &Source, places: &Places, pin: &Pin) -> Option<Plugin> {
    let last = Source::File(places.last_good_guest());
    [source, &last].into_iter().find_map(|source| {
        let read = runtime.read(source).ok().filter(|read| read.digest().as_deref() == Some(pin.digest()))?;
        activate(runtime, &read).inspect_err(|why| tracing::error!("{why}")).ok()
    })
}

fn admitted(
    runtime: &Runtime,
    source: &Source,
    pin: Option<&Pin>,
    objection: impl FnOnce(&str) -> Option<String>,
) -> Result<(Plugin, Source, Known), String> {
    let (source, known) = Known::read(runtime, source).map_err(|why| why.to_string())?;
    let objection = || if matches!(source, Source::Embedded { .. }) { None } else { objection(known.digest()) };
    if let Some(why) = pin.and_then(|pin| pin.refusal(known.digest())).or_else(objection) {
        return Err(format!("guest {} does not serve: {why}", source.origin()));
    }
    Ok((activate(runtime, &source)?, source, known))
}

/// Takes a component through every stage ahead of the plugin file that will serve it, and leaves the compiled code where that one looks:
/// an agent waits for a launch for a minute at most.
pub(crate) fn prepared(component: &Path, places: &Places) -> Result<(), String> {
    places.prepare().map_err(|why| format!("the state directory cannot be used: {why}"))?;
    let runtime = patient(Some(places.cache()))?;
    activate(&runtime, &Source::File(component.to_owned())).map(drop)
}

/// Guests run as in a plugin, and are compiled as there; but no agent waits, and the person who does can end it.
pub(crate) fn patient(cache_dir: Option<PathBuf>) -> Result<Runtime, String> {
    let limits = Limits { compile_deadline: Duration::from_secs(600), ..Limits::default() };
    let options = Options { cache_dir, compiler: Some(Compiler::this_program()), limits, ..Options::default() };
    Runtime::new(options).map_err(|why| why.to_string())
}

fn activate(runtime: &Runtime, source: &Source) -> Result<Plugin, String> {
    let loaded = runtime.open(source).map_err(|why| why.to_string())?;
    ready(loaded).map_err(|why| why.to_string())
}

/// The last stage: its schemas must be such that Nomad can be told, and it is tried with the defaults of its own.
pub(crate) fn ready(loaded: Loaded) -> Result<Plugin, NotReady> {
    let guest = loaded.guest();
    let unusable = |what, why: String| NotReady::Schema { guest: guest.clone(), what, why };
    let config = |why: String| unusable("configuration", why);
    let spec = loaded.about().config_spec.clone();
    let keys = host_config::keys_of(&spec).map_err(|why| config(why.to_string()))?;
    match loaded.world() {
        World::UsbPlugin => {
            let schema = device_plugin::schema(&spec).map_err(|why| config(why.to_string()))?;
            let defaults = device_plugin::defaults(&schema).map_err(config)?;
            let policy = loaded.activate(&Trial { config: &defaults.guest }).map_err(NotReady::Trial)?;
            Ok(Plugin::Device(Box::new(Device { policy, keys, schema, defaults })))
        }
        World::DriverPlugin => {
            let schema = driver_plugin::schema(&spec).map_err(|why| config(why.to_string()))?;
            let Some(about) = loaded.driver() else { return Err(config("it describes no driver".to_owned())) };
            let task_schema = Spec::parse(&about.task_spec).map_err(|why| unusable("task", why.to_string()))?;
            let defaults = driver_plugin::defaults(&schema, about.capabilities.isolation).map_err(config)?;
            // Where the schema asks for something, no task can be made up that is right.
            let task = from_msgpack(&[], &task_schema).ok().map(|task| task.to_string());
            let trial = DriverTrial { config: &defaults.guest, task: task.as_deref() };
            let logic = loaded.activate_driver(&trial).map_err(NotReady::Trial)?;
            Ok(Plugin::Driver(Box::new(Driver { logic, keys, schema, task_schema, defaults })))
        }
    }
}

/// Why a guest that could be loaded cannot serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("guest {guest} was not loaded: its {what} schema cannot be used: {why}")]
    Schema { guest: String, what: &'static str, why: String },
    #[error(transparent)]
    Trial(LoadError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(argv0: &str) -> Named {
        Named::from_argv0(Some(argv0.into()))
    }

    #[test]
    fn the_demo_s_file_name_stands_for_the_usb_guest() {
        for file in ["example-device", "usb", "yurt-usb", "yurt"] {
            let source = source(&named(&format!("/plugins/{file}")), None).unwrap();
            assert!(matches!(source, Source::Embedded { name: "usb", .. }), "{file}");
        }
    }

    #[test]
    fn the_demo_s_driver_stands_for_the_python_guest() {
        for file in ["python-driver", "python", "yurt-python"] {
            let source = source(&named(&format!("/plugins/{file}")), None).unwrap();
            assert!(matches!(source, Source::Embedded { name: "python", .. }), "{file}");
        }
    }

    #[test]
    fn guests_like_the_agent_s_own_drivers_are_not_called_as_those() {
        for driver in ["exec", "raw-exec", "java"] {
            let file = format!("yurt-{driver}");
            for (file, argument) in [(file.as_str(), None), ("x", Some(driver))] {
                let source = source(&named(&format!("/plugins/{file}")), argument).unwrap();
                assert!(matches!(source, Source::Embedded { name, .. } if name == driver), "{file} {argument:?}");
            }
            let why = source(&named(&format!("/plugins/{driver}")), None).unwrap_err();
            assert!(why.contains(&file), "{why}");
        }
    }

    #[test]
    fn the_wasi_driver_has_no_namesake_of_the_agent_s() {
        for (file, argument) in [("wasi", None), ("yurt-wasi", None), ("x", Some("wasi"))] {
            let source = source(&named(&format!("/plugins/{file}")), argument).unwrap();
            assert!(matches!(source, Source::Embedded { name: "wasi", .. }), "{file} {argument:?}");
        }
    }

    #[test]
    fn an_unknown_file_name_says_what_to_do() {
        let why = source(&named("/plugins/acme"), None).unwrap_err();
        assert!(why.contains("acme.wasm") && why.contains("--guest") && why.contains("example-device"), "{why}");
    }

    #[test]
    fn a_component_beside_the_plugin_file_is_its_guest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("acme.wasm"), b"\0asm").unwrap();
        let source = source(&named(&dir.path().join("acme").to_string_lossy()), None).unwrap();
        assert!(matches!(source, Source::File(path) if path == dir.path().join("acme.wasm")));
    }

    #[test]
    fn a_guest_argument_is_a_name_or_a_path() {
        let named = named("/plugins/anything");
        assert!(matches!(source(&named, Some("usb")), Ok(Source::Embedded { name: "usb", .. })));
        assert!(
            matches!(source(&named, Some("/srv/p.wasm")), Ok(Source::File(path)) if path == Path::new("/srv/p.wasm"))
        );
        assert!(
            matches!(source(&named, Some("p.wasm")), Ok(Source::File(path)) if path == Path::new("/plugins/p.wasm"))
        );
        assert!(source(&named, Some("example-device")).unwrap_err().contains("no guest of that name"));
    }

    #[test]
    fn the_plugin_dir_is_what_argv0_says_links_not_followed() {
        let named = named("/opt/nomad/plugins/usb");
        assert_eq!((named.file_name.as_str(), named.plugin_dir.as_path()), ("usb", Path::new("/opt/nomad/plugins")));
        assert_eq!(Named::from_argv0(None).file_name, "yurt");
    }
}
