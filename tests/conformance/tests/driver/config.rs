//! The `config` block of jobs: what it may hold, what becomes of it.

use std::collections::BTreeMap;

use serde_json::json;
use yurt_conformance::driver::{Flavour, Isolation, Program, Request, each, of_python, quoted, refused};
use yurt_nomad::config::{from_hcl, to_msgpack};
use yurt_nomad::driver::{Dns, Env, ExitResult, Network, Opaque, Port, PortMapping};

#[tokio::test]
async fn c04_a_program_must_be_named_and_nothing_unknown() {
    each("C04", async |node| {
        let schema = node.driver.task_schema().await.unwrap();
        let why = from_hcl("cmd_line = \"x\"", "job.hcl", &schema).unwrap_err().to_string();
        assert!(why.contains("cmd_line"), "{why}");
        match node.subject.flavour {
            Flavour::Python => {
                let (_, why, recoverable) = refused(node.try_run(Program::config("args = [\"-B\"]")).await);
                assert!(why.contains("script") && !recoverable, "{why}");
                let both = Program::config("script = \"a.py\"\ncode = \"1\"");
                let (_, why, _) = refused(node.try_run(both).await);
                assert!(why.contains("script") && why.contains("code"), "{why}");
            }
            _ => assert!(from_hcl("args = [\"x\"]", "job.hcl", &schema).is_err()),
        }
    })
    .await;
}

const TELL: &str = "import json, sys\nprint(json.dumps([sys.orig_argv, sys.argv]))\n";

#[tokio::test]
async fn c10_interpreter_arguments_script_and_its_own_arguments_come_in_this_order() {
    of_python("C10", "a job of it says the whole command", async |node| {
        let site = node.site(false);
        site.put("server.py", TELL);
        let program =
            "script = \"server.py\"\nargs = [\"-B\", \"-Wignore\"]\nscript_args = [\"one\", \"$${two} three\"]";
        let config = node.task_config(&site, &Request::of(Program::config(program)));
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("\n").await;
        let said: [Vec<String>; 2] = serde_json::from_str(&task.stdout().text()).unwrap();
        let script = said[1][0].clone();
        assert!(script.ends_with("server.py"), "{script}");
        assert_eq!(said[0][1..], ["-B", "-Wignore", &script, "one", "${two} three"]);
        assert_eq!(said[1][1..], ["one", "${two} three"]);
    })
    .await;
}

#[tokio::test]
async fn c10_the_other_forms_of_a_program_run_too() {
    of_python("C10", "a job of it says the whole command", async |node| {
        for (what, said) in [("code", "[\"-c\", \"a\"]"), ("module", "__main__.py\", \"a\"]")] {
            let site = node.site(false);
            site.put("local/tool/__main__.py", TELL);
            let local = quoted(&site.local_path(""));
            let program = match what {
                "code" => format!("code = {}\nscript_args = [\"a\"]", quoted(TELL)),
                _ => format!("module = \"tool\"\nwork_dir = {local}\nscript_args = [\"a\"]"),
            };
            let config = node.task_config(&site, &Request::of(Program::config(program)));
            let task = node.start_at(&site, config).await.unwrap();
            assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
            task.stdout().says(said).await;
            task.destroy(true).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn c11_all_that_was_sent_comes_back_in_the_handle() {
    each("C11", async |node| {
        let site = node.site(false);
        let request = Request::of(Program::shell("exit 0")).user("nobody").env("ODD", "a=b\n\"${c}\"");
        let mut config = node.task_config(&site, &request);
        config.device_env = Env(BTreeMap::from([("YURT_IDS".into(), "a,b".into())]));
        let port = |label: &str, value| Port { label: label.into(), value };
        config.resources.networks = vec![Network {
            device: "eth0".into(),
            cidr: "10.0.0.0/8".into(),
            ip: "10.0.0.7".into(),
            mbits: 100,
            reserved_ports: vec![port("admin", 8080)],
            dynamic_ports: vec![port("http", 23_456)],
        }];
        config.resources.ports =
            vec![PortMapping { label: "http".into(), value: 23_456, to: 80, host_ip: "10.0.0.7".into() }];
        if node.is_yurt() && node.subject.isolation == Isolation::Chroot {
            let words = |word: &str| vec![word.to_owned()];
            config.dns =
                Some(Dns { servers: words("10.0.0.1"), searches: words("example.org"), options: words("ndots:2") });
        }
        let task = node.start_at(&site, config.clone()).await.unwrap();
        assert_eq!(task.handle.config, config);
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn c12_a_block_of_an_older_schema_still_runs() {
    each("C12", async |node| {
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::idle()));
        // Keys that came later are not in it at all.
        let old = match node.subject.flavour {
            Flavour::Python => json!({"code": "print('ready')", "args": null}),
            _ => json!({"command": "/bin/sh", "args": ["-c", "echo ready"]}),
        };
        config.driver_config = Opaque(to_msgpack(&old));
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}
