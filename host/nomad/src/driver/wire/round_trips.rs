//! What is written is read as the same.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::driver::*;

fn word() -> impl Strategy<Value = String> {
    "\\PC{0,6}"
}

fn words() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(word(), word(), 0..3)
}

fn bytes() -> impl Strategy<Value = Opaque> {
    vec(any::<u8>(), 0..9).prop_map(Opaque)
}

fn moment() -> impl Strategy<Value = SystemTime> {
    (0..253_402_300_800u64, 0..1_000_000_000u32).prop_map(|(secs, nanos)| UNIX_EPOCH + Duration::new(secs, nanos))
}

fn amount() -> impl Strategy<Value = u64> {
    0..=i64::MAX as u64
}

fn mode() -> impl Strategy<Value = NetworkMode> {
    prop_oneof![
        Just(NetworkMode::Host),
        Just(NetworkMode::Group),
        Just(NetworkMode::Task),
        Just(NetworkMode::None),
        (4..99i32).prop_map(NetworkMode::Other),
    ]
}

fn isolation() -> impl Strategy<Value = NetworkIsolation> {
    let hosts = option::of((word(), word()).prop_map(|(hostname, address)| HostsEntry { hostname, address }));
    (mode(), word(), words(), hosts).prop_map(|(mode, path, labels, hosts)| NetworkIsolation {
        mode,
        path,
        labels,
        hosts,
    })
}

fn port() -> impl Strategy<Value = Port> {
    (word(), any::<i32>()).prop_map(|(label, value)| Port { label, value })
}

fn resources() -> impl Strategy<Value = Resources> {
    let memory_max = prop_oneof![
        Just(MemoryMax::Reserved),
        Just(MemoryMax::Unlimited),
        (1..=i64::MAX as u64).prop_map(MemoryMax::Mb),
    ];
    let network = (word(), word(), word(), any::<i32>(), vec(port(), 0..2), vec(port(), 0..2)).prop_map(
        |(device, cidr, ip, mbits, reserved_ports, dynamic_ports)| Network {
            device,
            cidr,
            ip,
            mbits,
            reserved_ports,
            dynamic_ports,
        },
    );
    let mapping = (word(), any::<i32>(), any::<i32>(), word()).prop_map(|(label, value, to, host_ip)| PortMapping {
        label,
        value,
        to,
        host_ip,
    });
    let linux = (any::<[i64; 5]>(), word(), 0.0..1.0f64, word()).prop_map(
        |(
            [cpu_period, cpu_quota, cpu_shares, memory_limit_bytes, oom_score_adj],
            cpuset_cpus,
            percent_ticks,
            cgroup,
        )| {
            LinuxResources {
                cpu_period,
                cpu_quota,
                cpu_shares,
                memory_limit_bytes,
                oom_score_adj,
                cpuset_cpus,
                percent_ticks,
                cgroup,
            }
        },
    );
    (amount(), amount(), memory_max, vec(network, 0..2), vec(mapping, 0..2), linux).prop_map(
        |(cpu_mhz, memory_mb, memory_max, networks, ports, linux)| Resources {
            cpu_mhz,
            memory_mb,
            memory_max,
            networks,
            ports,
            linux,
        },
    )
}

fn task() -> impl Strategy<Value = TaskConfig> {
    let names = (vec(word(), 12), option::of("\\PC{1,6}"));
    let mount = (vec(word(), 5), any::<bool>()).prop_map(|(words, read_only)| {
        let [task_path, host_path, propagation, selinux_label, request_name] = words.try_into().unwrap();
        Mount { task_path, host_path, read_only, propagation, selinux_label, request_name }
    });
    let device = (word(), word(), word()).prop_map(|(task_path, host_path, permissions)| DeviceNode {
        task_path,
        host_path,
        permissions,
    });
    let dns = (vec(word(), 0..3), vec(word(), 0..3), vec(word(), 0..3));
    let dns = dns.prop_map(|(servers, searches, options)| Dns { servers, searches, options });
    let parts = (vec(mount, 0..3), vec(device, 0..3), option::of(isolation()), option::of(dns), resources());
    (names, (bytes(), words(), words()), parts).prop_map(|((names, user), (driver_config, env, device_env), parts)| {
        let [id, name, group, job_name, job_id, namespace, node_name, node_id, alloc_id, alloc_dir, out, err] =
            names.try_into().unwrap();
        let (mounts, devices, network, dns, resources) = parts;
        TaskConfig {
            id,
            name,
            group,
            job_name,
            job_id,
            namespace,
            node_name,
            node_id,
            alloc_id,
            driver_config,
            env: Env(env),
            device_env: Env(device_env),
            resources,
            mounts,
            devices,
            user,
            alloc_dir,
            stdout_path: out,
            stderr_path: err,
            network,
            dns,
        }
    })
}

fn how() -> impl Strategy<Value = ExitResult> {
    (any::<i32>(), any::<i32>(), any::<bool>()).prop_map(|(code, signal, oom_killed)| ExitResult {
        code,
        signal,
        oom_killed,
    })
}

fn share() -> impl Strategy<Value = Option<f64>> {
    option::of(0.0..1e9f64)
}

