//! What a guest sees of a task: names and places, never a value of its environment.

use yurt_guest::driver as wit;
use yurt_nomad::driver::{MemoryMax, TaskConfig};

use super::config::Isolation;
use super::start::task_dir;

/// The view of `task` that a plan is made from.
pub(super) fn of(task: &TaskConfig, isolation: Isolation) -> wit::TaskView {
    let own = task_dir(task);
    let dir = |variable: &str, inside: &str| {
        task.env.0.get(variable).cloned().unwrap_or_else(|| match (isolation.has_a_root(), inside) {
            (true, _) => format!("/{inside}"),
            (false, "alloc") => format!("{}/alloc", task.alloc_dir),
            (false, _) => format!("{}/{inside}", own.display()),
        })
    };
    let clamped = |mb: u64| u32::try_from(mb).unwrap_or(u32::MAX);
    wit::TaskView {
        id: task.id.clone(),
        alloc_id: task.alloc_id.clone(),
        task_name: task.name.clone(),
        group_name: task.group.clone(),
        job_name: task.job_name.clone(),
        job_id: task.job_id.clone(),
        namespace: task.namespace.clone(),
        node_name: task.node_name.clone(),
        node_id: task.node_id.clone(),
        user: task.user.clone().unwrap_or_default(),
        env_names: task.env.0.keys().cloned().collect(),
        alloc_dir: dir("NOMAD_ALLOC_DIR", "alloc"),
        local_dir: dir("NOMAD_TASK_DIR", "local"),
        secrets_dir: dir("NOMAD_SECRETS_DIR", "secrets"),
        memory_mb: clamped(task.resources.memory_mb),
        memory_max_mb: match task.resources.memory_max {
            MemoryMax::Reserved => None,
            MemoryMax::Mb(mb) => Some(clamped(mb)),
            MemoryMax::Unlimited => Some(u32::MAX),
        },
        cpu_shares: u32::try_from(task.resources.linux.cpu_shares).unwrap_or_default(),
        cores: cores(&task.resources.linux.cpuset_cpus),
        ports: ports(task),
        devices: devices(task),
    }
}

/// The ids that a reservation of Yurt's device plugin names: `YURT_USB_<VENDOR>_<GROUP>_IDS`, with commas.
fn devices(task: &TaskConfig) -> Vec<String> {
    let lists = task.device_env.0.iter().filter(|(name, _)| name.starts_with("YURT_") && name.ends_with("_IDS"));
    lists.flat_map(|(_, ids)| ids.split(',')).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// `0,2-4` → 0, 2, 3, 4.
fn cores(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse::<u16>().ok()?..=to.trim().parse::<u16>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Those of the group's network, and those of a network in the task.
fn ports(task: &TaskConfig) -> Vec<wit::Port> {
    let number = |port: i32| u16::try_from(port).unwrap_or_default();
    let of_the_group = task.resources.ports.iter().map(|port| wit::Port {
        name: port.label.clone(),
        value: number(port.value),
        to: number(if port.to == 0 { port.value } else { port.to }),
    });
    let of_the_task = task.resources.networks.iter().flat_map(|network| {
        network.reserved_ports.iter().chain(&network.dynamic_ports).map(|port| wit::Port {
            name: port.label.clone(),
            value: number(port.value),
            to: number(port.value),
        })
    });
    let mut ports: Vec<wit::Port> = of_the_group.collect();
    for port in of_the_task {
        if !ports.iter().any(|known| known.name == port.name) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use yurt_nomad::driver::{Env, LinuxResources, Network, Port, PortMapping, Resources};

    #[test]
    fn a_view_has_names_of_variables_and_no_values() {
        let env = Env([("TOKEN".to_owned(), "s3cret".to_owned())].into());
        let task = TaskConfig { name: "web".into(), alloc_dir: "/a".into(), env, ..TaskConfig::default() };
        let view = of(&task, Isolation::None);
        assert_eq!(view.env_names, ["TOKEN"]);
        assert!(!format!("{view:?}").contains("s3cret"));
        assert_eq!((view.local_dir.as_str(), view.alloc_dir.as_str()), ("/a/web/local", "/a/alloc"));
        assert_eq!(of(&task, Isolation::Chroot).local_dir, "/local");
    }

    #[test]
    fn the_ids_of_reserved_devices_are_seen_and_nothing_else_of_their_environment() {
        let device_env =
            [("YURT_USB_ACME_BOARD_IDS", "sn-1,port-1-2"), ("YURT_USB_SN_1_SERIAL", "1"), ("OTHER_IDS", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let task = TaskConfig { device_env: Env(device_env.into()), ..TaskConfig::default() };
        assert_eq!(of(&task, Isolation::None).devices, ["sn-1", "port-1-2"]);
    }

    #[test]
    fn ports_of_both_kinds_of_networks_and_cores_are_seen() {
        let port = |label: &str, value| Port { label: label.into(), value };
        let network = Network { dynamic_ports: vec![port("http", 1), port("db", 2)], ..Network::default() };
        let mapping = PortMapping { label: "http".into(), value: 20_000, to: 80, host_ip: String::new() };
        let resources = Resources {
            networks: vec![network],
            ports: vec![mapping],
            linux: LinuxResources { cpuset_cpus: "0,2-4".into(), ..LinuxResources::default() },
            ..Resources::default()
        };
        let view = of(&TaskConfig { resources, ..TaskConfig::default() }, Isolation::Chroot);
        let ports: Vec<_> = view.ports.iter().map(|port| (port.name.as_str(), port.value, port.to)).collect();
        assert_eq!((ports, view.cores), (vec![("http", 20_000, 80), ("db", 2, 2)], vec![0, 2, 3, 4]));
    }
}
