//! The plugin's own life: Init, Shutdown, rough handling.

use std::time::{Duration, Instant};

use tonic::Code;
use yurt_conformance::driver::{Node, Program, Request, each, exists, of_yurt, refused, soon, until};
use yurt_conformance::patience;
use yurt_nomad::driver::{ExecInput, ExitResult, Opaque};

#[tokio::test]
async fn l01_init_may_come_as_often_as_it_likes() {
    of_yurt("L01", "its Nomad is older than the call", async |node| {
        for _ in 0..3 {
            soon(node.driver.init()).await.unwrap();
        }
        let task = node.run(Program::idle()).await;
        soon(node.driver.init()).await.unwrap();
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn l02_tasks_live_on_when_the_plugin_is_shut_down() {
    each("L02", async |node| {
        let task = node
            .run(Program::shell("echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; exit 42"))
            .await;
        task.ready().await;
        let pid = task.pid().await;
        if node.is_yurt() {
            soon(node.driver.shutdown()).await.unwrap();
        }
        let ended = node.end_plugin().await;
        assert!(ended.graceful, "{ended:?}");
        assert!(exists(pid));
        node.relaunch().await;
        let task = node.recover(&task).await.unwrap();
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        assert_eq!(task.exit().await, ExitResult::code(42));
    })
    .await;
}

#[tokio::test]
async fn l03_two_copies_serve_at_once() {
    each("L03", async |node| {
        let mut other = Node::start(node.subject).await;
        let (mine, theirs) = (node.run(Program::idle()).await, other.run(Program::idle()).await);
        mine.ready().await;
        theirs.ready().await;
        other.finish().await;
        assert!(mine.runs().await);
    })
    .await;
}

#[tokio::test]
async fn l04_a_config_that_is_nonsense_fails_that_call_alone() {
    each("L04", async |node| {
        let good = node.run(Program::idle()).await;
        for nonsense in [&b"\xc1"[..], b"", b"\x81", b"\xdf\xff\xff\xff\xff", &[0x91; 3000]] {
            let site = node.site(false);
            let mut config = node.task_config(&site, &Request::of(Program::idle()));
            config.driver_config = Opaque(nonsense.to_vec());
            let began = Instant::now();
            let (code, ..) = refused(node.start_at(&site, config).await.map(|task| task.config.id));
            assert!(!matches!(code, Code::Unavailable | Code::Cancelled), "{code:?}");
            assert!(began.elapsed() < patience(Duration::from_secs(10)));
        }
        assert!(good.runs().await);
    })
    .await;
}

#[tokio::test]
async fn l06_a_log_collector_that_dies_and_comes_back_does_no_harm() {
    each("L06", async |node| {
        let text = "trap 'echo PIPE; exit 13' PIPE; echo ready; i=0
            while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do i=$((i+1)); echo line $i; sleep 0.05; done; echo last $i; exit 42";
        let task = node.run(Program::shell(text)).await;
        task.stdout().says("line 3\n").await;
        task.stdout().stop();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(task.runs().await);
        let before = task.stdout().len();
        task.stdout().read();
        until("more lines", || task.stdout().len() > before).await;
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        task.stdout().says("last ").await;
        assert_eq!(task.exit().await, ExitResult::code(42));
        if node.is_yurt() {
            // What was written meanwhile waited in the pipe.
            let text = task.stdout().text();
            let (_, last) = text.trim_end().rsplit_once(' ').unwrap();
            for number in 1..=last.parse().unwrap() {
                assert!(text.contains(&format!("line {number}\n")), "line {number}: {text}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn l06_a_task_is_not_held_up_by_a_collector_that_reads_no_more() {
    of_yurt("L06", "the task waits for a reader, or dies", async |node| {
        // Far more than a pipe holds.
        let text = "echo ready; head -c 3000000 /dev/zero; exit 42";
        let task = node.run(Program::shell(text)).await;
        task.ready().await;
        task.stdout().stop();
        let began = Instant::now();
        assert_eq!(soon(task.driver.clone().wait(task.id())).await.unwrap().exit, ExitResult::code(42));
        assert!(began.elapsed() < patience(Duration::from_secs(25)), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn l07_calls_leave_nothing_open() {
    each("L07", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let pid = node.plugin_pid();
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let round = async |node: &mut Node| {
            for _ in 0..20 {
                soon(node.base.plugin_info()).await.unwrap();
                soon(node.driver.capabilities()).await.unwrap();
                soon(node.driver.task_schema()).await.unwrap();
                task.inspect().await;
            }
            for _ in 0..5 {
                task.exec(&["/bin/true"]).await;
                let mut session = task.stream(&["/bin/true"], false).await;
                session.send(ExecInput::CloseStdin).await;
                soon(session.finish()).await.unwrap();
                let other = node.run(Program::shell("exit 0")).await;
                other.exit().await;
                other.destroy(true).await.unwrap();
            }
        };
        round(node).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (fds, threads) = (count("fd"), count("task"));
        for _ in 0..3 {
            round(node).await;
        }
        until("as many open files as before", || count("fd") <= fds + 4).await;
        until("as many threads as before", || count("task") <= threads + 8).await;
    })
    .await;
}

#[tokio::test]
async fn l07_the_plugin_may_open_as_many_files_as_the_host_allows_and_tasks_as_many_as_it_was_given() {
    of_yurt("L07", "it keeps to what it was given", async |node| {
        node.end_plugin().await;
        node.hide("ulimit -Sn 512");
        node.relaunch().await;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.plugin_pid())).unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let [soft, hard] = [3, 4].map(|at| files.split_whitespace().nth(at).unwrap());
        assert_eq!(soft, hard, "{files}");
        let task = node.run(Program::shell("ulimit -Sn; ulimit -Hn; exec sleep 600")).await;
        task.stdout().says(&format!("512\n{hard}\n")).await;
        assert_eq!(task.sh("ulimit -Sn").await, "512");
    })
    .await;
}

#[tokio::test]
async fn l08_requests_that_make_no_sense_are_answered() {
    each("L08", async |node| {
        let task = node.run(Program::idle()).await;
        let site = node.site(false);
        let good = node.task_config(&site, &Request::of(Program::idle()));
        type Spoil = fn(&mut yurt_nomad::driver::TaskConfig);
        let spoils: [Spoil; 6] = [
            |config| config.alloc_dir = "relative".into(),
            |config| config.alloc_dir = "/no/such/dir".into(),
            |config| config.stdout_path = "/no/such/pipe".into(),
            |config| config.resources.linux.cgroup = "/sys/fs/cgroup/../../etc".into(),
            |config| config.name = "../../..".into(),
            |config| config.id = "x".repeat(100_000),
        ];
        if node.is_yurt() {
            for (number, spoil) in spoils.into_iter().enumerate() {
                let mut config = good.clone();
                spoil(&mut config);
                let result = soon(node.driver.start(&config)).await;
                if let Ok((handle, _)) = result {
                    soon(node.driver.destroy(&handle.config.id, true)).await.unwrap();
                    panic!("{number}: it starts");
                }
            }
        }
        for id in ["", "/", "..", "a\0b", "\u{202e}", &"x".repeat(70_000)] {
            refused(soon(node.driver.wait(id)).await);
            refused(soon(node.driver.inspect(id)).await);
            refused(soon(node.driver.signal(id, "SIGHUP")).await);
            refused(soon(node.driver.exec(id, &["true"], Duration::from_secs(1))).await);
        }
        assert!(task.runs().await);
    })
    .await;
}
