use yurt_sdk::driver::{IdRange, Program, Sharing, Wishes};
use yurt_sdk::json::{Value, from_str, json};
use yurt_sdk::testing::driver::{self as testing, Machine, view, view_of_the_host};

use super::*;

/// What the schemas make of what was written: defaults filled in.
fn with(defaults: Value, written: &str) -> String {
    let (Value::Object(mut all), Value::Object(written)) = (defaults, from_str(written).unwrap()) else { panic!() };
    all.extend(written);
    Value::Object(all).to_string()
}

fn config(written: &str) -> String {
    let caps = "audit_write chown dac_override fowner fsetid kill mknod net_bind_service setfcap setgid setpcap setuid \
                sys_chroot";
    let defaults = json!({
        "no_pivot_root": false, "default_pid_mode": "private", "default_ipc_mode": "private",
        "allow_caps": caps.split(' ').collect::<Vec<_>>(), "denied_host_uids": "", "denied_host_gids": "",
    });
    with(defaults, written)
}

fn task(written: &str) -> String {
    let defaults = json!({
        "command": "/bin/sh", "args": [], "pid_mode": "", "ipc_mode": "", "cap_add": [], "cap_drop": [], "work_dir": "",
        "userns_mode": "", "cgroupns_mode": "", "timens_mode": "", "limits": null,
        "read_only_root": false, "seccomp": "", "unveil": [],
        "signals": null, "stop": null,
    });
    with(defaults, written)
}

fn lines(said: Vec<Diagnostic>) -> Vec<String> {
    said.into_iter().map(|said| format!("{}: {}", said.path, said.message)).collect()
}

fn said_of_config(written: &str) -> Vec<String> {
    lines(testing::check_config::<Exec>(&config(written)))
}

fn said_with(of_config: &str, written: &str) -> Vec<String> {
    lines(testing::check_task::<Exec>(&config(of_config), &task(written), &[]))
}

fn said(written: &str) -> Vec<String> {
    said_with("{}", written)
}

fn planned(of_config: &str, written: &str, view: &TaskView, root: &Machine) -> Result<LaunchPlan, PlanError> {
    testing::plan::<Exec>(&config(of_config), &task(written), view, &Machine::default(), root)
}

fn words(written: &str, view: &TaskView, root: &Machine) -> Result<String, String> {
    let plan = planned("{}", written, view, root).map_err(|why| {
        assert!(why.path.is_some() && !why.recoverable, "{why:?}");
        why.message
    })?;
    let Program::Native(words) = plan.program else { panic!("a native program expected") };
    Ok(words.join(" "))
}

fn wishes(of_config: &str, written: &str) -> Wishes {
    let view = TaskView { user: "root".into(), ..view() };
    planned(of_config, written, &view, &Machine::default()).unwrap().wishes
}

