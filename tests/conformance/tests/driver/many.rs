//! Many tasks: no exit code lost or taken for another's, no want of memory missed, nothing left.
//!
//! A few here; `just tasks` has a thousand, and 200 that want too much memory.

use std::time::Duration;

use tokio::task::JoinSet;
use yurt_conformance::driver::{Flavour, Node, Program, Request, each, soon};
use yurt_nomad::driver::ExitResult;

/// How many at a time.
const AT_ONCE: usize = 20;

/// By the environment, else few.
pub(crate) fn count(variable: &str, few: usize) -> usize {
    std::env::var(variable)
        .ok()
        .map_or(few, |count| count.parse().unwrap_or_else(|_| panic!("{variable} is {count:?}")))
}

#[tokio::test]
async fn w10_each_of_many_short_tasks_has_its_own_exit_code() {
    each("W10", async |node| {
        let all = count("YURT_SHORT_TASKS", 40);
        let mut begun = 0;
        while begun < all {
            let some = AT_ONCE.min(all - begun);
            let starts: Vec<_> = (begun..begun + some).map(|number| (number, prepared(node, number))).collect();
            let mut running = JoinSet::new();
            for (number, (config, mut driver)) in starts {
                running.spawn(async move {
                    soon(driver.start(&config)).await.unwrap_or_else(|why| panic!("{why}"));
                    let result = soon(driver.wait(&config.id)).await.unwrap();
                    soon(driver.destroy(&config.id, true)).await.unwrap();
                    (number, result)
                });
            }
            for (number, result) in running.join_all().await {
                let code = i32::try_from(number % 200).unwrap();
                assert_eq!((result.exit, &result.unknown), (ExitResult::code(code), &None), "task {number}");
            }
            begun += some;
            node.nothing_is_left().await;
            node.forget_sites();
        }
    })
    .await;
}

fn prepared(node: &mut Node, number: usize) -> (yurt_nomad::driver::TaskConfig, yurt_nomad::client::Driver) {
    let site = node.site(false);
    let request = Request::of(Program::shell(format!("exit {}", number % 200))).memory(64);
    (node.task_config(&site, &request), node.driver.clone())
}

#[tokio::test]
async fn w08_a_want_of_memory_is_seen_every_time() {
    each("W08", async |node| {
        let all = count("YURT_HUNGRY_TASKS", 6);
        for number in 0..all {
            let task = node.run(Request::of(Program::shell("exec tail /dev/zero")).memory(48)).await;
            let exit = task.exit().await;
            if node.subject.flavour == Flavour::Exec {
                assert_ne!(exit.code, 0, "task {number}");
            } else {
                assert_eq!(exit, ExitResult { oom_killed: true, ..ExitResult::signal(9) }, "task {number}");
            }
            task.destroy(true).await.unwrap();
            node.nothing_is_left().await;
            node.forget_sites();
        }
    })
    .await;
}

#[tokio::test]
async fn d04_many_tasks_one_after_the_other_leave_the_plugin_as_it_was() {
    each("D04", async |node| {
        let all = count("YURT_CYCLES", 12);
        let pid = node.plugin_pid();
        let fds = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let mut before = 0;
        for number in 0..all {
            let task = node.run(Program::shell("exit 0")).await;
            task.exit().await;
            task.destroy(true).await.unwrap();
            node.nothing_is_left().await;
            node.forget_sites();
            if number == 3 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                before = fds();
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(fds() <= before + 3, "{before} open files, then {}", fds());
    })
    .await;
}
