//! Commands in a task: streams, terminals, their end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use yurt_task::{Command, ExecError, ExecOptions, Exit, Task};

use crate::rig::{Rig, end, eventually, is_alive, is_root, patience};

pub(crate) fn shell(script: &str) -> ExecOptions {
    ExecOptions { argv: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecOptions::default() }
}

fn on_terminal(script: &str) -> ExecOptions {
    ExecOptions { tty: Some((24, 80)), ..shell(script) }
}

async fn idle(rig: &Rig) -> Task {
    rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap()
}

async fn over(rig: &Rig, task: Task) {
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

/// Everything a command says, and its exit.
pub(crate) async fn all(mut command: Command) -> (String, String, Exit) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut from, errors) = (command.stdout.take().unwrap(), command.stderr.take());
    let reading = async {
        tokio::join!(async { from.read_to_end(&mut stdout).await.unwrap() }, async {
            if let Some(mut errors) = errors {
                errors.read_to_end(&mut stderr).await.unwrap();
            }
        });
    };
    tokio::time::timeout(patience(Duration::from_secs(60)), reading).await.expect("its output ends");
    let exit = command.wait().await;
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), exit)
}

#[tokio::test]
async fn a_command_has_the_task_s_environment_and_streams_of_its_own() {
    for rig in Rig::both() {
        let task = idle(&rig).await;
        let mut options = shell("echo $WHO $MORE; echo sorry >&2; exit 43");
        options.env = vec![("MORE".into(), "and more".into())];
        let command = task.exec(options).await.unwrap();
        assert!(command.resizer().is_none());
        let (stdout, stderr, exit) = all(command).await;
        assert_eq!((stdout.as_str(), stderr.as_str(), exit.code), ("task and more\n", "sorry\n", 43));
        let (_, _, exit) = all(task.exec(shell("kill -15 $$")).await.unwrap()).await;
        assert_eq!((exit.code, exit.signal), (143, 15));
        assert_eq!(rig.log(), "", "nothing of it in the task's log");
        over(&rig, task).await;
    }
}

#[tokio::test]
async fn a_command_reads_until_its_input_is_closed() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let mut command = task.exec(shell("cat; echo end")).await.unwrap();
    let mut stdin = command.stdin.take().unwrap();
    let writing = tokio::spawn(async move {
        stdin.write_all("line\n".repeat(100_000).as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let (stdout, _, exit) = all(command).await;
    writing.await.unwrap();
    assert_eq!((stdout.len(), stdout.ends_with("line\nend\n"), exit.code), (500_004, true, 0));
    over(&rig, task).await;
}

#[tokio::test]
async fn a_hundred_megabytes_arrive_whole_although_the_command_ends_first() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let mut command = task.exec(shell("head -c 100000000 /dev/zero")).await.unwrap();
    let mut stdout = command.stdout.take().unwrap();
    let (mut total, mut buffer) = (0, vec![0; 65536]);
    loop {
        match stdout.read(&mut buffer).await.unwrap() {
            0 => break,
            read => total += read,
        }
    }
    assert_eq!((total, command.wait().await.code), (100_000_000, 0));

    // The last that fits into the pipe is read long after the end.
    let mut command = task.exec(shell("head -c 60000 /dev/zero")).await.unwrap();
    command.wait().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (stdout, _, _) = all(command).await;
    assert_eq!(stdout.len(), 60_000);
    over(&rig, task).await;
}

#[tokio::test]
async fn a_command_waits_for_a_reader() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let mut command = task.exec(shell("head -c 1000000 /dev/zero; echo written >&2")).await.unwrap();
    let mut errors = command.stderr.take().unwrap();
    let mut line = [0; 8];
    let early = tokio::time::timeout(Duration::from_millis(300), errors.read_exact(&mut line)).await;
    assert!(early.is_err(), "it cannot have written all");
    let (stdout, _, _) = all(command).await;
    assert_eq!(stdout.len(), 1_000_000);
    errors.read_exact(&mut line).await.unwrap();
    over(&rig, task).await;
}

#[tokio::test]
async fn a_child_that_holds_the_output_does_not_delay_the_end() {
    for tty in [false, true] {
        let rig = Rig::new();
        let task = idle(&rig).await;
        let script = "(sleep 300; echo late) & echo early; exit 5";
        let options = if tty { on_terminal(script) } else { shell(script) };
        let begun = Instant::now();
        let (stdout, _, exit) = all(task.exec(options).await.unwrap()).await;
        assert!(begun.elapsed() < patience(Duration::from_secs(10)));
        assert_eq!((stdout.trim_end(), exit.code), ("early", 5));
        over(&rig, task).await;
    }
}

