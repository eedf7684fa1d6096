//! PluginInfo, ConfigSchema, SetConfig.

use yurt_conformance::driver::{Flavour, Node, Program, children, each, of_yurt, refused, soon};
use yurt_nomad::client::PluginKind;
use yurt_nomad::config::{from_hcl, to_msgpack};
use yurt_nomad::driver::{FsIsolation, Health};
use yurt_nomad::schema::Spec;

#[tokio::test]
async fn b01_a_driver_says_who_it_is() {
    each("B01", async |node| {
        let info = soon(node.base.plugin_info()).await.unwrap();
        assert_eq!(info.kind, Ok(PluginKind::Driver));
        assert_eq!(info.name, node.subject.flavour.name());
        assert!(
            info.api_versions.iter().any(|version| version.trim_start_matches('v') == "0.1.0"),
            "{:?}",
            info.api_versions
        );
        let numbers: Vec<&str> = info.version.split('-').next().unwrap().split('.').collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{}", info.version);
    })
    .await;
}

#[tokio::test]
async fn b02_the_schema_is_there_before_any_configuration_and_whole() {
    each("B02", async |node| {
        let mut fresh = Node::launched(node.subject).await;
        let before = soon(fresh.base.config_schema()).await.unwrap().expect("a schema");
        assert_eq!(soon(node.base.config_schema()).await.unwrap(), Some(before.clone()));
        assert_eq!(Spec::from_proto(&before.to_proto()).unwrap(), before);
        let defaults = from_hcl("", "agent.hcl", &before).unwrap();
        assert!(defaults.is_object(), "{defaults}");
        fresh.finish().await;
    })
    .await;
}

#[tokio::test]
async fn b03_a_configuration_is_read_and_nonsense_refused_without_harm() {
    each("B03", async |node| {
        let all = match node.subject.flavour {
            Flavour::Python => "yurt {\n  isolation = \"chroot\"\n  log_level = \"info\"\n}\n",
            Flavour::RawExec | Flavour::YurtRawExec => {
                "enabled = true\ndenied_host_uids = \"60000-60001\"\ndenied_envvars = [\"A*\", \"B\"]"
            }
            Flavour::YurtWasi => unreachable!("its tasks are no programs"),
            Flavour::Exec | Flavour::YurtExec => {
                "no_pivot_root = false\ndefault_pid_mode = \"private\"\nallow_caps = [\"chown\", \"kill\"]"
            }
        };
        node.configure(all).await.unwrap();
        for nonsense in [&b"\x81"[..], b"\xdd\xff\xff\xff\xff", b"\x93\x01\x02"] {
            refused(soon(node.base.set_config_bytes(nonsense.to_vec(), None)).await);
        }
        node.configure(node.subject.plugin_config()).await.unwrap();
        soon(node.base.plugin_info()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn b04_a_copy_that_only_validates_starts_nothing() {
    each("B04", async |node| {
        let mut copy = Node::launched(node.subject).await;
        let schema = soon(copy.base.config_schema()).await.unwrap().unwrap();
        let config = from_hcl(node.subject.plugin_config(), "agent.hcl", &schema).unwrap();
        for _ in 0..2 {
            soon(copy.base.set_config(&config, None)).await.unwrap();
        }
        assert!(children(copy.plugin_pid()).is_empty());
        copy.finish().await;
    })
    .await;
}

#[tokio::test]
async fn b05_a_second_configuration_replaces_the_first() {
    each("B05", async |node| {
        match node.subject.flavour {
            Flavour::YurtWasi => unreachable!("its tasks are no programs"),
            Flavour::Python | Flavour::YurtExec => {
                let isolation = async |node: &mut Node, config: &str| {
                    node.configure(config).await.unwrap();
                    soon(node.driver.capabilities()).await.unwrap().isolation
                };
                assert_eq!(isolation(node, "yurt { isolation = \"none\" }").await, FsIsolation::None);
                assert_eq!(isolation(node, "").await, FsIsolation::Chroot);
            }
            Flavour::RawExec | Flavour::YurtRawExec => {
                node.configure("enabled = false").await.unwrap();
                let first = soon(soon(node.driver.fingerprint()).await.unwrap().next()).await.unwrap();
                assert_eq!(first.health, Health::Undetected { reason: "disabled".into() });
            }
            Flavour::Exec => {
                node.configure("allow_caps = [\"chown\"]").await.unwrap();
            }
        }
        node.configure(node.subject.plugin_config()).await.unwrap();
        let task = node.run(Program::idle()).await;
        task.ready().await;
    })
    .await;
}

#[tokio::test]
async fn b10_a_guest_that_cannot_be_loaded_is_refused_at_the_start_in_one_sentence() {
    of_yurt("B10", "it has no guest", async |node| {
        let file = node.dir().join("acme.wasm");
        for (component, said) in [(&b"not a component"[..], "not a WebAssembly component"), (b"", "acme.wasm")] {
            std::fs::write(&file, component).unwrap();
            let mut agent = node.agent().clone();
            // Another name, so that there is no last good guest.
            let plugin = node.dir().join("acme");
            let _ = std::fs::remove_file(&plugin);
            std::os::unix::fs::symlink(node.subject.flavour.binary(), &plugin).unwrap();
            agent.program = plugin;
            let why = soon(agent.launch()).await.unwrap_err().to_string();
            assert!(why.contains("acme.wasm") && why.contains(said), "{why}");
        }
        // Too late to matter for one that serves.
        soon(node.base.set_config_bytes(to_msgpack(&serde_json::json!({})), None)).await.unwrap();
    })
    .await;
}
