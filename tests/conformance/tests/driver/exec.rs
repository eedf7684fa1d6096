//! ExecTask and ExecTaskStreaming: commands in a running task.

use std::time::{Duration, Instant};

use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use yurt_conformance::driver::{
    Flavour, Hierarchy, Node, Program, Request, Task, each, exists, in_a_root, namespace, of_yurt, refused, soon,
    until, within,
};
use yurt_conformance::patience;
use yurt_nomad::client::{ExecAnswer, ExecSession};
use yurt_nomad::driver::{ExecInput, ExecResult, ExitResult, OutputKind};
use yurt_nomad::proto::driver as proto;
use yurt_nomad::proto::driver::driver_client::DriverClient;

async fn idle(node: &mut Node) -> Task {
    let task = node.run(Program::idle()).await;
    task.ready().await;
    task
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A streamed shell text with its input, to the end.
async fn streamed(task: &Task, command: &str, tty: bool, input: &[ExecInput]) -> ExecResult {
    let mut session = task.stream(&["/bin/sh", "-c", command], tty).await;
    for input in input {
        session.send(input.clone()).await;
    }
    if !tty {
        // Nomad's own drivers wait for it.
        session.send(ExecInput::CloseStdin).await;
    }
    soon(session.finish()).await.unwrap()
}

/// What it wrote to both, and its code.
async fn told(task: &Task, command: &str, tty: bool, input: &[ExecInput]) -> (String, String, i32) {
    let result = streamed(task, command, tty, input).await;
    (text(&result.stdout), text(&result.stderr), result.exit.code)
}

fn stdin(text: &str) -> ExecInput {
    ExecInput::Stdin(text.as_bytes().to_vec())
}

#[tokio::test]
async fn x01_a_command_is_in_the_tasks_control_group() {
    each("X01", async |node| {
        let task = idle(node).await;
        let groups = task.sh("cat /proc/self/cgroup").await;
        match Hierarchy::here() {
            Hierarchy::V1 => {
                let scope = format!("/nomad/{}.web", task.config.alloc_id);
                for controller in ["freezer", "cpu", "memory"] {
                    let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller)).unwrap();
                    assert!(line.contains(&scope), "{line}");
                }
            }
            Hierarchy::V2 => assert!(groups.trim().ends_with(".scope"), "{groups}"),
        }
        let result = task.exec(&["/usr/bin/stat", "/no/such/file"]).await;
        assert_ne!(result.exit.code, 0);
        let said = text(&result.stdout) + &text(&result.stderr);
        assert!(said.contains("No such file or directory"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn x02_its_output_and_its_code_come_back() {
    each("X02", async |node| {
        let task = idle(node).await;
        let result = task.exec(&["/bin/sh", "-c", "seq 100"]).await;
        assert_eq!(text(&result.stdout).lines().count(), 100);
        assert_eq!(result.exit, ExitResult::code(0));
        assert_eq!(task.exec(&["/bin/sh", "-c", "exit 12"]).await.exit, ExitResult::code(12));
        let killed = task.exec(&["/bin/sh", "-c", "kill -9 $$"]).await.exit;
        if node.is_yurt() {
            assert_eq!(killed, ExitResult::signal(9));
        } else {
            assert_ne!(killed.code, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn x02_what_cannot_be_run_is_told() {
    each("X02", async |node| {
        let task = idle(node).await;
        let result = soon(node.driver.exec(task.id(), &["/no/such/program"], Duration::from_secs(5))).await;
        match result {
            Ok(result) => assert_ne!(result.exit.code, 0),
            Err(why) => assert!(why.to_string().contains("/no/such/program"), "{why}"),
        }
        let (code, ..) = refused(soon(node.driver.exec(task.id(), &[], Duration::from_secs(5))).await);
        assert!(!matches!(code, Code::Unavailable | Code::Cancelled));
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn x03_without_a_terminal_outputs_are_apart() {
    each("X03", async |node| {
        let task = idle(node).await;
        let command = "echo hello stdout; echo hello stderr >&2; exit 43";
        assert_eq!(told(&task, command, false, &[]).await, ("hello stdout\n".into(), "hello stderr\n".into(), 43));
    })
    .await;
}

#[tokio::test]
async fn x04_lines_come_as_they_are_written() {
    each("X04", async |node| {
        let task = idle(node).await;
        let mut session = task.stream(&["/bin/sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.4; done"], false).await;
        session.send(ExecInput::CloseStdin).await;
        let mut at = Vec::new();
        let mut out = Vec::new();
        while let Some(answer) = soon(session.next()).await.unwrap() {
            if let ExecAnswer::Output(OutputKind::Stdout, bytes) = answer {
                out.extend(bytes);
                at.push(Instant::now());
            }
        }
        assert_eq!(text(&out), "1\n2\n3\n");
        assert!(at.last().unwrap().duration_since(at[0]) > Duration::from_millis(600));
    })
    .await;
}

#[tokio::test]
async fn x05_without_a_terminal_there_is_none() {
    each("X05", async |node| {
        let task = idle(node).await;
        let (out, err, code) = told(&task, "stty size", false, &[]).await;
        assert!(out.is_empty() && err.contains("Inappropriate ioctl for device"), "{out} {err}");
        assert_eq!(code, 1);
    })
    .await;
}

#[tokio::test]
async fn x06_input_reaches_the_command() {
    each("X06", async |node| {
        let task = idle(node).await;
        let (out, ..) = told(&task, "echo hello from command; head -n1", false, &[stdin("hello from stdin\n")]).await;
        assert_eq!(out, "hello from command\nhello from stdin\n");
        // Its end, too.
        let input = [stdin("a\nb\n"), stdin("c\n"), ExecInput::CloseStdin];
        assert_eq!(told(&task, "wc -l", false, &input).await.0.trim(), "3");
    })
    .await;
}

#[tokio::test]
async fn x07_on_a_terminal_all_output_is_one() {
    each("X07", async |node| {
        let task = idle(node).await;
        let command = "echo hello stdout; echo hello stderr >&2; exit 43";
        let (out, err, code) = told(&task, command, true, &[]).await;
        assert_eq!((out.as_str(), err.as_str(), code), ("hello stdout\r\nhello stderr\r\n", "", 43));
    })
    .await;
}

#[tokio::test]
async fn x08_on_a_terminal_lines_come_too() {
    each("X08", async |node| {
        let task = idle(node).await;
        let (out, ..) = told(&task, "for n in 1 2 3; do echo $n; sleep 0.1; done", true, &[]).await;
        assert_eq!(out, "1\r\n2\r\n3\r\n");
    })
    .await;
}

#[tokio::test]
async fn x09_the_terminal_has_the_size_of_the_last_word() {
    each("X09", async |node| {
        let task = idle(node).await;
        let sizes = [(40, 50), (100, 100)].map(|(height, width)| ExecInput::Resize { height, width });
        let (out, ..) = told(&task, "sleep 0.5; stty size", true, &sizes).await;
        assert_eq!(out, "100 100\r\n");
    })
    .await;
}

#[tokio::test]
async fn x10_a_terminal_echoes_what_is_typed() {
    each("X10", async |node| {
        let task = idle(node).await;
        let (out, _, code) = told(&task, "head -n1", true, &[stdin("hello from stdin\n")]).await;
        assert_eq!((out.as_str(), code), ("hello from stdin\r\nhello from stdin\r\n", 0));
    })
    .await;
}

#[tokio::test]
async fn x11_a_terminal_session_ends_with_its_main_process() {
    each("X11", async |node| {
        let task = idle(node).await;
        let began = Instant::now();
        let later = patience(Duration::from_secs(5)).as_secs();
        let command = format!("(( sleep {later}; echo from background ) & ); echo from main; exec sleep 0.3");
        let (out, _, code) = told(&task, &command, true, &[]).await;
        assert_eq!((out.as_str(), code), ("from main\r\n", 0));
        assert!(began.elapsed() < patience(Duration::from_secs(4)), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn x11_what_is_typed_at_a_terminal_interrupts() {
    each("X11", async |node| {
        let task = idle(node).await;
        let mut session = task
            .stream(&["/bin/sh", "-c", "trap 'echo int; exit 9' INT; echo up; while :; do sleep 0.1; done"], true)
            .await;
        let mut out = Vec::new();
        while let Some(answer) = soon(session.next()).await.unwrap() {
            match answer {
                ExecAnswer::Output(_, bytes) => out.extend(bytes),
                ExecAnswer::Closed(_) => {}
                ExecAnswer::Exited(exit) => assert_eq!(exit, ExitResult::code(9)),
            }
            if text(&out) == "up\r\n" {
                session.send(stdin("\x03")).await;
            }
        }
        assert!(text(&out).ends_with("int\r\n"), "{:?}", text(&out));
    })
    .await;
}

#[tokio::test]
async fn x12_what_a_command_makes_is_where_the_task_makes_its_own() {
    each("X12", async |node| {
        let task = idle(node).await;
        let name = format!("made-{}", &task.config.alloc_id[..13]);
        let path = task.site.tmp_path(&name);
        for _ in 0..2 {
            let (out, err, code) = told(&task, &format!("echo here >> {path}; tail -n 1 {path}"), false, &[]).await;
            assert_eq!((out.as_str(), code), ("here\n", 0), "{err}");
        }
        let on_host = std::path::Path::new(&path).exists();
        assert_eq!(on_host, !node.subject.isolation.has_a_root());
        assert_eq!(task.sh(&format!("wc -l < {path}; rm {path}")).await, "2");
        if Hierarchy::here() == Hierarchy::V2 {
            let (groups, ..) = told(&task, "cat /proc/self/cgroup", false, &[]).await;
            assert!(groups.trim().ends_with(".scope"), "{groups}");
        }
    })
    .await;
}

#[tokio::test]
async fn x13_a_command_is_the_tasks_user_in_every_respect() {
    each("X13", async |node| {
        let who = "id -un; id -u; id -g; id -G; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status";
        let program = Program::shell(format!("{who}; echo ready; exec sleep 600"));
        let task = node.run(Request::of(program).user("nobody")).await;
        task.ready().await;
        let own = task.stdout().text();
        let own = own.trim_end().trim_end_matches("ready").trim_end();
        assert!(own.starts_with("nobody\n65534\n"), "{own}");
        let (streamed, ..) = told(&task, who, false, &[]).await;
        let (on_terminal, ..) = told(&task, who, true, &[]).await;
        if node.is_yurt() {
            assert_eq!(streamed.trim_end(), own);
            assert_eq!(on_terminal.replace('\r', "").trim_end(), own);
        } else {
            assert!(streamed.starts_with("nobody\n"), "{streamed}");
        }
        if node.subject.flavour != Flavour::Exec {
            assert!(task.sh(who).await.starts_with("nobody\n65534\n"));
        }
    })
    .await;
}

#[tokio::test]
async fn x13_a_command_has_the_tasks_variables_and_directory() {
    each("X13", async |node| {
        let task = node.run(Request::of(Program::idle()).env("FRUIT", "a pear")).await;
        task.ready().await;
        assert_eq!(task.sh("echo $FRUIT $NOMAD_TASK_NAME").await, "a pear web");
        let (out, ..) = told(&task, "echo $FRUIT $NOMAD_TASK_NAME", false, &[]).await;
        assert_eq!(out, "a pear web\n");
        assert_eq!(told(&task, "pwd -P", false, &[]).await.0, format!("{}\n", task.sh("pwd -P").await));
    })
    .await;
}

#[tokio::test]
async fn x14_a_command_sees_the_tasks_processes() {
    in_a_root("X14", async |node| {
        let task = idle(node).await;
        let pid = task.process("sleep").await;
        for kind in ["pid", "mnt", "ipc"] {
            let seen = task.sh(&format!("readlink /proc/self/ns/{kind}")).await;
            assert_eq!(seen, namespace(pid, kind).display().to_string());
        }
        let listed = task.sh("cat /proc/[0-9]*/comm").await;
        assert!(listed.lines().any(|name| name == "sleep"), "{listed}");
    })
    .await;
}

#[tokio::test]
async fn x15_a_session_begins_with_what_to_run() {
    each("X15", async |node| {
        let (input, requests) = tokio::sync::mpsc::channel(1);
        input.send(proto::ExecTaskStreamingRequest::default()).await.unwrap();
        let mut raw = DriverClient::new(node.channel());
        let answer = async {
            let mut output = raw.exec_task_streaming(ReceiverStream::new(requests)).await?.into_inner();
            output.message().await.map(|_| ())
        };
        let why = soon(answer).await.unwrap_err();
        assert!(!matches!(why.code(), Code::Unavailable | Code::Cancelled), "{why}");
    })
    .await;
}

#[tokio::test]
async fn x16_both_outputs_come_whole_and_the_timeout_holds() {
    each("X16", async |node| {
        let task = idle(node).await;
        let began = Instant::now();
        let result = soon(node.driver.exec(task.id(), &["/bin/sleep", "607"], Duration::from_millis(500))).await;
        assert!(began.elapsed() < patience(Duration::from_secs(10)), "{:?}", began.elapsed());
        if let Ok(result) = result {
            assert_ne!(result.exit.code, 0);
        }
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn x16_neither_output_is_cut() {
    of_yurt("X16", "it keeps the last 4 KiB, of both together", async |node| {
        let task = idle(node).await;
        let result = task.exec(&["/bin/sh", "-c", "head -c 300000 /dev/zero; echo no >&2; exit 3"]).await;
        // Both stand in stdout, since agents look at nothing else.
        assert_eq!((result.stdout.len(), text(&result.stderr).as_str()), (300_003, "no\n"));
        assert_eq!(result.exit, ExitResult::code(3));
    })
    .await;
}

#[tokio::test]
async fn x17_the_timeout_ends_all_of_the_command() {
    each("X17", async |node| {
        let task = idle(node).await;
        let began = Instant::now();
        let command = ["/bin/sh", "-c", "sleep 608 & setsid sleep 609 & sleep 610"];
        let result = soon(node.driver.exec(task.id(), &command, Duration::from_secs(1))).await;
        if let Ok(result) = result {
            assert_ne!(result.exit.code, 0);
        }
        assert!(began.elapsed() < patience(Duration::from_secs(8)), "{:?}", began.elapsed());
        let only_the_task = || sleeps(&task).len() == 1;
        assert!(within(Duration::from_secs(5), only_the_task).await, "{:?}", sleeps(&task));
        assert!(task.runs().await);
    })
    .await;
}

fn sleeps(task: &Task) -> Vec<u32> {
    let name = |pid: u32| yurt_conformance::driver::status_field(pid, "Name").unwrap_or_default();
    task.processes().into_iter().filter(|pid| name(*pid) == "sleep").collect()
}

#[tokio::test]
async fn x17_without_a_timeout_a_command_may_take_its_time() {
    of_yurt("X17", "it takes nothing for no time", async |node| {
        let task = idle(node).await;
        let result =
            soon(node.driver.exec(task.id(), &["/bin/sh", "-c", "sleep 1.2; echo late"], Duration::ZERO)).await;
        assert_eq!(text(&result.unwrap().stdout), "late\n");
    })
    .await;
}

#[tokio::test]
async fn x18_a_hundred_megabytes_arrive_before_the_end() {
    each("X18", async |node| {
        const ALL: usize = 100 << 20;
        let task = idle(node).await;
        let mut session =
            task.stream(&["/bin/sh", "-c", &format!("yes 0123456 | head -c {ALL}; exit 17")], false).await;
        session.send(ExecInput::CloseStdin).await;
        let mut got = 0;
        let mut exit = None;
        let all = async {
            while let Some(answer) = session.next().await.unwrap() {
                match answer {
                    ExecAnswer::Output(_, bytes) => {
                        assert!(exit.is_none());
                        // Eight bytes a line: where each piece stands is known.
                        let fits = bytes.iter().zip(got..).all(|(byte, at)| *byte == b"0123456\n"[at % 8]);
                        assert!(fits, "at {got}");
                        got += bytes.len();
                    }
                    ExecAnswer::Closed(_) => {}
                    ExecAnswer::Exited(result) => exit = Some(result),
                }
            }
        };
        tokio::time::timeout(patience(Duration::from_secs(90)), all).await.unwrap();
        assert_eq!((got, exit), (ALL, Some(ExitResult::code(17))));
    })
    .await;
}

#[tokio::test]
async fn x19_a_command_dies_with_its_caller() {
    each("X19", async |node| {
        let task = idle(node).await;
        for tty in [false, true] {
            let mut session = task.stream(&["/bin/sh", "-c", "echo up; exec cat"], tty).await;
            soon(session.next()).await.unwrap();
            let pid = task.process_called("cat");
            until("the command runs", || task.process_called("cat").is_some()).await;
            drop(session);
            assert!(
                within(Duration::from_secs(5), || task.process_called("cat").is_none()).await,
                "tty {tty}, {pid:?}"
            );
        }
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn x19_all_of_a_command_dies_with_its_caller() {
    of_yurt("X19", "it leaves its children", async |node| {
        let task = idle(node).await;
        for tty in [false, true] {
            let command = "trap '' HUP TERM INT; sleep 611 & setsid sleep 612 & echo up; while :; do sleep 0.1; done";
            let mut session = task.stream(&["/bin/sh", "-c", command], tty).await;
            soon(session.next()).await.unwrap();
            until("its children run", || sleeps(&task).len() >= 3).await;
            drop(session);
            assert!(
                within(Duration::from_secs(5), || sleeps(&task).len() == 1).await,
                "tty {tty}: {:?}",
                sleeps(&task)
            );
        }
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn x19_a_slow_reader_holds_the_command_back() {
    each("X19", async |node| {
        let task = idle(node).await;
        let command =
            "i=0; while :; do head -c 65536 /dev/zero; i=$((i+1)); echo $i > $NOMAD_ALLOC_DIR/data/blocks; done";
        let mut session: ExecSession = task.stream(&["/bin/sh", "-c", command], false).await;
        soon(session.next()).await.unwrap();
        let file = task.site.alloc_dir.join("alloc/data/blocks");
        let blocks =
            || std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        let mut before = blocks();
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = blocks();
            if now == before && now > 0 {
                break;
            }
            before = now;
            assert!(began.elapsed() < patience(Duration::from_secs(20)), "{now} blocks wait for a reader");
        }
        assert!(blocks() * 65_536 < 64 << 20, "{} blocks wait for a reader", blocks());
        // It goes on where it was.
        for _ in 0..200 {
            soon(session.next()).await.unwrap();
        }
        until("it goes on", || blocks() > before).await;
    })
    .await;
}

#[tokio::test]
async fn x20_after_the_tasks_end_nothing_runs_in_it() {
    each("X20", async |node| {
        let task = node.run(Program::shell("exit 0")).await;
        task.exit().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mark = task.site.alloc_path("data/mark");
        let command = ["/bin/sh", "-c", &format!("echo x > {mark}")];
        refused(soon(node.driver.exec(task.id(), &command, Duration::from_secs(5))).await);
        let streamed = async {
            let mut session = node.driver.exec_stream(task.id(), &command, false).await?;
            session.finish().await
        };
        refused(soon(streamed).await);
        assert!(!task.site.alloc_dir.join("alloc/data/mark").exists());
    })
    .await;
}

#[tokio::test]
async fn x20_a_command_that_outlives_the_task_ends_with_it() {
    in_a_root("X20", async |node| {
        let task = idle(node).await;
        let mut session = task.stream(&["/bin/sh", "-c", "echo up; exec sleep 613"], false).await;
        soon(session.next()).await.unwrap();
        task.stop(Duration::from_secs(1), "SIGKILL").await.unwrap();
        let end = soon(session.finish()).await;
        assert!(end.is_err() || end.as_ref().is_ok_and(|result| result.exit.code != 0), "{end:?}");
        until("no process is left", || !task.processes().iter().any(|pid| exists(*pid))).await;
    })
    .await;
}

#[tokio::test]
async fn x04_the_end_does_not_wait_for_the_end_of_the_input() {
    of_yurt("X04", "it waits for the end of the input", async |node| {
        let task = idle(node).await;
        let mut session = task.stream(&["/bin/sh", "-c", "echo done; exit 4"], false).await;
        let result = soon(session.finish()).await.unwrap();
        assert_eq!((text(&result.stdout).as_str(), result.exit.code), ("done\n", 4));
    })
    .await;
}
