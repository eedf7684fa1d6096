//! StopTask and SignalTask.

use std::time::{Duration, Instant};

use yurt_conformance::driver::{
    Flavour, Node, Program, Task, each, exists, in_a_root, in_the_hosts_files, of_yurt, refused, soon, within,
};
use yurt_conformance::patience;
use yurt_nomad::driver::{ExitResult, TaskState};

const GRACE: Duration = Duration::from_secs(20);

/// Ends by no signal but SIGKILL.
const STUBBORN: &str = "trap '' HUP INT QUIT TERM USR1 USR2; echo ready; while :; do sleep 0.1; done";

async fn started(node: &mut Node, program: Program) -> Task {
    let task = node.run(program).await;
    task.ready().await;
    task
}

#[tokio::test]
async fn t01_sigkill_ends_it_at_once() {
    each("T01", async |node| {
        let task = started(node, Program::idle()).await;
        let (took, exit) = task.stopped(patience(Duration::from_secs(2)), "SIGKILL").await;
        assert!(took < patience(Duration::from_millis(1500)), "{took:?}");
        assert_eq!(exit, ExitResult::signal(9));
        assert_eq!(task.inspect().await.state, TaskState::Exited);
    })
    .await;
}

#[tokio::test]
async fn t02_the_signal_of_the_job_is_sent() {
    each("T02", async |node| {
        let task = started(node, Program::idle()).await;
        let grace = patience(GRACE);
        let (took, exit) = task.stopped(grace, "SIGINT").await;
        assert!(took < grace / 2, "{took:?}");
        assert_eq!(exit, ExitResult::signal(2));
    })
    .await;
}

#[tokio::test]
async fn t03_a_shell_and_its_child_end() {
    each("T03", async |node| {
        let task = started(node, Program::shell("sleep 600 & echo ready; wait")).await;
        let all = task.processes();
        let (took, exit) = task.stopped(Duration::from_secs(1), "SIGINT").await;
        assert!(took < patience(Duration::from_secs(10)), "{took:?}");
        assert_ne!(exit, ExitResult::code(0));
        assert_eq!(task.inspect().await.state, TaskState::Exited);
        task.destroy(false).await.unwrap();
        for pid in all {
            node.gone(pid).await;
        }
    })
    .await;
}

#[tokio::test]
async fn t04_without_grace_it_is_gone_soon() {
    each("T04", async |node| {
        for (grace, signal) in [(0, "SIGKILL"), (100, "SIGKILL"), (0, "SIGTERM"), (100, "")] {
            let task = started(node, Program::shell(STUBBORN)).await;
            let pid = task.process("sh").await;
            let (took, exit) = task.stopped(Duration::from_millis(grace), signal).await;
            assert!(took < patience(Duration::from_secs(4)), "{grace} {signal}: {took:?}");
            node.gone(pid).await;
            assert_eq!(exit, ExitResult::signal(9), "{grace} {signal}");
        }
    })
    .await;
}

#[tokio::test]
async fn t05_nothing_comes_from_it_afterwards() {
    each("T05", async |node| {
        let task = started(node, Program::shell("echo ready; while :; do echo tick; sleep 0.02; done")).await;
        task.stdout().says("tick").await;
        let pid = task.process("sh").await;
        task.stopped(Duration::from_secs(5), "SIGKILL").await;
        assert!(!exists(pid));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = task.stdout().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(task.stdout().len(), before);
    })
    .await;
}

#[tokio::test]
async fn t06_a_child_in_a_session_of_its_own_ends_with_the_task() {
    each("T06", async |node| {
        let task = started(node, Program::shell("setsid sleep 604 & sleep 0.3; echo ready; wait")).await;
        let child = task.process("sleep").await;
        task.stopped(Duration::from_millis(500), "SIGTERM").await;
        node.gone(child).await;
    })
    .await;
}

#[tokio::test]
async fn t07_what_ignores_the_signal_is_killed_at_the_timeout_and_not_before() {
    each("T07", async |node| {
        let task = started(node, Program::shell(STUBBORN)).await;
        let (took, exit) = task.stopped(Duration::from_millis(1500), "SIGTERM").await;
        assert!((Duration::from_millis(1400)..patience(Duration::from_secs(4))).contains(&took), "{took:?}");
        assert_eq!(exit, ExitResult::signal(9));
    })
    .await;
}

