//! A task as it is to be, and its handle. Absent messages of older agents are empty ones; negative amounts are none.

use crate::driver::{
    DeviceNode, Dns, Env, HostsEntry, LinuxResources, MemoryMax, Mount, Network, NetworkIsolation, NetworkMode, Opaque,
    Port, PortMapping, Resources, TaskConfig, TaskHandle,
};
use crate::proto::driver as proto;
use crate::proto::driver::network_isolation_spec::NetworkIsolationMode;

pub(crate) fn task(from: &TaskConfig) -> proto::TaskConfig {
    let mounts = from.mounts.iter().map(|mount| proto::Mount {
        task_path: mount.task_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.read_only,
        propagation_mode: mount.propagation.clone(),
        selinux_label: mount.selinux_label.clone(),
        request_name: mount.request_name.clone(),
    });
    let devices = from.devices.iter().map(|device| proto::Device {
        task_path: device.task_path.clone(),
        host_path: device.host_path.clone(),
        cgroup_permissions: device.permissions.clone(),
    });
    proto::TaskConfig {
        id: from.id.clone(),
        name: from.name.clone(),
        msgpack_driver_config: from.driver_config.0.clone(),
        env: from.env.0.clone(),
        device_env: from.device_env.0.clone(),
        resources: Some(resources(&from.resources)),
        mounts: mounts.collect(),
        devices: devices.collect(),
        user: from.user.clone().unwrap_or_default(),
        alloc_dir: from.alloc_dir.clone(),
        stdout_path: from.stdout_path.clone(),
        stderr_path: from.stderr_path.clone(),
        task_group_name: from.group.clone(),
        job_name: from.job_name.clone(),
        alloc_id: from.alloc_id.clone(),
        network_isolation_spec: from.network.as_ref().map(network),
        dns: from.dns.clone().map(|dns| proto::DnsConfig {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        job_id: from.job_id.clone(),
        namespace: from.namespace.clone(),
        node_name: from.node_name.clone(),
        node_id: from.node_id.clone(),
        parent_job_id: String::new(),
    }
}

pub(crate) fn task_from(from: proto::TaskConfig) -> TaskConfig {
    let mounts = from.mounts.into_iter().map(|mount| Mount {
        task_path: mount.task_path,
        host_path: mount.host_path,
        read_only: mount.readonly,
        propagation: mount.propagation_mode,
        selinux_label: mount.selinux_label,
        request_name: mount.request_name,
    });
    let devices = from.devices.into_iter().map(|device| DeviceNode {
        task_path: device.task_path,
        host_path: device.host_path,
        permissions: device.cgroup_permissions,
    });
    TaskConfig {
        id: from.id,
        name: from.name,
        group: from.task_group_name,
        job_name: from.job_name,
        job_id: from.job_id,
        namespace: from.namespace,
        node_name: from.node_name,
        node_id: from.node_id,
        alloc_id: from.alloc_id,
        driver_config: Opaque(from.msgpack_driver_config),
        env: Env(from.env),
        device_env: Env(from.device_env),
        resources: resources_from(from.resources.unwrap_or_default()),
        mounts: mounts.collect(),
        devices: devices.collect(),
        user: Some(from.user).filter(|user| !user.is_empty()),
        alloc_dir: from.alloc_dir,
        stdout_path: from.stdout_path,
        stderr_path: from.stderr_path,
        network: from.network_isolation_spec.map(network_from),
        dns: from.dns.map(|dns| Dns { servers: dns.servers, searches: dns.searches, options: dns.options }),
    }
}

pub(crate) fn handle(from: &TaskHandle) -> proto::TaskHandle {
    proto::TaskHandle {
        version: from.version,
        config: Some(task(&from.config)),
        state: super::state::state(from.state).into(),
        driver_state: from.driver_state.0.clone(),
    }
}

/// `None`: the part with the task's id is missing.
pub(crate) fn handle_from(from: proto::TaskHandle) -> Option<TaskHandle> {
    let state = super::state::state_from(from.state());
    Some(TaskHandle {
        version: from.version,
        config: task_from(from.config?),
        state,
        driver_state: Opaque(from.driver_state),
    })
}

pub(crate) fn network(from: &NetworkIsolation) -> proto::NetworkIsolationSpec {
    proto::NetworkIsolationSpec {
        mode: mode(from.mode),
        path: from.path.clone(),
        labels: from.labels.clone(),
        hosts_config: from
            .hosts
            .clone()
            .map(|hosts| proto::HostsConfig { hostname: hosts.hostname, address: hosts.address }),
    }
}

pub(crate) fn network_from(from: proto::NetworkIsolationSpec) -> NetworkIsolation {
    NetworkIsolation {
        mode: mode_from(from.mode),
        path: from.path,
        labels: from.labels,
        hosts: from.hosts_config.map(|hosts| HostsEntry { hostname: hosts.hostname, address: hosts.address }),
    }
}

pub(super) fn mode(mode: NetworkMode) -> i32 {
    match mode {
        NetworkMode::Host => NetworkIsolationMode::Host.into(),
        NetworkMode::Group => NetworkIsolationMode::Group.into(),
        NetworkMode::Task => NetworkIsolationMode::Task.into(),
        NetworkMode::None => NetworkIsolationMode::None.into(),
        NetworkMode::Other(number) => number,
    }
}

pub(super) fn mode_from(number: i32) -> NetworkMode {
    match NetworkIsolationMode::try_from(number) {
        Ok(NetworkIsolationMode::Host) => NetworkMode::Host,
        Ok(NetworkIsolationMode::Group) => NetworkMode::Group,
        Ok(NetworkIsolationMode::Task) => NetworkMode::Task,
        Ok(NetworkIsolationMode::None) => NetworkMode::None,
        Err(_) => NetworkMode::Other(number),
    }
}

fn resources(from: &Resources) -> proto::Resources {
    let ports = from.ports.iter().map(|port| proto::PortMapping {
        label: port.label.clone(),
        value: port.value,
        to: port.to,
        host_ip: port.host_ip.clone(),
    });
    let linux = &from.linux;
    proto::Resources {
        allocated_resources: Some(proto::AllocatedTaskResources {
            cpu: Some(proto::AllocatedCpuResources { cpu_shares: signed(from.cpu_mhz) }),
            memory: Some(proto::AllocatedMemoryResources {
                memory_mb: signed(from.memory_mb),
                memory_max_mb: match from.memory_max {
                    MemoryMax::Reserved => 0,
                    MemoryMax::Mb(most) => signed(most),
                    MemoryMax::Unlimited => -1,
                },
            }),
            networks: from.networks.iter().map(old_network).collect(),
        }),
        linux_resources: Some(proto::LinuxResources {
            cpu_period: linux.cpu_period,
            cpu_quota: linux.cpu_quota,
            cpu_shares: linux.cpu_shares,
            memory_limit_bytes: linux.memory_limit_bytes,
            oom_score_adj: linux.oom_score_adj,
            cpuset_cpus: linux.cpuset_cpus.clone(),
            percent_ticks: linux.percent_ticks,
            cpuset_cgroup: linux.cgroup.clone(),
        }),
        ports: ports.collect(),
    }
}

fn resources_from(from: proto::Resources) -> Resources {
    let allocated = from.allocated_resources.unwrap_or_default();
    let memory = allocated.memory.unwrap_or_default();
    let linux = from.linux_resources.unwrap_or_default();
    let ports = from.ports.into_iter().map(|port| PortMapping {
        label: port.label,
        value: port.value,
        to: port.to,
        host_ip: port.host_ip,
    });
    Resources {
        cpu_mhz: unsigned(allocated.cpu.unwrap_or_default().cpu_shares),
        memory_mb: unsigned(memory.memory_mb),
        memory_max: match memory.memory_max_mb {
            0 => MemoryMax::Reserved,
            most if most < 0 => MemoryMax::Unlimited,
            most => MemoryMax::Mb(unsigned(most)),
        },
        networks: allocated.networks.into_iter().map(old_network_from).collect(),
        ports: ports.collect(),
        linux: LinuxResources {
            cpu_period: linux.cpu_period,
            cpu_quota: linux.cpu_quota,
            cpu_shares: linux.cpu_shares,
            memory_limit_bytes: linux.memory_limit_bytes,
            oom_score_adj: linux.oom_score_adj,
            cpuset_cpus: linux.cpuset_cpus,
            percent_ticks: linux.percent_ticks,
            cgroup: linux.cpuset_cgroup,
        },
    }
}

fn old_network(from: &Network) -> proto::NetworkResource {
    let ports = |ports: &[Port]| {
        ports.iter().map(|port| proto::NetworkPort { label: port.label.clone(), value: port.value }).collect()
    };
    proto::NetworkResource {
        device: from.device.clone(),
        cidr: from.cidr.clone(),
        ip: from.ip.clone(),
        mbits: from.mbits,
        reserved_ports: ports(&from.reserved_ports),
        dynamic_ports: ports(&from.dynamic_ports),
    }
}

fn old_network_from(from: proto::NetworkResource) -> Network {
    let ports = |ports: Vec<proto::NetworkPort>| {
        ports.into_iter().map(|port| Port { label: port.label, value: port.value }).collect()
    };
    Network {
        device: from.device,
        cidr: from.cidr,
        ip: from.ip,
        mbits: from.mbits,
        reserved_ports: ports(from.reserved_ports),
        dynamic_ports: ports(from.dynamic_ports),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
