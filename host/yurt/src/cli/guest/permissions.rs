//! What a guest asks for, as permissions: its imports, each granted always, granted with nothing behind it, or refused; and of a task
//! driver, what it wants to look at on a node, with the grant in HCL that an operator would paste.

use yurt_guest::driver::Probe;
use yurt_guest::{Grant, Import};

use crate::choice::{Driver, Plugin};
use crate::driver::config::DriverConfig;
use crate::driver::look::Place;

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Permission<'a> {
    pub(super) interface: &'a str,
    /// What the guest can do by it.
    pub(super) allows: &'static str,
    /// `always`, `empty` or `refused`.
    pub(super) granted: &'static str,
}

pub(super) fn of(import: &Import) -> Permission<'_> {
    let granted = match import.grant {
        Grant::Log | Grant::Types => "always",
        Grant::Empty => "empty",
        Grant::Missing => "refused",
    };
    Permission { interface: &import.name, allows: allows(import), granted }
}

fn allows(import: &Import) -> &'static str {
    match import.grant {
        Grant::Log => return "lines in the plugin's log, bounded",
        Grant::Types => return "names of types, nothing that can be called",
        Grant::Missing => return "nothing that there is a grant of",
        Grant::Empty => {}
    }
    let interface = import.name.split('@').next().unwrap_or_default();
    match interface.strip_prefix("wasi:").unwrap_or_default().split_once('/') {
        Some(("cli", "environment")) => "no variables, no arguments, no directory",
        Some(("cli", "exit")) => "ending its own call, as a failure",
        Some(("cli", "stdin")) => "an input that is at its end",
        Some(("cli", "stdout" | "stderr")) => "lines in the plugin's log, bounded",
        Some(("cli", _)) => "no terminal",
        Some(("clocks", _)) => "clocks that stand still",
        Some(("filesystem", _)) => "no files and no directories",
        Some(("io", _)) => "streams, with nothing behind them",
        Some(("random", _)) => "numbers that repeat",
        Some(("sockets", _)) => "no network and no names",
        _ => "nothing",
    }
}

/// What this guest needs in the host's block beside the defaults; none: nothing. Of a driver it is what its probes want; what the plan of
/// a job asks for depends on the job, and is refused by name where it is not granted.
pub(super) fn grant(plugin: &Plugin) -> Option<String> {
    match plugin {
        // A policy gets facts and answers by ids: there is nothing to be granted.
        Plugin::Device(_) => None,
        Plugin::Driver(driver) => {
            let probes = driver.logic.probes(&driver.defaults.guest).unwrap_or_default();
            of_driver(driver, &probes)
        }
    }
}

fn of_driver(driver: &Driver, probes: &[Probe]) -> Option<String> {
    let block = &driver.defaults.host.block;
    let (programs, files) = beyond(&driver.logic.about().name, block, probes);
    let list = |key: &str, entries: &[String]| format!("    {key} = [{}]\n", quoted(entries).join(", "));
    let mut grants = String::new();
    if let Some(programs) = programs {
        grants += &list("programs", &programs);
    }
    if let Some(files) = files {
        grants += &list("files   ", &files);
    }
    (!grants.is_empty()).then(|| format!("yurt {{\n  grants {{\n{grants}  }}\n}}"))
}

/// Of programs and of files: what is granted anyway and what the probes want beside it, if they want more.
fn beyond(name: &str, block: &DriverConfig, probes: &[Probe]) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let place = Place::node(name, &block.grants);
    let (mut programs, mut files) = (place.granted_programs().to_vec(), block.grants.files.clone());
    let (before, files_before) = (programs.len(), files.len());
    for wanted in probes.iter().filter_map(|probe| place.lacks(&probe.look)) {
        let list = if wanted.program { &mut programs } else { &mut files };
        if !list.contains(&wanted.what) {
            list.push(wanted.what);
        }
    }
    let more = |list: Vec<String>, before: usize| (list.len() > before).then_some(list);
    (more(programs, before), more(files, files_before))
}

/// As HCL writes texts: what begins an interpolation would be one.
fn quoted(entries: &[String]) -> Vec<String> {
    let text = |entry: &String| format!("{entry:?}").replace("${", "$${").replace("%{", "%%{");
    entries.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yurt_guest::driver::Look;

    fn probe(look: Look) -> Probe {
        Probe { id: "x".to_owned(), look }
    }

    #[test]
    fn what_the_defaults_allow_needs_no_grant() {
        let block = DriverConfig::default();
        let probes = [
            probe(Look::Programs("python3*".to_owned())),
            probe(Look::Run(vec!["python3".to_owned(), "-V".to_owned()])),
            probe(Look::Stat("/usr/bin/python3".to_owned())),
            probe(Look::Read("/etc/os-release".to_owned())),
        ];
        assert_eq!(beyond("python", &block, &probes), (None, None));
    }

    #[test]
    fn what_goes_beyond_is_named_beside_what_is_granted_anyway() {
        let block = DriverConfig::default();
        let probes = [
            probe(Look::Programs("java*".to_owned())),
            probe(Look::Run(vec!["/opt/acme/bin/acme".to_owned()])),
            probe(Look::Run(vec!["/opt/acme/bin/acme".to_owned()])),
            probe(Look::Read("/etc/acme.conf".to_owned())),
        ];
        let (programs, files) = beyond("python", &block, &probes);
        assert_eq!(programs.unwrap(), ["python*", "java*", "/opt/acme/bin/acme"]);
        assert_eq!(files.unwrap(), ["/etc/os-release", "/usr/lib/os-release", "/etc/acme.conf"]);
    }
}
