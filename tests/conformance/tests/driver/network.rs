//! StartTask: the network of a group, and the files that speak of it.

use std::fs;

use yurt_conformance::driver::{Program, Request, each, exists, in_a_root, namespace, until};
use yurt_nomad::driver::{Dns, HostsEntry, NetworkIsolation, NetworkMode};

use crate::said::{said, said_with};

#[tokio::test]
async fn s10_name_servers_are_those_of_the_job_else_the_systems() {
    in_a_root("S10", async |node| {
        let resolv = || Program::shell("cat /etc/resolv.conf");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(said(node, resolv()).await, fs::read_to_string("/etc/resolv.conf").unwrap());
        let basic = Dns { servers: words(&["1.1.1.1", "1.0.0.1"]), ..Dns::default() };
        let text = said_with(node, resolv(), |config| config.dns = Some(basic)).await;
        assert!(text.contains("nameserver 1.1.1.1\nnameserver 1.0.0.1\n"), "{text}");
        let full = Dns {
            servers: words(&["1.1.1.1"]),
            searches: words(&["local.test", "node.consul"]),
            options: words(&["ndots:2", "edns0"]),
        };
        let text = said_with(node, resolv(), |config| config.dns = Some(full)).await;
        for line in ["nameserver 1.1.1.1", "search local.test node.consul", "options ndots:2 edns0"] {
            assert!(text.lines().any(|have| have == line), "{line}: {text}");
        }
        // What lies in the root stays as it is, for all tasks have it in common.
        assert_eq!(said(node, resolv()).await, fs::read_to_string("/etc/resolv.conf").unwrap());
    })
    .await;
}

/// A network namespace, held by a process.
struct Network(std::process::Child);

impl Network {
    fn new() -> Network {
        let mut command = std::process::Command::new("unshare");
        Network(command.args(["--net", "sleep", "600"]).stdin(std::process::Stdio::null()).spawn().unwrap())
    }

    async fn isolation(&self) -> NetworkIsolation {
        let (pid, own) = (self.0.id(), namespace(std::process::id(), "net"));
        until("a network namespace", || exists(pid) && namespace(pid, "net") != own).await;
        NetworkIsolation {
            mode: NetworkMode::Group,
            path: format!("/proc/{pid}/ns/net"),
            ..NetworkIsolation::default()
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn s11_a_group_with_a_network_of_its_own_has_its_line_in_the_hosts_file() {
    in_a_root("S11", async |node| {
        let network = Network::new();
        let mut isolation = network.isolation().await;
        isolation.hosts = Some(HostsEntry { hostname: "web-1".into(), address: "172.26.64.5".into() });
        let text = said_with(node, Program::shell("cat /etc/hosts"), |config| config.network = Some(isolation)).await;
        let has = |address: &str, name: &str| {
            text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == [address, name])
        };
        assert!(has("172.26.64.5", "web-1"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("127.0.0.1")), "{text}");
    })
    .await;
}

#[tokio::test]
async fn s36_the_network_of_the_group_is_joined() {
    each("S36", async |node| {
        let network = Network::new();
        let isolation = network.isolation().await;
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::idle()));
        config.network = Some(isolation);
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        let pid = task.process("sleep").await;
        assert_eq!(namespace(pid, "net"), namespace(network.0.id(), "net"));
        assert_eq!(
            task.sh("ls /proc/self/ns/net > /dev/null; readlink /proc/self/ns/net").await,
            namespace(pid, "net").display().to_string()
        );
        task.destroy(true).await.unwrap();
    })
    .await;
}