#[test]
fn a_profile_of_system_calls_is_asked_for_by_its_name() {
    assert_eq!(wishes("{}", "{}").seccomp, None);
    assert_eq!(wishes("{}", r#"{"seccomp":"strict"}"#).seccomp.as_deref(), Some("strict"));
}

#[test]
fn a_read_only_root_is_asked_for_by_who_says_so() {
    assert!(!wishes("{}", "{}").read_only_root);
    assert!(wishes("{}", r#"{"read_only_root":true}"#).read_only_root);
}

#[test]
fn paths_of_the_host_are_asked_for_by_mode_and_path() {
    let wishes = wishes("{}", r#"{"unveil":["r:/etc/mime.types","rwc:/srv/shared"]}"#).mounts;
    let asked: Vec<_> =
        wishes.iter().map(|wish| (wish.name.as_str(), wish.task_path.as_str(), wish.read_only)).collect();
    assert_eq!(asked, [("r:/etc/mime.types", "/etc/mime.types", true), ("rwc:/srv/shared", "/srv/shared", false)]);
    for wrong in ["/etc/mime.types", "z:/etc", ":/etc", "r:etc"] {
        assert_eq!(
            said(&format!(r#"{{"unveil":["r:/etc","{wrong}"]}}"#)),
            [format!("unveil[1]: {wrong:?} is no mode and absolute path")]
        );
    }
}

#[test]
fn modes_are_private_or_host_in_nomad_s_words() {
    for key in ["pid_mode", "ipc_mode"] {
        for mode in ["", "private", "host"] {
            assert!(said(&format!(r#"{{"{key}":"{mode}"}}"#)).is_empty(), "{key} {mode}");
        }
        let wrong = format!(r#"{key}: {key} must be "private" or "host", got "other""#);
        assert_eq!(said(&format!(r#"{{"{key}":"other"}}"#)), [wrong]);
        let default = format!(r#"default_{key}: default_{key} must be "private" or "host", got "other""#);
        assert_eq!(said_of_config(&format!(r#"{{"default_{key}":"other"}}"#)), [default]);
        assert_eq!(said_of_config(&format!(r#"{{"default_{key}":""}}"#)).len(), 1);
    }
}

#[test]
fn capabilities_are_named_in_any_form_and_unknown_ones_refused_in_nomad_s_words() {
    for key in ["cap_add", "cap_drop"] {
        assert!(said(&format!(r#"{{"{key}":["chown","CAP_KILL","cap_mknod"]}}"#)).is_empty(), "{key}");
        assert_eq!(
            said(&format!(r#"{{"{key}":["chown","not_valid"]}}"#)),
            [format!("{key}: {key} configured with capabilities not supported by system: not_valid")]
        );
    }
    assert!(said(r#"{"cap_drop":["all"]}"#).is_empty());
    for caps in ["[]", r#"["all"]"#, r#"["chown","sys_time"]"#, r#"["CAP_CHOWN","cap_sys_time"]"#] {
        assert!(said_of_config(&format!(r#"{{"allow_caps":{caps}}}"#)).is_empty(), "{caps}");
    }
    assert_eq!(
        said_of_config(r#"{"allow_caps":["chown","not_valid","sys_time"]}"#),
        ["allow_caps: allow_caps configured with capabilities not supported by system: not_valid"]
    );
}

#[test]
fn a_job_gets_no_capability_that_the_operator_does_not_allow() {
    let beyond = |names: &str| format!("cap_add: driver does not allow the following capabilities: {names}");
    assert_eq!(said(r#"{"cap_add":["sys_time","net_admin","chown"]}"#), [beyond("net_admin, sys_time")]);
    assert_eq!(said_with(r#"{"allow_caps":["kill"]}"#, r#"{"cap_add":["chown"]}"#), [beyond("chown")]);
    assert!(said_with(r#"{"allow_caps":["all"]}"#, r#"{"cap_add":["net_admin"]}"#).is_empty());
}

#[test]
fn capabilities_are_added_and_dropped_as_nomad_does() {
    let usual = wishes("{}", "{}");
    assert!(usual.caps_add.is_empty() && !usual.caps_drop.contains(&"chown".to_owned()));
    // What is not allowed is dropped, whether a task has it by itself or not.
    assert!(usual.caps_drop.contains(&"net_raw".to_owned()) && usual.caps_drop.len() == 41 - 13);
    assert_eq!(wishes(r#"{"allow_caps":["kill","chown"]}"#, "{}").caps_drop.len(), 41 - 2);
    let added = wishes(r#"{"allow_caps":["all"]}"#, r#"{"cap_add":["NET_ADMIN"],"cap_drop":["all"]}"#);
    assert_eq!((added.caps_add, added.caps_drop.len()), (vec!["net_admin".to_owned()], 41));
}

#[test]
fn capabilities_for_a_user_who_gets_none_are_refused() {
    for (user, who) in [("", "nobody"), ("www-data", "www-data")] {
        let view = TaskView { user: user.into(), ..view() };
        assert_eq!(
            words(r#"{"cap_add":["chown"]}"#, &view, &Machine::default()).unwrap_err(),
            format!(
                "cap_add = [\"chown\"]: only root has capabilities, and this task's user is {who}: leave it out, or say user = \"root\""
            )
        );
        assert!(words(r#"{"cap_drop":["chown"]}"#, &view, &Machine::default()).is_ok());
    }
}

#[test]
fn limits_are_asked_for_by_the_kernel_s_names() {
    let limits = wishes("{}", r#"{"limits":[{"nofile":"1024:4096"},{"pids.max":"100"}]}"#).limits;
    let limits: Vec<_> = limits.iter().map(|limit| (limit.name.as_str(), limit.value.as_str())).collect();
    assert_eq!(limits, [("nofile", "1024:4096"), ("pids.max", "100")]);
    assert!(wishes("{}", "{}").limits.is_empty());
}

#[test]
fn namespaces_are_the_job_s_word_else_the_operator_s() {
    let shared = |of_config, written| {
        let wishes = wishes(of_config, written);
        assert!(!wishes.init);
        (wishes.pid == Sharing::Host, wishes.ipc == Sharing::Host)
    };
    assert_eq!(shared("{}", "{}"), (false, false));
    assert_eq!(shared("{}", r#"{"pid_mode":"host"}"#), (true, false));
    assert_eq!(shared(r#"{"default_pid_mode":"host","default_ipc_mode":"host"}"#, "{}"), (true, true));
    assert_eq!(shared(r#"{"default_ipc_mode":"host"}"#, r#"{"ipc_mode":"private"}"#), (false, false));
}

#[test]
fn users_control_groups_and_clocks_are_the_host_s_unless_a_job_says_otherwise() {
    let asked = |written: &str| {
        let Wishes { user, cgroup, time, .. } = wishes("{}", written);
        [user, cgroup, time].map(|sharing| sharing == Sharing::Private)
    };
    assert_eq!(asked("{}"), [false; 3]);
    for (at, key) in ["userns_mode", "cgroupns_mode", "timens_mode"].into_iter().enumerate() {
        let with = |mode: &str| format!(r#"{{"{key}":"{mode}"}}"#);
        assert_eq!(asked(&with("private")), [0, 1, 2].map(|one| one == at), "{key}");
        assert_eq!(asked(&with("host")), [false; 3], "{key}");
        assert!(["", "private", "host"].iter().all(|mode| said(&with(mode)).is_empty()), "{key}");
        assert_eq!(said(&with("other")), [format!(r#"{key}: {key} must be "private" or "host", got "other""#)]);
        let refused = words(&with("private"), &view_of_the_host(), &Machine::default()).unwrap_err();
        let why = "with yurt.isolation = \"none\" tasks have the host's namespaces";
        assert_eq!(refused, format!("{key} = \"private\": {why}"));
        assert!(words(&with("host"), &view_of_the_host(), &Machine::default()).is_ok());
    }
}

#[test]
fn private_namespaces_beside_the_host_s_files_are_refused() {
    let refused = words(r#"{"ipc_mode":"private"}"#, &view_of_the_host(), &Machine::default()).unwrap_err();
    assert_eq!(refused, "ipc_mode = \"private\": with yurt.isolation = \"none\" tasks have the host's namespaces");
    assert!(words("{}", &view_of_the_host(), &Machine::default()).is_ok());
    // A task that sees some of the host's files has its own.
    let own = "/srv/mounts/8d1bc1b2-server";
    let [alloc_dir, local_dir] = ["alloc", "local"].map(|name| format!("{own}/{name}"));
    let view = TaskView { alloc_dir, local_dir, ..view() };
    assert!(words(r#"{"ipc_mode":"private"}"#, &view, &Machine::default()).is_ok());
}

#[test]
fn keys_that_the_host_has_nothing_for_are_refused_and_their_defaults_are_not() {
    assert!(said_of_config("{}").is_empty());
    assert_eq!(said_of_config(r#"{"no_pivot_root":true}"#), Vec::<String>::new());
}

#[test]
fn denied_ids_are_the_host_s_to_deny_and_a_bad_range_is_refused() {
    let ids = r#"{"denied_host_uids":"0,10-20","denied_host_gids":"4"}"#;
    assert!(said_of_config(ids).is_empty());
    let ranges = |ranges: Vec<IdRange>| ranges.iter().map(|range| (range.first, range.last)).collect::<Vec<_>>();
    let wishes = wishes(ids, "{}");
    assert_eq!((ranges(wishes.deny_uids), ranges(wishes.deny_gids)), (vec![(0, 0), (10, 20)], vec![(4, 4)]));
    let wrong = |key: &str| {
        format!(r#"{key}: {key} = "20-10": invalid range "20-10": lower bound cannot be greater than upper bound"#)
    };
    assert_eq!(
        said_of_config(r#"{"denied_host_uids":"20-10","denied_host_gids":"20-10"}"#),
        [wrong("denied_host_uids"), wrong("denied_host_gids")]
    );
}

#[test]
fn a_command_must_be_named_and_a_work_dir_absolute() {
    assert_eq!(said(r#"{"command":""}"#), ["command: command must be specified"]);
    assert!(said(r#"{"work_dir":"/goodpath"}"#).is_empty());
    assert_eq!(said(r#"{"work_dir":"foo"}"#), ["work_dir: work_dir must be absolute but got relative path \"foo\""]);
    // What is known only at run time is no error.
    assert!(testing::check_task::<Exec>(&config("{}"), &task(r#"{"command":null}"#), &["command"]).is_empty());
}

#[test]
fn a_command_is_looked_for_in_local_in_the_task_s_directory_and_in_the_path() {
    let root =
        Machine::default().program("/local/a").program("/a").program("/b").program("/bin/tool").directory("/local/b");
    for (command, want) in [("a", "/local/a"), ("b", "/b"), ("bin/tool", "/bin/tool"), ("sh", "sh"), ("/a", "/a")] {
        let written = format!(r#"{{"command":"{command}","args":["-c","true"]}}"#);
        assert_eq!(words(&written, &view(), &root).unwrap(), format!("{want} -c true"));
    }
    let host = Machine::default().program("/srv/alloc/8d1bc1b2/server/local/a");
    let found = words(r#"{"command":"a"}"#, &view_of_the_host(), &host).unwrap();
    assert_eq!(found, "/srv/alloc/8d1bc1b2/server/local/a");
}

#[test]
fn a_command_that_is_not_there_or_cannot_be_run_is_refused_by_its_path() {
    let root = Machine::default().file("/local/data", "");
    assert_eq!(
        words(r#"{"command":"bin/tool"}"#, &view(), &root).unwrap_err(),
        "command = \"bin/tool\": file bin/tool not found under path /: of a volume say the absolute path"
    );
    assert_eq!(
        words(r#"{"command":"data"}"#, &view(), &root).unwrap_err(),
        "command = \"data\": /local/data is not executable: its template has to say perms = \"755\""
    );
}

#[test]
fn a_task_runs_as_nobody_where_it_is_told_to() {
    let plan = planned("{}", r#"{"work_dir":"/local"}"#, &view(), &Machine::default()).unwrap();
    assert_eq!((plan.user.as_deref(), plan.work_dir.as_deref()), (Some("nobody"), Some("/local")));
    assert_eq!(plan.note.as_deref(), Some("runs /bin/sh"));
    assert_eq!(planned("{}", "{}", &view(), &Machine::default()).unwrap().work_dir, None);
}

#[test]
fn signals_and_the_way_of_stopping_are_the_job_s_to_say() {
    let plan = planned(
        "{}",
        r#"{"signals":{"SIGHUP":"all:SIGTERM"},"stop":["SIGINT 5s","all:SIGTERM"]}"#,
        &view(),
        &Machine::default(),
    );
    let plan = plan.unwrap();
    assert_eq!((plan.signals.len(), plan.stop.len()), (1, 2));
    assert_eq!(
        said(r#"{"stop":["SIGINT"," SIGTERM"]}"#),
        ["stop[0]: stop[0] = \"SIGINT\": how long is it waited for before the next step?"]
    );
}

#[test]
fn the_driver_is_healthy_under_its_own_name() {
    let judged = testing::judge::<Exec>(&config("{}"), &Machine::default());
    assert_eq!(
        (judged.health, judged.attributes),
        (DriverHealth::Healthy, vec![attribute::flag("driver.yurt-exec", true)])
    );
}

#[test]
fn the_schemas_declare_exactly_the_keys_that_are_read() {
    for (schema, defaults) in [(include_str!("config.hcldec"), config("{}")), (include_str!("task.hcldec"), task("{}"))]
    {
        let declared = schema.lines().filter_map(|line| {
            let line = line.strip_prefix("  ")?;
            let name = line.strip_prefix("attr \"").or_else(|| line.strip_prefix("default \""));
            let name = name.or_else(|| line.strip_prefix("block_attrs \""))?;
            name.strip_suffix("\" {")
        });
        let Value::Object(read) = from_str(&defaults).unwrap() else { panic!() };
        let (mut declared, mut read): (Vec<&str>, Vec<&str>) =
            (declared.collect(), read.keys().map(String::as_str).collect());
        declared.sort_unstable();
        read.sort_unstable();
        assert_eq!(declared, read);
    }
}
