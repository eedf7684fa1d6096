//! StartTask: whom a task runs as, with which variables, capabilities and namespaces.

use std::fs;

use yurt_conformance::driver::{
    Flavour, Isolation, Node, Program, Request, each, in_a_root, in_the_hosts_files, namespace,
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