#[tokio::test]
async fn a_terminal_has_a_size_which_changes_and_one_stream() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let mut command = task.exec(on_terminal("stty size; read line; stty size; echo sorry >&2; exit 43")).await.unwrap();
    assert!(command.stderr.is_none());
    let resizer = command.resizer().unwrap();
    let (mut stdin, mut stdout) = (command.stdin.take().unwrap(), command.stdout.take().unwrap());
    let mut first = [0; 7];
    stdout.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"24 80\r\n");
    resizer.resize(100, 90);
    resizer.resize(100, 100);
    stdin.write_all(b"go\n").await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(patience(Duration::from_secs(30)), stdout.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!((rest.as_str(), command.wait().await.code), ("go\r\n100 100\r\nsorry\r\n", 43));
    resizer.resize(1, 1);
    // Without a terminal there is no size.
    let (_, stderr, exit) = all(task.exec(shell("stty size")).await.unwrap()).await;
    assert!(stderr.contains("Inappropriate ioctl") && exit.code != 0, "{stderr}");
    over(&rig, task).await;
}

#[tokio::test]
async fn a_terminal_that_is_read_slowly_loses_nothing() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let mut command = task.exec(on_terminal("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done")).await.unwrap();
    let mut stdout = command.stdout.take().unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        let read = stdout.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..read]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let expected: String = (0..2000).map(|number| format!("{number}\r\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), expected);
    assert_eq!(command.wait().await.code, 0);
    over(&rig, task).await;
}

#[tokio::test]
async fn a_dropped_command_is_killed_with_all_it_started() {
    for rig in Rig::both() {
        let task = idle(&rig).await;
        let apart = if is_root() { "setsid" } else { "" };
        for tty in [false, true] {
            // Without control groups one that leaves the session is not found.
            let script = format!("trap '' HUP TERM; {apart} sleep 1000 & echo $!; sleep 1000");
            let script = script.as_str();
            let mut command = task.exec(if tty { on_terminal(script) } else { shell(script) }).await.unwrap();
            let mut child = String::new();
            let mut stdout = command.stdout.take().unwrap();
            while !child.ends_with('\n') {
                child.push(stdout.read_u8().await.unwrap().into());
            }
            let (child, leader): (u32, _) = (child.trim().parse().unwrap(), command.pid);
            assert!(is_alive(child) && is_alive(leader));
            drop(command);
            assert!(eventually(|| !is_alive(child) && !is_alive(leader)).await, "{child} of {leader} lives");
        }
        let mut command = task.exec(shell(&format!("{apart} sleep 1000 & sleep 1000"))).await.unwrap();
        command.kill().unwrap();
        assert_eq!(command.wait().await.signal, 9);
        assert!(eventually(|| task.processes() == [task.pid()]).await);
        over(&rig, task).await;
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_run_says_why() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let run = |argv: &[&str]| {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let task = task.clone();
        async move { task.exec(ExecOptions { argv, ..ExecOptions::default() }).await.unwrap_err().to_string() }
    };
    assert!(run(&["no-such-program"]).await.starts_with("looking for the program: no-such-program in /usr/local/sbin"));
    assert_eq!(run(&["/etc/passwd"]).await, "executing: /etc/passwd: Permission denied (os error 13)");
    assert_eq!(run(&[]).await, "looking for the program: there is no program");
    // What was to become the command ends a moment after it has said so.
    assert!(eventually(|| task.processes() == [task.pid()]).await);
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    task.wait().await;
    assert!(matches!(task.exec(shell("true")).await, Err(ExecError::Ended)));
    task.forget().await.unwrap();
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_command_ends_with_its_task() {
    let rig = Rig::new();
    let task = idle(&rig).await;
    let command = task.exec(shell("echo up; sleep 1000")).await.unwrap();
    let (task_, pid) = (task.clone(), command.pid);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        task_.kill(patience(Duration::from_secs(10))).await.unwrap();
    });
    let (stdout, _, exit) = all(command).await;
    assert_eq!((stdout.as_str(), exit.code), ("up\n", 137));
    assert!(!is_alive(pid));
    end(&task).await;
    rig.nothing_is_left();
}
