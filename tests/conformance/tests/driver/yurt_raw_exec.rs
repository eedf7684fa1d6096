//! What jobs and operators of Nomad's raw_exec say, said to Yurt's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use yurt_conformance::driver::{
    Hierarchy, Node, Program, Request, exists, of_yurt_raw_exec, put_program, quoted, refused, soon,
};
use yurt_nomad::attribute::Attribute;
use yurt_nomad::driver::Health;

use crate::said::{nothing_came_of_it, said};

/// A shell text in the driver's own words, with further keys.
fn shell(text: &str, keys: &str) -> Program {
    Program::config(format!("command = \"/bin/sh\"\nargs = [\"-c\", {}]\n{keys}", quoted(text)))
}

/// Why a job with these keys is not started.
async fn why(node: &mut Node, keys: &str) -> String {
    let (_, why, recoverable) = refused(node.try_run(shell("true", keys)).await);
    assert!(!recoverable, "{why}");
    why
}

#[tokio::test]
async fn c02_command_and_args_are_read() {
    of_yurt_raw_exec("C02", async |node| {
        let args = Program::config("command = \"/bin/echo\"\nargs = [\"one\", \"two three\", \"$${four}\"]");
        assert_eq!(said(node, args).await, "one two three ${four}\n");
        let site = node.site(false);
        put_program(&site.task_dir().join("local/tool"), "#!/bin/sh\necho the tool\n");
        let config = node.task_config(&site, &Request::of(Program::config("command = \"tool\"")));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says("the tool\n").await;
    })
    .await;
}

#[tokio::test]
async fn c08_bad_keys_are_refused() {
    of_yurt_raw_exec("C08", async |node| {
        for (keys, said) in [
            (
                "cgroup_v2_override = \"a\"\ncgroup_v1_override = { pids = \"b\" }",
                "only one of cgroups_v1_override and cgroups_v2_override may be set",
            ),
            ("oom_score_adj = -1", "oom_score_adj must not be negative"),
            ("work_dir = \"foo\"", "work_dir must be absolute but got relative path \"foo\""),
        ] {
            let why = why(node, keys).await;
            assert!(why.contains(said), "{why}");
        }
        assert_eq!(said(node, shell("cat /proc/self/oom_score_adj", "oom_score_adj = 77")).await, "77\n");
    })
    .await;
}

#[tokio::test]
async fn f02_the_driver_is_undetected_until_it_is_enabled_and_then_has_one_attribute() {
    of_yurt_raw_exec("F02", async |node| {
        let mut looks = soon(node.driver.fingerprint()).await.unwrap();
        let enabled = soon(looks.next()).await.unwrap();
        assert_eq!(enabled.health, Health::Healthy { note: "Healthy".into() });
        assert_eq!(
            enabled.attributes.into_iter().collect::<Vec<_>>(),
            [("driver.yurt-raw-exec".to_owned(), Attribute::flag(true))]
        );
        node.configure("enabled = false").await.unwrap();
        let disabled = soon(looks.next()).await.unwrap();
        assert_eq!(disabled.health, Health::Undetected { reason: "disabled".into() });
        assert!(disabled.attributes.is_empty());
    })
    .await;
}

#[tokio::test]
async fn s15_a_disabled_driver_starts_nothing() {
    of_yurt_raw_exec("S15", async |node| {
        node.configure("").await.unwrap();
        let why = why(node, "").await;
        assert!(why.contains("raw_exec is disabled"), "{why}");
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s17_variables_are_denied_by_operator_and_job() {
    of_yurt_raw_exec("S17", async |node| {
        node.configure("enabled = true\ndenied_envvars = [\"AWS_*\"]").await.unwrap();
        let program = shell("echo \"<$AWS_KEY$TOKEN> $OTHER\"", "denied_envvars = [\"TOK*\"]");
        let request = Request::of(program).env("AWS_KEY", "a").env("TOKEN", "b").env("OTHER", "c");
        assert_eq!(said(node, request).await, "<> c\n");
    })
    .await;
}

/// A control group that somebody made, in which somebody is.
struct Custom {
    name: String,
    dir: PathBuf,
    stranger: std::process::Child,
}

impl Custom {
    fn make() -> Custom {
        let name = format!("yurt-rows-custom-{}", std::process::id());
        let dir = match Hierarchy::here() {
            Hierarchy::V1 => PathBuf::from("/sys/fs/cgroup/pids").join(&name),
            Hierarchy::V2 => PathBuf::from("/sys/fs/cgroup").join(&name),
        };
        fs::create_dir(&dir).unwrap();
        let stranger = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        Custom { name, dir, stranger }
    }

    /// The job's key.
    fn key(&self) -> String {
        key(&self.name)
    }
}

impl Drop for Custom {
    fn drop(&mut self) {
        let _ = self.stranger.kill();
        let _ = self.stranger.wait();
        let _ = fs::remove_dir(&self.dir);
    }
}

fn key(name: &str) -> String {
    match Hierarchy::here() {
        Hierarchy::V1 => format!("cgroup_v1_override = {{ pids = \"{name}\" }}"),
        Hierarchy::V2 => format!("cgroup_v2_override = \"{name}\""),
    }
}

const GRANT: &str = "enabled = true\nyurt {\ngrants {\ncgroups = [\"/yurt-rows-custom-*\", \"/no-such\"]\n}\n}";

#[tokio::test]
async fn s25_a_control_group_that_is_not_granted_or_not_there_is_refused() {
    of_yurt_raw_exec("S25", async |node| {
        let ungranted = why(node, &key("no-such")).await;
        assert!(ungranted.contains("/no-such") && ungranted.contains("yurt.grants.cgroups"), "{ungranted}");
        node.configure(GRANT).await.unwrap();
        let absent = why(node, &key("no-such")).await;
        assert!(absent.contains("unable to configure cgroups: no such file or directory"), "{absent}");
        let other = match Hierarchy::here() {
            Hierarchy::V1 => "cgroup_v2_override = \"no-such\"",
            Hierarchy::V2 => "cgroup_v1_override = { pids = \"no-such\" }",
        };
        let other = why(node, other).await;
        assert!(other.contains("unable to configure cgroups") && other.contains("version"), "{other}");
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s25_a_task_is_in_the_job_s_control_group_and_takes_nobody_there_along() {
    of_yurt_raw_exec("S25", async |node| {
        let custom = Custom::make();
        node.configure(GRANT).await.unwrap();
        let program = shell("grep custom /proc/self/cgroup; echo ready; sleep 600 & exec sleep 600", &custom.key());
        let task = node.run(program).await;
        task.ready().await;
        assert!(task.stdout().text().contains(&format!("/{}/", custom.name)), "{}", task.stdout().text());
        let entries = fs::read_dir(&custom.dir).unwrap().flatten().map(|entry| entry.path());
        let own: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        let text = fs::read_to_string(own[0].join("cgroup.procs")).unwrap();
        let members: Vec<u32> = text.lines().map(|pid| pid.parse().unwrap()).collect();
        assert!(members.len() == 2 && members.contains(&task.pid().await), "{members:?}");
        task.destroy(true).await.unwrap();
        assert!(!members.into_iter().any(exists) && exists(custom.stranger.id()));
        assert!(custom.dir.exists() && !own[0].exists());
    })
    .await;
}
