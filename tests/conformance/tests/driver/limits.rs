//! StartTask: control groups, and what they allow.

use std::fs;

use yurt_conformance::driver::{
    Flavour, Hierarchy, Program, Request, Task, each, of_yurt, refused, status_field, until,
};
use yurt_nomad::driver::MemoryMax;

use crate::said::said;

/// Memory limit, reservation and weight, as the kernel has them.
fn limits(task: &Task) -> (String, String, u64) {
    let read = |controller, file| task.site.cgroups.read(controller, file);
    match Hierarchy::here() {
        Hierarchy::V1 => (
            read("memory", "memory.limit_in_bytes"),
            read("memory", "memory.soft_limit_in_bytes"),
            read("cpu", "cpu.shares").parse().unwrap(),
        ),
        Hierarchy::V2 => {
            (read("memory", "memory.max"), read("memory", "memory.low"), read("cpu", "cpu.weight").parse().unwrap())
        }
    }
}

/// A weight as the kernel has it, from one in terms of version 1.
fn weight(shares: u64) -> u64 {
    match Hierarchy::here() {
        Hierarchy::V1 => shares,
        Hierarchy::V2 => 1 + (shares - 2) * 9999 / 262_142,
    }
}

#[tokio::test]
async fn s22_memory_and_processor_are_limited_as_the_job_says() {
    each("S22", async |node| {
        let unlimited = match Hierarchy::here() {
            Hierarchy::V1 => "9223372036854771712",
            Hierarchy::V2 => "max",
        };
        let bytes = |mb: u64| (mb << 20).to_string();
        for (memory_max, hard, reserved) in [
            (MemoryMax::Reserved, bytes(96), None),
            (MemoryMax::Mb(160), bytes(160), Some(bytes(96))),
            (MemoryMax::Unlimited, unlimited.to_owned(), Some(bytes(96))),
        ] {
            let mut request = Request::of(Program::idle()).memory(96);
            (request.memory_max, request.cpu) = (memory_max, 1500);
            let task = node.run(request).await;
            task.ready().await;
            let (limit, reservation, shares) = limits(&task);
            assert_eq!(limit, hard, "{memory_max:?}");
            if let Some(reserved) = reserved {
                assert_eq!(reservation, reserved, "{memory_max:?}");
            }
            // The newest kernels reckon a weight from shares in another way.
            let close = weight(1500).abs_diff(shares) <= weight(1500) / 2 || Hierarchy::here() == Hierarchy::V2;
            assert!(close && shares > 1, "{shares}");
        }
    })
    .await;
}

#[tokio::test]
async fn s22_whole_cores_are_the_tasks_own() {
    each("S22", async |node| {
        let mut request = Request::of(Program::idle());
        request.cores = Some("1".into());
        let task = node.run(request).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        assert_eq!(status_field(pid, "Cpus_allowed_list").as_deref(), Some("1"));
    })
    .await;
}

#[tokio::test]
async fn s22_limits_by_the_kernels_names_are_the_jobs_where_they_are_granted() {
    of_yurt("S22", "a job of it has no such key", async |node| {
        if node.subject.flavour == Flavour::YurtRawExec {
            return;
        }
        let shell = node.subject.job_config(&Program::shell("ulimit -Sn; ulimit -Hn; echo ready; exec sleep 600"));
        let limits = "limits = { nofile = \"256:512\", \"pids.max\" = \"50\", \"cpu.max\" = \"50000 100000\" }";
        let program = Program::config(format!("{shell}{limits}"));
        let (_, why, _) = refused(node.try_run(program.clone()).await);
        assert!(why.contains("cpu.max = 50000 100000") && why.contains("yurt.grants.limits"), "{why}");
        let grants = "grants {\nlimits = [\"nofile\", \"pids.max\", \"cpu.max\"]\n}";
        let config = node.subject.plugin_config_with(grants);
        node.configure(&config).await.unwrap();
        let task = node.run(program).await;
        task.ready().await;
        assert_eq!(task.stdout().text(), "256\n512\nready\n");
        let read = |controller, file| task.site.cgroups.read(controller, file);
        assert_eq!(read("pids", "pids.max"), "50");
        match Hierarchy::here() {
            Hierarchy::V1 => assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000"),
            Hierarchy::V2 => assert_eq!(read("cpu", "cpu.max"), "50000 100000"),
        }
    })
    .await;
}

