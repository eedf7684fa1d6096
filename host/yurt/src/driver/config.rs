//! The `yurt { … }` block of a driver's configuration: how tasks are isolated, and what a guest's plan may ask for.

use std::time::Duration;

use serde_json::Value;
use yurt_component::Peers;
use yurt_nomad::schema::{Spec, SpecError};

use super::caps::Caps;
use super::glob;
use super::ids::{Denied, Ids};
use super::profiles::Profiles;
use super::unveil::{self, Unveiling};
use crate::host_config::{Common, duration_within, with_common};

/// The block, evaluated. Every field has a default, so an absent block is the default one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DriverConfig {
    pub(crate) common: Common,
    /// How often the node is probed anew.
    pub(crate) fingerprint_period: Duration,
    /// `None`: what the guest wants.
    pub(crate) isolation: Option<Isolation>,
    /// What of the host is in the root of a task with [`Isolation::Overlay`].
    pub(crate) host_paths: Vec<String>,
    /// What of the host every task with [`Isolation::Landlock`] may use.
    pub(crate) unveil: Vec<Unveiling>,
    /// Which system calls tasks are refused.
    pub(crate) profiles: Profiles,
    /// Ids that no task may have, whatever its guest says.
    pub(crate) denied: Denied,
    /// Variables that no task gets: globs.
    pub(crate) env_deny: Vec<String>,
    /// What becomes of tasks that no agent asks for.
    pub(crate) orphans: Orphans,
    /// How long after the plugin's start a task is one.
    pub(crate) orphans_after: Duration,
    /// What plans may ask for.
    pub(crate) grants: Grants,
    /// In order: the first that fits.
    namespaces: Vec<Namespace>,
}

/// What holds for the jobs of some of Nomad's namespaces.
#[derive(Debug, Clone, PartialEq)]
struct Namespace {
    /// A glob.
    name: String,
    /// They run nothing.
    deny: bool,
    /// Instead of those for all.
    grants: Option<Grants>,
}

/// How far a task's files are apart from the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Not at all.
    None,
    /// In the root directory that the agent fills.
    Chroot,
    /// In a root directory that shows the host's directories without a copy.
    Overlay,
    /// The host's files, as far as rules in the kernel allow.
    Landlock,
}

impl Isolation {
    const NAMES: [(&str, Isolation); 4] = [
        ("chroot", Isolation::Chroot),
        ("overlay", Isolation::Overlay),
        ("landlock", Isolation::Landlock),
        ("none", Isolation::None),
    ];

    /// As operators write it.
    pub(crate) fn name(self) -> &'static str {
        Isolation::NAMES.iter().find(|(_, isolation)| *isolation == self).map_or("", |(name, _)| name)
    }

    /// Whether tasks have a root directory of their own: else they see the host's files by the host's paths.
    pub(crate) fn has_a_root(self) -> bool {
        matches!(self, Isolation::Chroot | Isolation::Overlay)
    }
}

/// What the agent's `chroot_env` has by default.
const HOST_PATHS: [&str; 9] =
    ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/run/resolvconf", "/run/systemd/resolve", "/sbin", "/usr"];

/// What is done with a task that no agent asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// It is told of.
    Report,
    /// It is ended, too.
    Reap,
}

/// What a guest's answers are held against. Whatever is not named here is not granted.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Grants {
    /// Users that a plan may choose for a job that names none.
    pub(crate) users: Vec<String>,
    /// Tasks without isolation may run as root.
    pub(crate) root_without_isolation: bool,
    /// What a task may have beyond the default set.
    pub(crate) capabilities: Caps,
    /// Limits that a plan may set, by the kernel's name: `nofile`, `pids.max`.
    pub(crate) limits: Vec<String>,
    /// Profiles of system calls that a plan may ask for.
    pub(crate) seccomp: Vec<String>,
    /// Control groups that a task may be in instead of the agent's: globs for paths from where they are mounted.
    pub(crate) cgroups: Vec<String>,
    /// Namespaces that a task may share with the host: `pid`, `ipc`, `uts`.
    pub(crate) share: Vec<String>,
    /// Paths of the host that a task with [`Isolation::Landlock`] may ask for, with all below them.
    pub(crate) unveil: Vec<Unveiling>,
    /// Programs that may be run to look at the node: globs for a file name, or for a whole path where they hold a slash. `None`:
    /// those whose name begins with the driver's, `yurt-` aside.
    pub(crate) programs: Option<Vec<String>>,
    /// Files that may be read to look at the node, globs for whole paths.
    pub(crate) files: Vec<String>,
    /// What tasks that are components may call.
    pub(crate) connect: Vec<Peers>,
}

