//! What jobs and operators of Nomad's exec say, said to Yurt's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use yurt_conformance::driver::{Node, Program, Request, namespace, of_yurt_exec, put_program, quoted, refused};

use crate::said::said;

/// A shell text in the driver's own words, with further keys.
fn shell(text: &str, keys: &str) -> Program {
    Program::config(format!("command = \"/bin/sh\"\nargs = [\"-c\", {}]\n{keys}", quoted(text)))
}

/// Why a job with these keys is not started.
async fn why(node: &mut Node, keys: &str) -> String {
    let (_, why, recoverable) = refused(node.try_run(Request::of(shell("true", keys)).user("root")).await);
    assert!(!recoverable, "{why}");
    why
}

/// Why a configuration is not taken.
async fn why_config(node: &mut Node, keys: &str) -> String {
    refused(node.configure(keys).await).1
}

#[tokio::test]
async fn b08_defaults_for_namespaces_are_private_or_host() {
    of_yurt_exec("B08", async |node| {
        let share = "yurt {\ngrants {\nshare = [\"pid\", \"ipc\", \"uts\"]\n}\n}";
        node.configure(&format!("default_pid_mode = \"host\"\ndefault_ipc_mode = \"host\"\n{share}")).await.unwrap();
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        for kind in ["pid", "ipc"] {
            assert_eq!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        for key in ["default_pid_mode", "default_ipc_mode"] {
            let why = why_config(node, &format!("{key} = \"other\"")).await;
            assert!(why.contains(&format!("{key} must be \"private\" or \"host\", got \"other\"")), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn b09_allowed_capabilities_are_those_that_there_are() {
    of_yurt_exec("B09", async |node| {
        for caps in ["[]", "[\"all\"]", "[\"chown\", \"sys_time\"]", "[\"CAP_CHOWN\", \"cap_sys_time\"]"] {
            node.configure(&format!("allow_caps = {caps}")).await.unwrap();
        }
        let why = why_config(node, "allow_caps = [\"chown\", \"not_valid\", \"sys_time\"]").await;
        assert!(why.contains("allow_caps configured with capabilities not supported by system: not_valid"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn c01_command_args_and_work_dir_are_read() {
    of_yurt_exec("C01", async |node| {
        let keys = "work_dir = \"/local\"";
        assert_eq!(said(node, shell("pwd; echo \"$0 $1\"", keys)).await, "/local\n/bin/sh \n");
        let args = Program::config("command = \"/bin/echo\"\nargs = [\"one\", \"two three\", \"$${four}\"]");
        assert_eq!(said(node, args).await, "one two three ${four}\n");
    })
    .await;
}

#[tokio::test]
async fn c05_a_job_s_namespaces_are_private_or_host_and_the_host_s_are_granted() {
    of_yurt_exec("C05", async |node| {
        for key in ["pid_mode", "ipc_mode"] {
            let other = why(node, &format!("{key} = \"other\"")).await;
            assert!(other.contains(&format!("{key} must be \"private\" or \"host\", got \"other\"")), "{other}");
            let host = why(node, &format!("{key} = \"host\"")).await;
            assert!(host.contains("yurt.grants.share"), "{host}");
        }
        node.configure("yurt {\ngrants {\nshare = [\"pid\", \"uts\"]\n}\n}").await.unwrap();
        let task = node.run(shell("echo ready; exec sleep 600", "pid_mode = \"host\"\nipc_mode = \"private\"")).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        assert_eq!(namespace(pid, "pid"), namespace(own, "pid"));
        assert_ne!(namespace(pid, "ipc"), namespace(own, "ipc"));
    })
    .await;
}

#[tokio::test]
async fn c06_a_job_s_capabilities_are_those_that_there_are() {
    of_yurt_exec("C06", async |node| {
        for key in ["cap_add", "cap_drop"] {
            let why = why(node, &format!("{key} = [\"chown\", \"not_valid\"]")).await;
            let want = format!("{key} configured with capabilities not supported by system: not_valid");
            assert!(why.contains(&want), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn c07_a_relative_work_dir_is_refused() {
    of_yurt_exec("C07", async |node| {
        let why = why(node, "work_dir = \"foo\"").await;
        assert!(why.contains("work_dir must be absolute but got relative path \"foo\""), "{why}");
    })
    .await;
}

#[tokio::test]
async fn s12_capabilities_are_added_and_dropped_within_what_operator_and_host_allow() {
    of_yurt_exec("S12", async |node| {
        let bounding = async |node: &mut Node, keys: &str| {
            let request = Request::of(shell("grep ^CapBnd /proc/self/status", keys)).user("root");
            let text = said(node, request).await;
            u64::from_str_radix(text.trim_start_matches("CapBnd:").trim(), 16).unwrap()
        };
        let (chown, kill, net_admin) = (1, 1 << 5, 1 << 12);
        let usual = bounding(node, "").await;
        assert_eq!(bounding(node, "cap_drop = [\"chown\"]").await, usual & !chown);
        assert_eq!(bounding(node, "cap_drop = [\"all\"]\ncap_add = [\"CAP_KILL\"]").await, usual & kill);

        let beyond = why(node, "cap_add = [\"sys_time\", \"net_admin\"]").await;
        let want = "driver does not allow the following capabilities: net_admin, sys_time";
        assert!(beyond.contains(want), "{beyond}");
        // What the operator of the jobs allows, the host has to grant.
        node.configure("allow_caps = [\"all\"]").await.unwrap();
        let refused_by_host = why(node, "cap_add = [\"net_admin\"]").await;
        assert!(refused_by_host.contains("net_admin") && refused_by_host.contains("yurt.grants.capabilities"));
        node.configure("allow_caps = [\"net_admin\"]\nyurt {\ngrants {\ncapabilities = [\"net_admin\"]\n}\n}")
            .await
            .unwrap();
        assert_eq!(bounding(node, "cap_add = [\"net_admin\"]").await & !net_admin, 0);

        let nobody = Request::of(shell("true", "cap_add = [\"net_admin\"]"));
        let (_, why, _) = refused(node.try_run(nobody).await);
        assert!(why.contains("only root has capabilities") && why.contains("nobody"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn s19_a_program_is_looked_for_in_local_in_the_task_s_directory_and_in_the_path() {
    of_yurt_exec("S19", async |node| {
        for (there, want) in [
            (&["local/tool", "tool", "usr/bin/tool"][..], "local/tool"),
            (&["tool", "usr/bin/tool"], "tool"),
            (&["usr/bin/tool"], "usr/bin/tool"),
        ] {
            let site = node.site(false);
            for path in there {
                put_program(&site.task_dir().join(path), &format!("#!/bin/sh\necho {path} $1\n"));
            }
            let program = Program::config("command = \"tool\"\nargs = [\"x\"]");
            let config = node.task_config(&site, &Request::of(program));
            let task = node.start_at(&site, config).await.unwrap();
            task.stdout().says(&format!("{want} x\n")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn s20_a_program_that_is_not_executable_is_refused_by_its_path() {
    of_yurt_exec("S20", async |node| {
        let site = node.site(false);
        site.put("local/tool", "#!/bin/sh\n");
        let config = node.task_config(&site, &Request::of(Program::config("command = \"local/tool\"")));
        let (_, why, _) = refused(node.start_at(&site, config).await);
        assert!(why.contains("/local/tool is not executable"), "{why}");
        let mode = fs::metadata(site.task_dir().join("local/tool")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0);
    })
    .await;
}

#[tokio::test]
async fn s34_the_task_is_process_1_of_its_namespace() {
    of_yurt_exec("S34", async |node| {
        assert_eq!(said(node, shell("echo my pid is $$", "")).await, "my pid is 1\n");
        node.configure("yurt {\ngrants {\nshare = [\"pid\", \"uts\"]\n}\n}").await.unwrap();
        assert_ne!(said(node, shell("echo my pid is $$", "pid_mode = \"host\"")).await, "my pid is 1\n");
    })
    .await;
}