fn usage() -> impl Strategy<Value = Usage> {
    let cpu = (share(), share(), share(), share(), any::<Option<u64>>(), any::<Option<u64>>()).prop_map(
        |(system, user, percent, total_ticks, throttled_periods, throttled_time)| CpuUsage {
            system,
            user,
            percent,
            total_ticks,
            throttled_periods,
            throttled_time,
        },
    );
    let memory =
        any::<[Option<u64>; 7]>().prop_map(|[rss, cache, swap, usage, max_usage, kernel_usage, kernel_max_usage]| {
            MemoryUsage { rss, cache, swap, usage, max_usage, kernel_usage, kernel_max_usage }
        });
    (cpu, memory).prop_map(|(cpu, memory)| Usage { cpu, memory })
}

/// Through the bytes.
fn sent<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn handles(config in task(), version in any::<i32>(), driver_state in bytes(), ended in any::<bool>()) {
        let state = if ended { TaskState::Exited } else { TaskState::Running };
        let whole = TaskHandle { version, config, state, driver_state };
        prop_assert_eq!(handle_from(sent(handle(&whole))), Some(whole));
    }

    #[test]
    fn results_of_waiting(exit in how(), unknown in option::of("[a-z]{1,9}")) {
        let whole = WaitResult { exit, unknown };
        prop_assert_eq!(wait_result_from(sent(wait_result(whole.clone()))), Some(whole));
    }

    #[test]
    fn inspections(
        names in (word(), word()),
        times in (option::of(moment()), option::of(moment())),
        exit in option::of(how()),
        attributes in words(),
        network in option::of((btree_map(word(), any::<i32>(), 0..3), word(), any::<bool>())),
    ) {
        let whole = TaskStatus {
            id: names.0,
            name: names.1,
            state: if exit.is_some() { TaskState::Exited } else { TaskState::Running },
            started_at: times.0,
            completed_at: times.1,
            exit,
            attributes,
            network: network.map(|(ports, address, advertise)| NetworkOverride { ports, address, advertise }),
        };
        prop_assert_eq!(status_from(sent(status(whole.clone()))), Ok(whole));
    }

    #[test]
    fn figures(at in moment(), total in usage(), by_pid in btree_map("[0-9]{1,5}", usage(), 0..3)) {
        let whole = TaskStats { at, total, by_pid };
        prop_assert_eq!(stats_from(sent(stats("id", &whole))), Ok(whole));
    }

    #[test]
    fn capabilities_of_drivers(flags in any::<[bool; 6]>(), networks in vec(mode(), 0..4), fs in 0..4usize) {
        let [signals, exec, makes_network, mounts, collects_logs, dynamic_users] = flags;
        let isolation =
            [FsIsolation::None, FsIsolation::Chroot, FsIsolation::Image, FsIsolation::Unveil][fs];
        let whole = Capabilities {
            signals,
            exec,
            isolation,
            networks,
            makes_network,
            mounts,
            collects_logs,
            dynamic_users,
        };
        prop_assert_eq!(capabilities_from(&sent(capabilities(&whole))), whole);
    }

    #[test]
    fn events(at in moment(), names in (word(), word(), word()), message in "[a-z]{0,9}") {
        let (task_id, alloc_id, task_name) = names;
        let annotations = [("why".to_owned(), "so".to_owned())].into();
        let whole = TaskEvent { task_id, alloc_id, task_name, at, message, annotations };
        prop_assert_eq!(event_from(sent(event(whole.clone()))), Some(whole));
    }
}

#[test]
fn what_may_be_secret_does_not_show() {
    let config = TaskConfig {
        env: Env([("TOKEN".to_owned(), "s3cret".to_owned())].into()),
        device_env: Env([("YURT_IDS".to_owned(), "s3cret".to_owned())].into()),
        driver_config: Opaque(b"s3cret".to_vec()),
        ..TaskConfig::default()
    };
    let handle = TaskHandle { config, driver_state: Opaque(b"s3cret".to_vec()), ..TaskHandle::default() };
    for shown in [format!("{handle:?}"), format!("{handle:#?}")] {
        assert!(shown.contains("TOKEN") && shown.contains("YURT_IDS") && shown.contains("6 bytes"), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("115"), "{shown}");
    }
}

#[test]
fn what_is_missing_or_negative_is_none() {
    let task = task_from(proto::TaskConfig::default());
    assert_eq!(task, TaskConfig::default());
    let memory = proto::AllocatedMemoryResources { memory_mb: -5, memory_max_mb: -7 };
    let allocated = proto::AllocatedTaskResources { memory: Some(memory), ..Default::default() };
    let resources = proto::Resources { allocated_resources: Some(allocated), ..Default::default() };
    let task = task_from(proto::TaskConfig { resources: Some(resources), ..Default::default() });
    assert_eq!((task.resources.memory_mb, task.resources.memory_max), (0, MemoryMax::Unlimited));
    assert_eq!(handle_from(proto::TaskHandle::default()), None);
    assert_eq!(wait_result_from(proto::WaitTaskResponse::default()), None);
    assert_eq!(status_from(proto::InspectTaskResponse::default()), Err("task"));
    assert_eq!(stats_from(proto::TaskStatsResponse::default()), Err("stats"));
}

#[test]
fn a_fingerprint_with_an_error_is_bad_health() {
    let message = proto::FingerprintResponse {
        health: HealthState::Healthy.into(),
        err: "the bus is on fire".to_owned(),
        ..Default::default()
    };
    let health = fingerprint_from(message).health;
    assert_eq!(health, Health::Unhealthy { reason: "the bus is on fire".to_owned() });
}