impl Default for DriverConfig {
    fn default() -> Self {
        DriverConfig {
            common: Common::default(),
            fingerprint_period: Duration::from_secs(30),
            isolation: None,
            host_paths: HOST_PATHS.map(str::to_owned).to_vec(),
            unveil: unveil::usual(),
            profiles: Profiles::default(),
            denied: Denied::default(),
            env_deny: Vec::new(),
            orphans: Orphans::Report,
            orphans_after: Duration::from_secs(600),
            grants: Grants {
                users: vec!["nobody".to_owned()],
                // As with Nomad's own drivers: a task sees the host's name.
                share: vec!["uts".to_owned()],
                files: vec!["/etc/os-release".to_owned(), "/usr/lib/os-release".to_owned()],
                ..Grants::default()
            },
            namespaces: Vec::new(),
        }
    }
}

/// The block's schema, to be merged with the guest's.
pub(crate) fn spec() -> Result<Spec, SpecError> {
    let mut block = Spec::parse(include_str!("config.hcldec"))?;
    if let Spec::Object(keys) = &mut block
        && let Some(grants) = keys.get("grants").cloned()
        && let Some(Spec::BlockList(namespaces)) = keys.get_mut("namespace")
        && let Spec::Object(keys) = &mut *namespaces.nested
    {
        keys.insert("grants".to_owned(), grants);
    }
    with_common(block)
}

impl DriverConfig {
    /// Reads the evaluated block; `null` is an absent one. The error names key, value and what is allowed.
    pub(crate) fn from_json(block: &Value) -> Result<DriverConfig, String> {
        let default = DriverConfig::default();
        let text = |key: &str| block.get(key).and_then(Value::as_str);
        let fingerprint_period = text("fingerprint_period").map_or(Ok(default.fingerprint_period), |given| {
            duration_within("fingerprint_period", given, Duration::from_secs(1), Duration::from_secs(3600))
        })?;
        let isolation = match text("isolation") {
            None => None,
            Some(given) => {
                let known = Isolation::NAMES.iter().find(|(name, _)| *name == given).map(|(_, isolation)| *isolation);
                Some(known.ok_or_else(|| {
                    format!("yurt.isolation = {given:?}: must be \"chroot\", \"overlay\", \"landlock\" or \"none\"")
                })?)
            }
        };
        let host_paths = match block.get("host_paths").and_then(Value::as_array) {
            Some(entries) => texts(entries),
            None => default.host_paths,
        };
        if let Some(wrong) = host_paths.iter().find(|path| !may_be_shown(path)) {
            return Err(format!(
                "yurt.host_paths: {wrong:?} must be an absolute path without .., and not the root, /proc, /sys, /dev or one of the task's own"
            ));
        }
        let unveil = match block.get("unveil").and_then(Value::as_array) {
            Some(entries) => unveil::list(&texts(entries)).map_err(|why| format!("yurt.unveil: {why}"))?,
            None => default.unveil,
        };
        let ids = |key: &str| {
            let given = text(key).unwrap_or_default();
            Ids::parse(given).map_err(|why| format!("yurt.{key} = {given:?}: {why}"))
        };
        let orphans = match text("orphans") {
            None => default.orphans,
            Some("report") => Orphans::Report,
            Some("reap") => Orphans::Reap,
            Some(given) => {
                return Err(format!("yurt.orphans = {given:?}: must be \"report\" or \"reap\""));
            }
        };
        let orphans_after = text("orphans_after").map_or(Ok(default.orphans_after), |given| {
            duration_within("orphans_after", given, Duration::from_secs(1), Duration::from_secs(24 * 3600))
        })?;
        let config = DriverConfig {
            common: Common::from_json(block)?,
            fingerprint_period,
            isolation,
            host_paths,
            unveil,
            profiles: Profiles::from_json(block)?,
            orphans,
            orphans_after,
            denied: Denied { uids: ids("denied_uids")?, gids: ids("denied_gids")? },
            env_deny: block.get("env_deny").and_then(Value::as_array).map(|list| texts(list)).unwrap_or_default(),
            namespaces: namespaces(block.get("namespace").unwrap_or(&Value::Null), &default.grants)?,
            grants: Grants::from_json("yurt.grants", block.get("grants").unwrap_or(&Value::Null), default.grants)?,
        };
        config.profiles.check("yurt.grants", &config.grants)?;
        for Namespace { name, grants, .. } in &config.namespaces {
            let key = format!("yurt.namespace {name:?}.grants");
            grants.as_ref().map_or(Ok(()), |grants| config.profiles.check(&key, grants))?;
        }
        Ok(config)
    }

