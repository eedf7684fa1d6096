//! StartTask: whom a task runs as, with which variables, capabilities and namespaces.

use std::fs;
use std::path::Path;
use std::time::Duration;

use yurt_conformance::driver::{
    Flavour, Isolation, Node, Program, Request, each, in_a_root, in_the_hosts_files, namespace, of_yurt, refused,
};

use crate::said::said;

#[tokio::test]
async fn s14_a_task_has_the_usual_capabilities_and_no_others() {
    in_a_root("S14", async |node| {
        let masks = async |node: &mut Node, user: &str| {
            let request = Request::of(Program::shell("grep ^Cap /proc/self/status")).user(user);
            let text = said(node, request).await;
            let mask = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
            };
            ["CapPrm", "CapEff", "CapBnd"].map(mask)
        };
        const USUAL: u64 = 0xa804_05fb;
        // Nomad's own drivers leave a user like nobody all of them; here who is not root has none.
        let of_nobody = if node.is_yurt() { [0, 0, USUAL] } else { [USUAL; 3] };
        assert_eq!(masks(node, "nobody").await, of_nobody);
        // As root there is no more to be had.
        let [permitted, effective, bounding] = masks(node, "root").await;
        assert_eq!((permitted, effective), (bounding, bounding));
        assert_eq!(bounding & !USUAL, 0, "{bounding:x}");
    })
    .await;
}

#[tokio::test]
async fn s21_a_task_in_its_own_root_has_namespaces_of_its_own() {
    in_a_root("S21", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        for kind in ["pid", "mnt", "ipc"] {
            assert_ne!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        for kind in ["net", "user"] {
            assert_eq!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        let seen = task.sh("ls -d /proc/[0-9]* | wc -l").await;
        assert!(seen.parse::<u32>().unwrap() <= 8, "the task sees {seen} processes");
    })
    .await;
}

#[tokio::test]
async fn s21_without_isolation_a_task_has_the_hosts_namespaces() {
    in_the_hosts_files("S21", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        for kind in ["pid", "mnt", "ipc", "net", "uts", "user"] {
            assert_eq!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        assert_eq!(task.pid().await, pid);
    })
    .await;
}

#[tokio::test]
async fn s21_users_control_groups_and_clocks_are_a_tasks_own_where_its_job_says_so() {
    of_yurt("S21", "it has no keys for them", async |node| {
        let subject = node.subject;
        if !matches!(subject.flavour, Flavour::Python | Flavour::YurtExec) {
            return;
        }
        let asking = |keys: &str| Program::config(format!("{}{keys}\n", subject.job_config(&Program::idle())));
        let kinds = [("user", "userns_mode"), ("cgroup", "cgroupns_mode"), ("time", "timens_mode")];
        if subject.isolation == Isolation::None {
            for (_, key) in kinds {
                let (_, why, recoverable) = refused(node.try_run(asking(&format!("{key} = \"private\""))).await);
                let want =
                    format!("{key} = \"private\": with yurt.isolation = \"none\" tasks have the host's namespaces");
                assert!(why.contains(&want) && !recoverable, "{why}");
            }
            return;
        }
        let own = std::process::id();
        for (kind, key) in kinds {
            let task = node.run(asking(&format!("{key} = \"private\""))).await;
            task.ready().await;
            let pid = task.process("sleep").await;
            for (other, _) in kinds {
                assert_eq!(namespace(pid, other) == namespace(own, other), other != kind, "{other} with {key}");
            }
            let of_a_command = task.sh(&format!("readlink /proc/self/ns/{kind}")).await;
            assert_eq!(Path::new(&of_a_command), namespace(pid, kind));
        }
        let all = kinds.map(|(_, key)| format!("{key} = \"private\"")).join("\n");
        let task = node.run(asking(&all)).await;
        task.ready().await;
        let seen = task.sh("cat /proc/self/uid_map; cut -d. -f1 /proc/uptime; cut -d: -f3 /proc/self/cgroup").await;
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[0], fs::read_to_string("/proc/self/uid_map").unwrap().trim());
        assert!(lines[1].parse::<u64>().unwrap() < 600, "{seen}");
        assert!(lines[2..].iter().all(|path| *path == "/" || path.starts_with("/exec-")), "{seen}");
        // It can be killed and told of as any other.
        assert!(task.runs().await);
        let (_, exit) = task.stopped(Duration::from_millis(100), "SIGKILL").await;
        assert_eq!(exit.signal, 9);
    })
    .await;
}

#[tokio::test]
async fn s28_the_environment_names_the_user() {
    each("S28", async |node| {
        let nobody = fs::read_to_string("/etc/passwd").unwrap();
        let home =
            nobody.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').nth(5).unwrap().to_owned();
        let program = Program::shell("echo $USER $LOGNAME $HOME; id -u; id -g; id -G");
        let said = said(node, Request::of(program).user("nobody").env("HOME", "/root").env("USER", "root")).await;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], format!("nobody nobody {home}"));
        assert_eq!(lines[1], "65534");
        if node.subject.flavour != Flavour::Exec {
            assert_eq!(lines[2..], ["65534", "65534"]);
        }
    })
    .await;
}

#[tokio::test]
async fn s28_without_a_user_in_the_job_it_is_nobody() {
    each("S28", async |node| {
        // There it is one that the agent invents: S33.
        if node.subject.isolation == Isolation::Landlock {
            return;
        }
        let user = if node.subject.flavour == Flavour::RawExec { "root" } else { "nobody" };
        assert_eq!(said(node, Program::shell("id -un")).await.trim(), user);
    })
    .await;
}

#[tokio::test]
async fn s37_a_tasks_variables_are_those_of_the_job_alone() {
    each("S37", async |node| {
        node.kill_plugin().await;
        node.agent().env.extend([("FRUIT".into(), "of the host".into()), ("ONLY_HOST".into(), "x".into())]);
        node.relaunch().await;
        let program =
            Program::shell("echo \"$FRUIT\"; echo \"<$ONLY_HOST$NOMAD_PLUGIN_MAGIC_COOKIE$PLUGIN_MIN_PORT>\"");
        let said = said(node, Request::of(program).env("FRUIT", "of the task")).await;
        assert_eq!(said, "of the task\n<>\n");
    })
    .await;
}