#[tokio::test]
async fn t08_a_task_that_takes_its_time_within_the_timeout_is_not_killed() {
    each("T08", async |node| {
        let text = "trap 'sleep 0.7; echo done; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        let task = started(node, Program::shell(text)).await;
        let grace = patience(GRACE);
        let (took, exit) = task.stopped(grace, "SIGTERM").await;
        assert!((Duration::from_millis(600)..grace / 2).contains(&took), "{took:?}");
        assert_eq!(exit, ExitResult::code(5));
        task.stdout().says("done").await;
    })
    .await;
}

#[tokio::test]
async fn t08_a_timeout_beyond_all_clocks_is_one() {
    of_yurt("T08", "its clock has an end", async |node| {
        let text = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        for seconds in [u64::from(u32::MAX), i64::MAX.unsigned_abs()] {
            let task = started(node, Program::shell(text)).await;
            let (took, exit) = task.stopped(Duration::from_secs(seconds), "SIGTERM").await;
            assert!(took < patience(GRACE), "{took:?}");
            assert_eq!(exit, ExitResult::code(5));
        }
    })
    .await;
}

#[tokio::test]
async fn t09_a_signal_reaches_a_trap() {
    each("T09", async |node| {
        let text = "trap 'echo Terminated.; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
        let task = started(node, Program::shell(text)).await;
        task.signal("SIGUSR1").await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(3));
        task.stdout().says("Terminated.").await;
    })
    .await;
}

#[tokio::test]
async fn t10_signals_are_known_by_name_and_the_unknown_touch_nothing() {
    each("T10", async |node| {
        let text = "trap 'echo got usr1' USR1; trap 'echo got hup' HUP; echo ready; while :; do sleep 0.02; done";
        let task = started(node, Program::shell(text)).await;
        for unknown in ["SIGNONSENSE", "USR9", "-1", "SIGUSR1 ", "99", "0"] {
            let (_, why, _) = refused(task.signal(unknown).await);
            assert!(why.contains(unknown.trim()), "{why}");
        }
        assert!(task.runs().await);
        for (known, said) in [("SIGUSR1", 1), ("usr1", 2), ("SigUsr1", 3), ("10", 4)] {
            task.signal(known).await.unwrap();
            let count = || task.stdout().text().matches("got usr1").count() == said;
            assert!(within(GRACE, count).await, "{known}");
        }
        task.signal("SIGHUP").await.unwrap();
        task.stdout().says("got hup").await;
    })
    .await;
}

#[tokio::test]
async fn t11_the_jobs_signal_is_taken_and_the_drivers_own_only_without_one() {
    each("T11", async |node| {
        let text = "for s in HUP INT QUIT TERM USR1 USR2; do trap \"echo got $s; exit 0\" $s; done
            echo ready; while :; do sleep 0.02; done";
        for (signal, name) in [("SIGUSR2", "USR2"), ("SIGQUIT", "QUIT"), ("SIGTERM", "TERM"), ("", "")] {
            let task = started(node, Program::shell(text)).await;
            let (_, exit) = task.stopped(patience(GRACE), signal).await;
            task.stdout().says(&format!("got {name}")).await;
            assert_eq!(task.stdout().text().matches("got").count(), 1);
            assert_eq!(exit, ExitResult::code(0));
        }
    })
    .await;
}