    fn namespace(&self, namespace: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|one| glob::matches(&one.name, namespace))
    }

    /// A clause for people who look at the wrong ones.
    pub(crate) fn whose_grants(&self, namespace: &str) -> String {
        match self.namespace(namespace) {
            Some(Namespace { name, grants: Some(_), .. }) => format!(" (of yurt.namespace {name:?}, not of all)"),
            _ => String::new(),
        }
    }

    /// What plans for a job of this namespace may ask for, unless it may run nothing.
    pub(crate) fn grants_for(&self, namespace: &str) -> Result<&Grants, String> {
        match self.namespace(namespace) {
            Some(Namespace { name, deny: true, .. }) => Err(format!(
                "jobs of the namespace {namespace:?} may not use this driver: yurt.namespace {name:?} denies it"
            )),
            Some(Namespace { grants: Some(grants), .. }) => Ok(grants),
            _ => Ok(&self.grants),
        }
    }
}

fn namespaces(blocks: &Value, default: &Grants) -> Result<Vec<Namespace>, String> {
    let one = |block: &Value| {
        let name = block.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let deny = block.get("deny").and_then(Value::as_bool).unwrap_or_default();
        let key = format!("yurt.namespace {name:?}");
        let grants = block.get("grants").filter(|grants| !grants.is_null());
        if deny && grants.is_some() {
            return Err(format!("{key}: what is denied has no use for grants: leave one of them out"));
        }
        let grants = grants.map(|grants| Grants::from_json(&format!("{key}.grants"), grants, default.clone()));
        Ok(Namespace { name, deny, grants: grants.transpose()? })
    };
    blocks.as_array().into_iter().flatten().map(one).collect()
}

impl Grants {
    /// `key`: where the block stands.
    fn from_json(key: &str, block: &Value, default: Grants) -> Result<Grants, String> {
        let list = |key: &str| block.get(key).and_then(Value::as_array).map(|entries| texts(entries));
        let grants = Grants {
            users: list("users").unwrap_or(default.users),
            root_without_isolation: block.get("root_without_isolation").and_then(Value::as_bool).unwrap_or_default(),
            capabilities: Caps::named(&list("capabilities").unwrap_or_default())
                .map_err(|why| format!("{key}.capabilities: {why}"))?,
            limits: list("limits").unwrap_or_default(),
            seccomp: list("seccomp").unwrap_or_default(),
            cgroups: list("cgroups").unwrap_or_default(),
            share: list("share").unwrap_or(default.share),
            unveil: unveil::list(&list("unveil").unwrap_or_default()).map_err(|why| format!("{key}.unveil: {why}"))?,
            programs: list("programs"),
            files: list("files").unwrap_or(default.files),
            connect: peers(&list("connect").unwrap_or_default())?,
        };
        if let Some(unknown) = grants.share.iter().find(|name| !["pid", "ipc", "uts"].contains(&name.as_str())) {
            return Err(format!("{key}.share: {unknown:?} must be one of \"pid\", \"ipc\", \"uts\""));
        }
        if let Some(unknown) = grants.limits.iter().find(|name| !super::limits::is_known(name)) {
            return Err(format!(
                "{key}.limits: {unknown:?} is no limit; there are {}",
                super::limits::names().join(", ")
            ));
        }
        Ok(grants)
    }
}

