use yurt_sdk::driver::Program;
use yurt_sdk::json::{Value, from_str, json};
use yurt_sdk::testing::driver::{self as testing, Machine, view_of_the_host};

use super::*;

/// What the schemas make of what was written: defaults filled in.
fn with(defaults: Value, written: &str) -> String {
    let (Value::Object(mut all), Value::Object(written)) = (defaults, from_str(written).unwrap()) else { panic!() };
    all.extend(written);
    Value::Object(all).to_string()
}

fn config(written: &str) -> String {
    let defaults = json!({"enabled": true, "denied_envvars": [], "denied_host_uids": "", "denied_host_gids": ""});
    with(defaults, written)
}

fn task(written: &str) -> String {
    let defaults = json!({
        "command": "/bin/sh", "args": [], "cgroup_v1_override": [], "cgroup_v2_override": "", "oom_score_adj": 0,
        "work_dir": "", "denied_envvars": [], "seccomp": "",
    });
    with(defaults, written)
}

fn said(written: &str) -> Vec<String> {
    let said = testing::check_task::<RawExec>(&config("{}"), &task(written), &[]);
    said.into_iter().map(|said| said.message).collect()
}

fn planned(of_config: &str, written: &str) -> Result<LaunchPlan, PlanError> {
    let root = Machine::default().program("/srv/alloc/8d1bc1b2/server/local/tool");
    testing::plan::<RawExec>(&config(of_config), &task(written), &view_of_the_host(), &Machine::default(), &root)
}

#[test]
fn nothing_runs_until_the_operator_enables_it() {
    let judged = |written| testing::judge::<RawExec>(&config(written), &Machine::default());
    let disabled = judged(r#"{"enabled":false}"#);
    assert_eq!((disabled.health, disabled.reason.as_str()), (DriverHealth::Undetected, "disabled"));
    assert!(disabled.attributes.is_empty());
    let enabled = judged("{}");
    assert_eq!((enabled.health, enabled.reason.as_str()), (DriverHealth::Healthy, "Healthy"));
    assert_eq!(enabled.attributes, [attribute::flag("driver.yurt-raw-exec", true)]);
    assert!(planned(r#"{"enabled":false}"#, "{}").unwrap_err().message.starts_with("raw_exec is disabled"));
}

#[test]
fn bad_keys_are_refused_in_nomad_s_words() {
    assert_eq!(said(r#"{"command":""}"#), ["command must be specified"]);
    assert_eq!(
        said(r#"{"cgroup_v1_override":[{"pids":"a"}],"cgroup_v2_override":"b"}"#),
        ["only one of cgroups_v1_override and cgroups_v2_override may be set"]
    );
    assert_eq!(said(r#"{"oom_score_adj":-1}"#), ["oom_score_adj must not be negative"]);
    assert_eq!(said(r#"{"work_dir":"foo"}"#), ["work_dir must be absolute but got relative path \"foo\""]);
    assert!(said(r#"{"work_dir":"/srv","oom_score_adj":10,"cgroup_v2_override":"b"}"#).is_empty());
    let range = testing::check_config::<RawExec>(&config(r#"{"denied_host_gids":"9-1"}"#));
    assert!(range.len() == 1 && range.iter().all(|said| said.message.contains("lower bound cannot be greater")));
}

#[test]
fn what_a_job_asks_for_is_in_the_plan() {
    let plan = planned(
        r#"{"denied_envvars":["AWS_*"],"denied_host_uids":"0"}"#,
        r#"{"command":"tool","args":["x"],"oom_score_adj":7,"denied_envvars":["TOKEN"],"work_dir":"/srv","seccomp":"strict",
            "cgroup_v1_override":[{"pids":"a","cpu":"b"},{"memory":"/c"}]}"#,
    )
    .unwrap();
    let Program::Native(words) = &plan.program else { panic!("a native program expected") };
    assert_eq!(words, &["/srv/alloc/8d1bc1b2/server/local/tool", "x"]);
    assert_eq!((plan.env_drop.join(" ").as_str(), plan.work_dir.as_deref()), ("AWS_* TOKEN", Some("/srv")));
    assert_eq!(plan.user.as_deref(), Some("nobody"));
    let groups = plan.wishes.cgroups.iter().map(|wish| format!("{:?} {}", wish.controller.as_deref(), wish.path));
    assert_eq!(groups.collect::<Vec<_>>(), [r#"Some("cpu") b"#, r#"Some("pids") a"#, r#"Some("memory") /c"#]);
    assert_eq!(plan.wishes.limits, [Limit { name: "oom_score_adj".into(), value: "7".into() }]);
    assert_eq!((plan.wishes.deny_uids.len(), plan.wishes.seccomp.as_deref()), (1, Some("strict")));
    let plan = planned("{}", r#"{"cgroup_v2_override":"custom.slice/a"}"#).unwrap();
    let [group] = plan.wishes.cgroups.as_slice() else { panic!("one group expected") };
    assert_eq!((group.controller.as_deref(), group.path.as_str()), (None, "custom.slice/a"));
    assert!(plan.wishes.limits.is_empty() && plan.wishes.seccomp.is_none());
}

#[test]
fn the_schemas_declare_exactly_the_keys_that_are_read() {
    for (schema, defaults) in [(include_str!("config.hcldec"), config("{}")), (include_str!("task.hcldec"), task("{}"))]
    {
        let declared = schema.lines().filter_map(|line| {
            let line = line.strip_prefix("  ")?;
            let name = line.strip_prefix("attr \"").or_else(|| line.strip_prefix("default \""))?;
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
