//! Profiles of operators, in the format that container engines use: JSON with `defaultAction` and `syscalls`.
//!
//! The format is that of the OCI runtime specification with what Docker and Podman add (`includes`, `excludes`, `archMap`). It means here what
//! it means there, where `libseccomp` makes the filter:
//!
//! - A rule without `args` decides about its calls alone; of several the first counts.
//! - Of rules with `args` one that fits is enough. In one rule all of its `args` have to fit; but if two of them are about the same argument,
//!   each is a rule by itself. Where rules that differ fit both, the stricter one counts: `libseccomp` promises nothing there.
//! - What no rule fits gets `defaultAction`. A rule whose action is that one says nothing.
//! - Arguments are compared as unsigned numbers of 64 bits.
//!
//! Different is what has to do with the machine: `architectures` and `archMap` add none to it, so programs of 32 bits are killed; and capabilities are
//! those that the task really has. A key that is not known is an error, since whoever wrote it meant something by it.

use rustix::thread::CapabilitySet;
use seccompiler::sock_filter;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::answer::Answer;
use super::calls;
use super::condition::{Comparison, Condition};
use super::program::{self, Calls};
use super::release::Release;

/// What is called without which no task starts, or its init cannot do its work: the filter holds for both, from before the program runs.
const NEEDED: &[&str] = &[
    "brk",
    "chdir",
    "close",
    "close_range",
    "execve",
    "exit_group",
    "mmap",
    "munmap",
    "ppoll",
    "pidfd_send_signal",
    "prctl",
    "read",
    "recvfrom",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendmsg",
    "wait4",
    "waitid",
    "write",
];

/// Names of this machine where a profile tells machines apart.
const MACHINE: &[&str] = if cfg!(target_arch = "x86_64") {
    &["amd64", "x86_64", "SCMP_ARCH_X86_64"]
} else {
    &["arm64", "aarch64", "SCMP_ARCH_AARCH64"]
};

/// Which system calls are allowed and what happens to others, by an operator's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    default: Answer,
    rules: Vec<Rule>,
    unknown: Vec<String>,
}

/// What an entry of `syscalls` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    calls: Vec<u32>,
    answer: Answer,
    /// One of them fits; none: always.
    alternatives: Vec<Vec<Condition>>,
    includes: Circumstances,
    excludes: Circumstances,
}

/// When a rule counts at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Circumstances {
    /// Those of each.
    capabilities: Vec<CapabilitySet>,
    kernel: Option<Release>,
    machines: Vec<String>,
}

impl Profile {
    /// Reads a profile. The error says where in it something is wrong.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let written: Written = serde_json::from_str(text).map_err(|why| why.to_string())?;
        named(written.default_errno.as_deref(), written.default_errno_ret, "defaultErrno")?;
        let default = Answer::of(&written.default_action, written.default_errno_ret)
            .map_err(|why| format!("defaultAction: {why}"))?;
        let mut unknown = Vec::new();
        let mut rules = Vec::new();
        for (at, entry) in written.syscalls.unwrap_or_default().into_iter().enumerate() {
            let about = entry.about();
            rules.push(entry.rule(&mut unknown).map_err(|why| format!("syscalls[{at}]{about}: {why}"))?);
        }
        let profile = Profile { default, rules, unknown };
        for held in [CapabilitySet::empty(), CapabilitySet::all()] {
            profile.starts_tasks(held)?;
            profile.program(held)?;
        }
        Ok(profile)
    }

    /// Names in it that are no system calls of this machine, which nothing is made of.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The filter for a task that holds these capabilities.
    pub(crate) fn program(&self, held: CapabilitySet) -> Result<Vec<sock_filter>, String> {
        program::of(self.default, &self.calls(held))
    }

    /// Nothing is left of rules that do not count for such a task on this kernel.
    fn calls(&self, held: CapabilitySet) -> Calls {
        let kernel = Release::running();
        let mut calls = Calls::default();
        let count = |rule: &&Rule| rule.answer != self.default && rule.counts(held, kernel);
        for rule in self.rules.iter().filter(count) {
            for call in &rule.calls {
                calls.add(*call, rule.answer, &rule.alternatives);
            }
        }
        calls
    }

    fn starts_tasks(&self, held: CapabilitySet) -> Result<(), String> {
        let calls = self.calls(held);
        let needed = NEEDED.iter().filter_map(|name| calls::number(name));
        let refused = needed.filter(|call| !calls.may_pass(*call, self.default));
        let refused: Vec<&str> = refused.map(calls::name).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(format!("it refuses {}, without which no task starts or ends as it should: allow them", refused.join(", ")))
    }
}