fn peers(entries: &[String]) -> Result<Vec<Peers>, String> {
    entries.iter().map(|entry| entry.parse().map_err(|why| format!("yurt.grants.connect: {why}"))).collect()
}

/// What can be the host's in a task's root: the rest is the task's.
fn may_be_shown(path: &str) -> bool {
    let plain = path.starts_with('/')
        && path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part))
        && !path.contains(['\0', '\n']);
    let first = path.split('/').nth(1).unwrap_or_default();
    plain && !["proc", "sys", "dev", "alloc", "local", "secrets", "private", "tmp"].contains(&first)
}

fn texts(entries: &[Value]) -> Vec<String> {
    entries.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_absent_block_grants_nobody_and_little_else() {
        let config = DriverConfig::from_json(&Value::Null).unwrap();
        assert_eq!(config, DriverConfig::default());
        assert_eq!(config.grants.users, ["nobody"]);
        assert!(!config.grants.root_without_isolation && config.grants.share == ["uts"]);
    }

    #[test]
    fn the_schema_parses_and_every_key_is_read() {
        spec().unwrap();
        let config = DriverConfig::from_json(&json!({
            "log_level": "debug", "fingerprint_period": "1m", "isolation": "none", "seccomp": "default",
            "denied_uids": "1-10,65534", "denied_gids": "0", "env_deny": ["AWS_*"],
            "host_paths": ["/usr", "/opt/tools"], "unveil": ["rx:/usr", "r:/etc"],
            "orphans": "reap", "orphans_after": "2m",
            "grants": {
                "users": ["www-data"], "root_without_isolation": true, "capabilities": ["net_admin"],
                "connect": ["10.0.0.0/8:443"], "unveil": ["rwxc:/srv"],
                "limits": ["nofile", "pids.max"], "cgroups": ["/custom/*"], "share": ["ipc"], "programs": ["/opt/*/bin/python3"], "files": [],
                "seccomp": ["none"]
            }
        }))
        .unwrap();
        assert_eq!(
            (config.common.log_level, config.fingerprint_period),
            (tracing::Level::DEBUG, Duration::from_secs(60))
        );
        assert_eq!(config.isolation, Some(Isolation::None));
        assert_eq!(config.host_paths, ["/usr", "/opt/tools"]);
        assert_eq!(config.unveil.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/usr", "/etc"]);
        assert_eq!(config.grants.unveil.len(), 1);
        assert_eq!((config.orphans, config.orphans_after), (Orphans::Reap, Duration::from_secs(120)));
        assert_eq!(config.profiles.of(Isolation::None, &config.grants, None), Ok(yurt_task::Seccomp::Default));
        assert!(config.denied.uids.has(7) && config.denied.uids.has(65534) && config.denied.gids.has(0));
        assert_eq!(config.env_deny, ["AWS_*"]);
        let grants = config.grants;
        assert_eq!((grants.cgroups, grants.seccomp), (vec!["/custom/*".to_owned()], vec!["none".to_owned()]));
        assert_eq!((grants.users, grants.share), (vec!["www-data".to_owned()], vec!["ipc".to_owned()]));
        assert!(grants.root_without_isolation && grants.files.is_empty());
        assert_eq!(grants.capabilities, Caps::named(&["CAP_NET_ADMIN".to_owned()]).unwrap());
        assert_eq!(grants.programs, Some(vec!["/opt/*/bin/python3".to_owned()]));
        assert_eq!((grants.limits.len(), grants.connect.len()), (2, 1));
    }

    #[test]
    fn the_first_namespace_that_fits_has_grants_of_its_own_or_none_at_all() {
        let config = DriverConfig::from_json(&json!({
            "grants": {"limits": ["nofile"]},
            "namespace": [
                {"name": "prod-eu", "deny": null, "grants": null},
                {"name": "prod-*", "deny": null, "grants": {"users": ["www-data"], "limits": null}},
                {"name": "test", "deny": true, "grants": null},
            ],
        }))
        .unwrap();
        let users =
            |namespace| config.grants_for(namespace).map(|grants| (grants.users.join(" "), grants.limits.len()));
        assert_eq!(users("prod-us"), Ok(("www-data".to_owned(), 0)));
        for general in ["prod-eu", "default", ""] {
            assert_eq!(users(general), Ok(("nobody".to_owned(), 1)), "{general}");
        }
        let why = users("test").unwrap_err();
        assert!(why.contains("namespace \"test\" may not use this driver"), "{why}");
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        for (block, words) in [
            (json!({"isolation": "jail"}), ["yurt.isolation", "jail", "overlay"]),
            (json!({"host_paths": ["/usr", "etc"]}), ["yurt.host_paths", "\"etc\"", "absolute"]),
            (json!({"host_paths": ["/proc/sys"]}), ["yurt.host_paths", "/proc/sys", "task's own"]),
            (json!({"host_paths": ["/usr/../root"]}), ["yurt.host_paths", "/usr/../root", "without .."]),
            (json!({"host_paths": ["/"]}), ["yurt.host_paths", "\"/\"", "not the root"]),
            (json!({"unveil": ["/usr"]}), ["yurt.unveil", "\"/usr\"", "rx:/usr"]),
            (json!({"grants": {"unveil": ["z:/srv"]}}), ["yurt.grants.unveil", "z:/srv", "r, w, x and c"]),
            (json!({"orphans": "kill"}), ["yurt.orphans", "kill", "reap"]),
            (json!({"orphans_after": "0s"}), ["yurt.orphans_after", "0s", "1s"]),
            (json!({"seccomp": "strict"}), ["yurt.seccomp", "strict", "none"]),
            (json!({"grants": {"seccomp": ["strict"]}}), ["yurt.grants.seccomp", "strict", "none"]),
            (
                json!({"namespace": [{"name": "a", "grants": {"seccomp": ["strict"]}}]}),
                ["yurt.namespace \"a\".grants.seccomp", "strict", "none"],
            ),
            (json!({"denied_uids": "10-1"}), ["yurt.denied_uids", "10-1", "lower bound cannot be greater than upper"]),
            (json!({"denied_gids": "1,x"}), ["yurt.denied_gids", "\"x\"", "range bound not valid"]),
            (
                json!({"namespace": [{"name": "a", "grants": {"share": ["net"]}}]}),
                ["yurt.namespace \"a\".grants.share", "net", "uts"],
            ),
            (json!({"namespace": [{"name": "a", "deny": true, "grants": {}}]}), ["yurt.namespace", "\"a\"", "leave"]),
            (json!({"log_level": "loud"}), ["yurt.log_level", "loud", "trace"]),
            (json!({"fingerprint_period": "0s"}), ["yurt.fingerprint_period", "0s", "1s"]),
            (json!({"grants": {"connect": ["example.org"]}}), ["yurt.grants.connect", "example.org", "10.0.0.0/8"]),
            (json!({"grants": {"share": ["net"]}}), ["yurt.grants.share", "net", "uts"]),
            (json!({"grants": {"limits": ["speed"]}}), ["yurt.grants.limits", "speed", "nofile"]),
            (json!({"grants": {"capabilities": ["fly"]}}), ["yurt.grants.capabilities", "fly", "capability"]),
        ] {
            let why = DriverConfig::from_json(&block).unwrap_err();
            for word in words {
                assert!(why.contains(word), "{why:?} lacks {word:?}");
            }
        }
    }
}