#[tokio::test]
async fn s23_a_task_is_in_the_agents_control_groups() {
    each("S23", async |node| {
        let task = node.run(Program::shell("cat /proc/self/cgroup; echo ready; exec sleep 600")).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let scope = format!("{}.web", task.config.alloc_id);
        match Hierarchy::here() {
            Hierarchy::V1 => {
                for controller in ["freezer", "cpu", "memory"] {
                    let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller)).unwrap();
                    assert!(line.ends_with(&format!("/nomad/{scope}")), "{line}");
                }
                assert!(groups.lines().any(|line| line.ends_with("cpuset:/nomad/share")), "{groups}");
            }
            Hierarchy::V2 => {
                let line = groups.lines().find(|line| line.starts_with("0::")).unwrap();
                assert!(
                    line.contains("/nomad.slice/share.slice/") && line.ends_with(&format!("{scope}.scope")),
                    "{line}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn s24_shares_are_what_the_kernel_takes() {
    each("S24", async |node| {
        for (cpu, shares) in [(0, 2), (1, 2), (2, 2), (1000, 1000)] {
            let mut request = Request::of(Program::idle());
            request.cpu = cpu;
            let task = node.run(request).await;
            task.ready().await;
            let (_, _, have) = limits(&task);
            assert!(have == weight(shares) || Hierarchy::here() == Hierarchy::V2 && have >= 1, "{cpu}: {have}");
        }
    })
    .await;
}

#[tokio::test]
async fn s24_on_a_node_with_more_than_the_kernels_largest_weight_shares_are_a_part_of_it() {
    each("S24", async |node| {
        if Hierarchy::here() == Hierarchy::V2 || node.subject.flavour == Flavour::RawExec {
            return;
        }
        let cores = std::thread::available_parallelism().unwrap().get() as u64;
        node.configure_with_mhz(262_144 * 2 / cores).await;
        let mut request = Request::of(Program::idle());
        request.cpu = 1024;
        let task = node.run(request).await;
        task.ready().await;
        assert_eq!(limits(&task).2, 512);
    })
    .await;
}

#[tokio::test]
async fn s26_a_task_does_not_inherit_the_plugins_oom_score() {
    each("S26", async |node| {
        let file = format!("/proc/{}/oom_score_adj", node.plugin_pid());
        // Not every root may lower it.
        fs::write(&file, "-100").or_else(|_| fs::write(&file, "300")).unwrap();
        assert_eq!(said(node, Program::shell("cat /proc/self/oom_score_adj")).await, "0\n");
    })
    .await;
}

#[tokio::test]
async fn s27_nothing_but_the_task_is_in_its_control_groups() {
    each("S27", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        // An init of the task's own pid namespace is part of it.
        let is_own = |other: u32| {
            other == pid || status_field(other, "NSpid").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
        };
        assert!(task.processes().into_iter().all(is_own), "{:?}", task.processes());
        if Hierarchy::here() == Hierarchy::V1 {
            for controller in ["cpu", "memory"] {
                let members = task.site.cgroups.read(controller, "cgroup.procs");
                assert!(members.lines().all(|pid| is_own(pid.parse().unwrap())), "{controller}: {members}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn s29_what_an_earlier_task_left_in_the_control_group_is_gone_before_the_start() {
    each("S29", async |node| {
        let site = node.site(false);
        let mut old = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let controllers: &[&str] =
            if Hierarchy::here() == Hierarchy::V1 { &["freezer", "cpu", "memory"] } else { &["all"] };
        for controller in controllers {
            fs::write(site.cgroups.dir(controller).join("cgroup.procs"), old.id().to_string()).unwrap();
        }
        // Somebody has to take its end, as a supervisor of its own would.
        let end = std::thread::spawn(move || old.wait().unwrap());
        let config = node.task_config(&site, &Request::of(Program::idle()));
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        until("the end of the old process", || end.is_finished()).await;
        assert!(task.runs().await);
    })
    .await;
}