impl Rule {
    fn counts(&self, held: CapabilitySet, kernel: Release) -> bool {
        let Circumstances { capabilities, kernel: least, machines } = &self.includes;
        let ours = |machines: &[String]| machines.iter().any(|name| MACHINE.contains(&name.as_str()));
        let included = capabilities.iter().all(|one| held.contains(*one))
            && least.is_none_or(|least| kernel >= least)
            && (machines.is_empty() || ours(machines));
        let Circumstances { capabilities, kernel: least, machines } = &self.excludes;
        let excluded = capabilities.iter().any(|one| held.contains(*one))
            || least.is_some_and(|least| kernel >= least)
            || ours(machines);
        included && !excluded
    }
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(rename = "architectures")]
    _architectures: Option<IgnoredAny>,
    #[serde(rename = "archMap")]
    _arch_map: Option<IgnoredAny>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<IgnoredAny>,
    includes: Option<When>,
    excludes: Option<When>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct When {
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
    arches: Option<Vec<String>>,
}

impl Entry {
    /// Its first call, for people who look for it.
    fn about(&self) -> String {
        let first = self.name.as_ref().or_else(|| self.names.as_ref()?.first());
        first.map(|name| format!(" ({name})")).unwrap_or_default()
    }

    fn rule(self, unknown: &mut Vec<String>) -> Result<Rule, String> {
        named(self.errno.as_deref(), self.errno_ret, "errno")?;
        let names = match (self.name.filter(|name| !name.is_empty()), self.names.unwrap_or_default()) {
            (Some(_), names) if !names.is_empty() => {
                return Err("name and names: one of them says what it is".to_owned());
            }
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        let mut calls = Vec::new();
        for name in names {
            match calls::number(&name) {
                Some(number) => calls.push(number),
                None => unknown.push(name),
            }
        }
        Ok(Rule {
            calls,
            answer: Answer::of(&self.action, self.errno_ret)?,
            alternatives: alternatives(self.args.unwrap_or_default())?,
            includes: self.includes.unwrap_or_default().circumstances().map_err(|why| format!("includes.{why}"))?,
            excludes: self.excludes.unwrap_or_default().circumstances().map_err(|why| format!("excludes.{why}"))?,
        })
    }
}

/// Podman writes the name of an error beside its number, which says enough.
fn named(name: Option<&str>, number: Option<u32>, key: &str) -> Result<(), String> {
    match (name.filter(|name| !name.is_empty()), number) {
        (Some(name), None) => Err(format!("{key} = {name:?} is a name: say the error's number, as {key}Ret")),
        _ => Ok(()),
    }
}

fn alternatives(arguments: Vec<Argument>) -> Result<Vec<Vec<Condition>>, String> {
    let mut conditions = Vec::new();
    for (at, Argument { index, value, value_two, op }) in arguments.into_iter().enumerate() {
        let comparison = Comparison::of(&op, value, value_two.unwrap_or_default());
        let comparison = comparison.ok_or_else(|| format!("args[{at}].op = {op:?} is no comparison"))?;
        if index > 5 {
            return Err(format!("args[{at}].index = {index}: a call has arguments 0 to 5"));
        }
        conditions.push(Condition { argument: index, comparison });
    }
    let twice = |one: &Condition| conditions.iter().filter(|other| other.argument == one.argument).count() > 1;
    Ok(match conditions.as_slice() {
        [] => Vec::new(),
        several if several.iter().any(twice) => several.iter().map(|one| vec![*one]).collect(),
        all => vec![all.to_vec()],
    })
}

impl When {
    fn circumstances(self) -> Result<Circumstances, String> {
        let capability = |name: &String| {
            let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
            known.ok_or_else(|| format!("caps: {name:?} is no capability"))
        };
        let kernel = self.min_kernel.filter(|text| !text.is_empty()).map(|text| {
            Release::parse(&text).ok_or_else(|| format!("minKernel = {text:?} is no version such as \"4.8\""))
        });
        Ok(Circumstances {
            capabilities: self.caps.unwrap_or_default().iter().map(capability).collect::<Result<_, _>>()?,
            kernel: kernel.transpose()?,
            machines: self.arches.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