#[tokio::test]
async fn t13_a_signal_for_a_task_that_nobody_knows_is_an_error() {
    each("T13", async |node| {
        let (_, why, _) = refused(soon(node.driver.signal("no/such/task", "SIGHUP")).await);
        assert!(why.contains("task not found"), "{why}");
        let task = started(node, Program::shell("echo ready; exit 0")).await;
        task.exit().await;
        if node.is_yurt() {
            let (_, why, _) = refused(task.signal("SIGHUP").await);
            assert!(!why.contains("task not found"), "{why}");
        }
        // To stop what has ended is no error.
        task.stop(Duration::from_secs(1), "SIGTERM").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn t14_to_stop_and_to_destroy_what_nobody_knows_is_done_already() {
    each("T14", async |node| {
        for id in ["no/such/task", "x"] {
            soon(node.driver.stop(id, Duration::from_secs(1), "SIGINT")).await.unwrap();
            soon(node.driver.destroy(id, true)).await.unwrap();
            soon(node.driver.destroy(id, false)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn t15_python_without_handlers_stops_by_sigterm_at_once() {
    each("T15", async |node| {
        let task = started(node, Program::python("import time\nprint('ready')\ntime.sleep(600)")).await;
        let (took, exit) = task.stopped(patience(GRACE), "SIGTERM").await;
        assert!(took < patience(Duration::from_secs(1)), "{took:?}");
        assert_eq!(exit, ExitResult::signal(15));
    })
    .await;
}

#[tokio::test]
async fn t15_python_gets_the_keyboards_interrupt_without_a_word_in_the_job() {
    of_yurt("T15", "a job of it names the signal", async |node| {
        let task = started(node, Program::python("import time\nprint('ready')\ntime.sleep(600)")).await;
        let (took, exit) = task.stopped(patience(GRACE), "").await;
        assert!(took < patience(Duration::from_secs(1)), "{took:?}");
        assert_ne!(exit, ExitResult::signal(9));
    })
    .await;
}

#[tokio::test]
async fn t08_the_most_impatient_of_several_stops_is_right() {
    of_yurt("T08", "all but one of several stops fail", async |node| {
        let task = started(node, Program::shell(STUBBORN)).await;
        let began = Instant::now();
        let stops: Vec<_> = [4000, 4000, 300]
            .into_iter()
            .map(|grace| {
                let task = task.clone();
                let grace = patience(Duration::from_millis(grace));
                tokio::spawn(async move { task.stop(grace, "SIGTERM").await })
            })
            .collect();
        for stop in stops {
            soon(stop).await.unwrap().unwrap();
        }
        assert!(began.elapsed() < patience(Duration::from_millis(3500)), "{:?}", began.elapsed());
        assert_eq!(task.exit().await, ExitResult::signal(9));
    })
    .await;
}

#[tokio::test]
async fn t06_without_a_pid_namespace_the_orphans_of_a_task_that_ended_die_when_it_is_stopped_or_destroyed() {
    in_the_hosts_files("T06", async |node| {
        let task = node.run(Program::shell("setsid sleep 605 & sleep 0.3; echo ready; exit 0")).await;
        task.ready().await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        let orphan = task.process("sleep").await;
        task.destroy(false).await.unwrap();
        node.gone(orphan).await;
    })
    .await;
}

#[tokio::test]
async fn t02_in_a_root_the_signal_reaches_the_task_and_not_an_init() {
    in_a_root("T02", async |node| {
        if node.subject.flavour == Flavour::Exec {
            return;
        }
        assert!(node.subject.isolation.has_a_root());
        let code = "import os, signal, sys, time
def tell(number, frame):
    print('signal', number, flush=True)
signal.signal(signal.SIGWINCH, tell)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True: time.sleep(1)";
        let task = started(node, Program::python(code)).await;
        task.signal("SIGTERM").await.unwrap();
        task.signal("SIGWINCH").await.unwrap();
        task.stdout().says("signal 28").await;
        assert!(task.runs().await);
    })
    .await;
}

const NO_SUCH_KEYS: &str = "its jobs cannot say so";

/// The same program with more keys in its `config` block.
fn with(node: &Node, program: Program, keys: &str) -> Program {
    Program::config(format!("{}\n{keys}\n", node.subject.job_config(&program)))
}

/// A shell with two children in sessions of their own, each of which says what it gets.
fn tree(signal: &str) -> Program {
    let child =
        format!("trap \"echo child got {signal}; exit 0\" {signal}; echo child ready; while :; do sleep 0.02; done");
    Program::shell(format!(
        "for i in 1 2; do setsid sh -c '{child}' & done\n\
         trap 'echo main got {signal}' {signal}; sleep 0.3; echo ready; while :; do sleep 0.02; done"
    ))
}

#[tokio::test]
async fn t12_sigterm_for_the_supervisor_ends_the_task() {
    of_yurt("T12", "where its supervisor is, is its own affair", async |node| {
        let text = "trap 'echo got term; exit 5' TERM; echo ready; while :; do sleep 0.02; done";
        let task = started(node, Program::shell(text)).await;
        let stubborn = started(node, Program::shell(STUBBORN)).await;
        for task in [&task, &stubborn] {
            let keeper = i32::try_from(task.supervisor()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            rustix::process::kill_process(keeper, rustix::process::Signal::TERM).unwrap();
        }
        assert_eq!(task.exit().await, ExitResult::code(5));
        task.stdout().says("got term").await;
        // What does not mind it is killed, and both ends are told.
        assert_eq!(stubborn.exit().await, ExitResult::signal(9));
    })
    .await;
}

#[tokio::test]
async fn t16_a_signal_for_all_reaches_every_process_also_after_a_recovery() {
    of_yurt("T16", NO_SUCH_KEYS, async |node| {
        let program = with(node, tree("USR1"), "signals = { SIGHUP = \"all:SIGUSR1\" }");
        let task = started(node, program).await;
        let said = |what: &str| task.stdout().text().matches(what).count();
        assert!(within(GRACE, || said("child ready") == 2).await, "{}", task.stdout().text());
        node.kill_plugin().await;
        node.relaunch().await;
        let task = node.recover(&task).await.unwrap();
        task.signal("SIGHUP").await.unwrap();
        let all = || said("child got USR1") == 2 && said("main got USR1") == 1;
        assert!(within(GRACE, all).await, "{}", task.stdout().text());
        // One that no rule is for is the main process's.
        task.signal("SIGUSR1").await.unwrap();
        assert!(within(GRACE, || said("main got USR1") == 2).await, "{}", task.stdout().text());
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn t16_a_signal_may_stand_for_a_command_in_the_task() {
    of_yurt("T16", NO_SUCH_KEYS, async |node| {
        let keys =
            "signals = { SIGUSR2 = \"run:/bin/cat /proc/self/status /no/such/file\", SIGHUP = \"run:/bin/true\" }";
        let program = with(node, Program::idle(), keys);
        let task = started(node, program).await;
        task.signal("SIGHUP").await.unwrap();
        let (_, why, _) = refused(task.signal("usr2").await);
        assert!(why.contains("stands for the signal") && why.contains("/no/such/file"), "{why}");
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn t16_a_stop_goes_step_by_step_to_the_whole_tree() {
    of_yurt("T16", NO_SUCH_KEYS, async |node| {
        let keys = "stop = [\"SIGINT 400ms\", \"all:SIGTERM 10s\"]";
        let text = "setsid sh -c 'trap \"echo child got term; exit 0\" TERM; trap \"\" INT; while :; do sleep 0.02; done' &
            trap 'echo got int' INT; trap 'wait; echo got term; exit 7' TERM; sleep 0.3; echo ready; while :; do sleep 0.02; done";
        let program = with(node, Program::shell(text), keys);
        let task = started(node, program).await;
        let (took, exit) = task.stopped(patience(GRACE), "").await;
        assert!((Duration::from_millis(390)..patience(Duration::from_secs(8))).contains(&took), "{took:?}");
        assert_eq!(exit, ExitResult::code(7));
        for said in ["got int", "child got term", "got term"] {
            task.stdout().says(said).await;
        }
    })
    .await;
}

#[tokio::test]
async fn t16_a_stop_is_over_when_the_task_ends_in_its_first_step_and_never_takes_longer_than_the_timeout() {
    of_yurt("T16", NO_SUCH_KEYS, async |node| {
        let keys = "stop = [\"SIGINT 30s\", \"all:SIGTERM 30s\"]";
        let text =
            "trap 'echo got int; exit 5' INT; trap 'echo got term' TERM; echo ready; while :; do sleep 0.02; done";
        let program = with(node, Program::shell(text), keys);
        let task = started(node, program).await;
        let (took, exit) = task.stopped(Duration::from_secs(60), "").await;
        assert!(took < patience(Duration::from_secs(5)), "{took:?}");
        assert_eq!((exit, task.stdout().text().contains("got term")), (ExitResult::code(5), false));

        let program = with(node, Program::shell(STUBBORN), keys);
        let task = started(node, program).await;
        let (took, exit) = task.stopped(Duration::from_millis(1000), "").await;
        assert!((Duration::from_millis(900)..patience(Duration::from_secs(4))).contains(&took), "{took:?}");
        assert_eq!(exit, ExitResult::signal(9));

        // The job's own signal goes before the steps.
        let program = with(
            node,
            Program::shell("trap 'exit 6' QUIT; trap '' INT; echo ready; while :; do sleep 0.02; done"),
            keys,
        );
        let task = started(node, program).await;
        let (took, exit) = task.stopped(Duration::from_secs(60), "SIGQUIT").await;
        assert!(took < patience(Duration::from_secs(5)), "{took:?}");
        assert_eq!(exit, ExitResult::code(6));
    })
    .await;
}

#[tokio::test]
async fn t16_what_is_no_signal_and_no_step_is_refused_by_its_key() {
    of_yurt("T16", NO_SUCH_KEYS, async |node| {
        for (keys, words) in [
            ("signals = { SIGFOO = \"SIGTERM\" }", "there is no signal \"SIGFOO\""),
            ("signals = { SIGHUP = \"everybody\" }", "signals.SIGHUP = \"everybody\""),
            ("stop = [\"SIGINT\", \"SIGTERM 1s\"]", "how long is it waited for"),
            ("stop = [\"SIGINT 5 s\"]", "stop[0]"),
        ] {
            let program = with(node, Program::idle(), keys);
            let (_, why, recoverable) = refused(node.try_run(program).await.map(|task| task.config.id));
            assert!(why.contains(words) && !recoverable, "{keys}: {why}");
        }
    })
    .await;
}
