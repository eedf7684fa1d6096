use std::os::unix::fs::symlink;

use yurt_nomad::driver::{NetworkIsolation, NetworkMode, PortMapping, Resources};

use super::*;

fn wanted(alloc_dir: &Path) -> Wanted {
    Wanted {
        component: Component { path: String::new(), directories: Vec::new(), listen: Vec::new() },
        network: Network::default(),
        memory: None,
        wall: true,
        identity: None,
        task_dir: alloc_dir.join("web"),
        alloc_dir: alloc_dir.to_owned(),
    }
}

#[test]
fn only_what_lies_in_the_task_s_own_directories_is_opened_whatever_links_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let alloc = dir.path();
    for below in ["alloc/data", "web/local/deep", "web/secrets", "web/private", "other/local", "webby/local"] {
        std::fs::create_dir_all(alloc.join(below)).unwrap();
    }
    let local = alloc.join("web/local");
    symlink("deep", local.join("near")).unwrap();
    symlink("../../other/local", local.join("far")).unwrap();
    symlink("/etc", local.join("away")).unwrap();
    // The directory itself is another's.
    symlink("../other/local", alloc.join("web/tmp")).unwrap();
    let wanted = wanted(alloc);
    let open = |path: &str| {
        let path = alloc.join(path).to_string_lossy().into_owned();
        wanted.open(&path, OFlags::PATH | OFlags::DIRECTORY).map(drop)
    };
    for path in ["alloc", "alloc/data", "web/local", "web/local/deep", "web/local/near", "web/secrets"] {
        assert_eq!(open(path), Ok(()), "{path}");
    }
    for path in ["web/local/far", "web/local/away", "web/tmp"] {
        open(path).unwrap_err();
    }
    assert!(open("web/local/far").unwrap_err().contains("leads out of the task's directory"));
    for path in ["web", "web/private", "other/local", "webby/local", "web/local/../private", "../x", "/etc", ""] {
        assert!(open(path).unwrap_err().contains("it must lie in the task's"), "{path}");
    }
}

#[test]
fn ports_are_those_of_the_group_by_label_on_the_host_s_address_or_inside_its_own_network() {
    let port = |label: &str, value, to| PortMapping { label: label.into(), value, to, host_ip: "192.0.2.1".into() };
    let mut task = TaskConfig {
        resources: Resources { ports: vec![port("http", 20_000, 80), port("db", 20_001, 0)], ..Resources::default() },
        ..TaskConfig::default()
    };
    let listen = |task: &TaskConfig, labels: &[&str]| {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let network = network(task, &labels, &Grants::default())?;
        let seen = network.listen.into_iter().map(|port| (port.port, port.address.map(|address| address.to_string())));
        Ok::<_, String>(seen.collect::<Vec<_>>())
    };
    let on_the_host = Some("192.0.2.1".to_owned());
    assert_eq!(listen(&task, &["http"]), Ok(vec![(20_000, on_the_host.clone())]));
    assert_eq!(listen(&task, &[]), Ok(vec![]));
    let why = listen(&task, &["http", "admin"]).unwrap_err();
    assert!(why.contains("\"admin\"") && why.contains("http, db"), "{why}");
    task.network = Some(NetworkIsolation {
        mode: NetworkMode::Group,
        path: "/proc/1/ns/net".into(),
        ..NetworkIsolation::default()
    });
    assert_eq!(listen(&task, &["http", "db"]), Ok(vec![(80, None), (20_001, None)]));
}

#[test]
fn of_a_memory_limit_the_process_itself_has_a_part() {
    let mib = |count: u64| count << 20;
    assert_eq!(for_its_memories(mib(128)), mib(120));
    assert_eq!(for_its_memories(mib(16)), mib(12));
    assert_eq!(for_its_memories(0), 0);
}

#[test]
fn signals_that_would_only_kill_a_component_are_refused_by_name() {
    for signal in [2, 3, 9, 15] {
        takes(signal).unwrap();
    }
    assert!(takes(1).unwrap_err().contains("SIGHUP"));
}
