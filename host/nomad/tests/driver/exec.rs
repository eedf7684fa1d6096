//! Commands with streams: nothing lost, nothing out of order, nothing faster than it is read.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use yurt_nomad::client::{Driver, ExecAnswer};
use yurt_nomad::driver::{ExecInput, ExitResult, OutputKind};
use yurt_nomad::proto::driver as proto;
use yurt_nomad::proto::driver::driver_client::DriverClient;

use crate::{connect, nothing, refusal, served, soon, until};

#[tokio::test]
async fn both_outputs_close_and_the_exit_result_is_the_last_message() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["both"], false)).await.unwrap();
    let mut answers = Vec::new();
    while let Some(answer) = soon(session.next()).await.unwrap() {
        answers.push(answer);
    }
    let wanted = [
        ExecAnswer::Output(OutputKind::Stdout, b"out".to_vec()),
        ExecAnswer::Output(OutputKind::Stderr, b"err".to_vec()),
        ExecAnswer::Closed(OutputKind::Stderr),
        ExecAnswer::Closed(OutputKind::Stdout),
        ExecAnswer::Exited(ExitResult { code: 137, signal: 9, oom_killed: true }),
    ];
    assert_eq!(answers, wanted);
}

#[tokio::test]
async fn what_goes_in_comes_out_whole_and_in_order() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["cat"], false)).await.unwrap();
    let sender = session.sender();
    let chunk = |n: usize| vec![(n % 251) as u8; 1 + n * 97 % 50_000];
    let writer = tokio::spawn(async move {
        for n in 0..400 {
            sender.send(ExecInput::Stdin(chunk(n))).await;
            sender.heartbeat().await;
        }
        sender.send(ExecInput::CloseStdin).await;
    });
    let result = soon(session.finish()).await.unwrap();
    soon(writer).await.unwrap();
    let wanted: Vec<u8> = (0..400).flat_map(chunk).collect();
    assert!(wanted.len() > 5_000_000 && result.stdout == wanted, "{} of {}", result.stdout.len(), wanted.len());
    assert_eq!(result.exit, ExitResult::code(0));
}

#[tokio::test]
async fn input_of_every_kind_arrives_in_order_and_ends_with_the_callers() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["record"], true)).await.unwrap();
    let sent = [
        ExecInput::Resize { height: 24, width: 80 },
        ExecInput::Stdin(b"a".to_vec()),
        ExecInput::Resize { height: 100, width: 100 },
        ExecInput::CloseStdin,
    ];
    for input in sent.clone() {
        session.sender().heartbeat().await;
        session.send(input).await;
    }
    session.end_input();
    let result = soon(session.finish()).await.unwrap();
    assert_eq!(result.exit, ExitResult::code(1), "it was told of the terminal");
    assert_eq!(*served.fake.inputs.lock().unwrap(), sent);
}

#[tokio::test]
async fn a_command_writes_no_faster_than_it_is_read() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["flood", "800"], false)).await.unwrap();
    let written = || served.fake.written.load(Ordering::SeqCst);
    until(|| written() > 0).await;
    let mut stalled = 0;
    soon(async {
        while written() != stalled {
            stalled = written();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    assert!(stalled < 16 << 20, "{stalled} bytes wait for a reader");
    let result = soon(session.finish()).await.unwrap();
    let wanted = (0..800usize).flat_map(|n| std::iter::repeat_n(n as u8, 1 << 16));
    assert!(result.stdout.len() == 800 << 16 && result.stdout.into_iter().eq(wanted));
}

const ALL: [&[&str]; 5] = [&["hang"], &["flood", "100000"], &["idle"], &["cat"], &["deaf"]];

#[tokio::test]
async fn a_command_ends_when_its_caller_goes_away_whatever_it_is_at() {
    let mut served = served().await;
    for command in ALL {
        let session = soon(served.driver.exec_stream("a", command, false)).await.unwrap();
        for _ in 0..4 {
            soon(session.send(ExecInput::Stdin(vec![0; 1 << 12]))).await;
        }
        until(|| served.fake.waits() == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(session);
        until(|| served.fake.waits() == 0).await;
    }
}

#[tokio::test]
async fn a_command_ends_when_the_connection_breaks_whatever_is_under_way() {
    let served = served().await;
    for command in ALL {
        let (channel, cut) = cut_off(&served.socket).await;
        let session = soon(Driver::new(channel).exec_stream("a", command, false)).await.unwrap();
        let sender = session.sender();
        let feeding = tokio::spawn(async move {
            for _ in 0..100 {
                sender.send(ExecInput::Stdin(vec![0; 1 << 16])).await;
            }
        });
        until(|| served.fake.waits() == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        cut.abort();
        until(|| served.fake.waits() == 0).await;
        drop(session);
        soon(feeding).await.unwrap();
    }
}

/// A connection, and what to abort to break it.
async fn cut_off(to: &Path) -> (Channel, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("between.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let to = to.to_owned();
    let between = tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = UnixStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    });
    (connect(&socket).await, between)
}

#[tokio::test]
async fn a_command_that_reads_nothing_does_not_keep_its_caller_from_sending() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["deaf"], false)).await.unwrap();
    soon(async {
        for _ in 0..100 {
            session.send(ExecInput::Stdin(vec![0; 1 << 16])).await;
        }
    })
    .await;
    served.fake.go.notify_one();
    assert_eq!(soon(session.finish()).await.unwrap().exit, ExitResult::code(0));
}

#[tokio::test]
async fn nothing_comes_after_the_end_also_from_a_writer_that_goes_on() {
    let mut served = served().await;
    for _ in 0..20 {
        let mut session = soon(served.driver.exec_stream("a", &["late"], false)).await.unwrap();
        let result = soon(session.finish()).await.unwrap();
        assert!(result.stdout.starts_with(b"late ") && result.stdout.len() % 5 == 0);
    }
}

#[tokio::test]
async fn an_error_and_a_panic_come_after_what_was_written_before() {
    let mut served = served().await;
    for (what, code) in [("fail", Code::Internal), ("panic", Code::Internal), ("unknown", Code::NotFound)] {
        let mut session = soon(served.driver.exec_stream("a", &[what], false)).await.unwrap();
        let first = soon(session.next()).await.unwrap();
        assert_eq!(first, Some(ExecAnswer::Output(OutputKind::Stdout, b"before".to_vec())));
        assert_eq!(refusal(soon(session.next()).await).0, code);
    }
    let mut session = soon(served.driver.exec_stream("unknown:1", &["cat"], false)).await.unwrap();
    assert_eq!(refusal(soon(session.next()).await).0, Code::NotFound);
    assert_eq!(served.fake.waits(), 0);
}

#[tokio::test]
async fn a_session_begins_with_what_to_run() {
    let mut served = served().await;
    for command in [[].as_slice(), &[""]] {
        let mut session = soon(served.driver.exec_stream("a", command, false)).await.unwrap();
        assert_eq!(refusal(soon(session.next()).await).0, Code::InvalidArgument);
    }
    let mut raw = DriverClient::new(served.channel.clone());
    for first in [Some(proto::ExecTaskStreamingRequest::default()), None] {
        let (input, requests) = tokio::sync::mpsc::channel(1);
        match first {
            Some(first) => input.send(first).await.unwrap(),
            None => drop(input),
        }
        let mut output = raw.exec_task_streaming(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let why = soon(output.message()).await.unwrap_err();
        assert_eq!(why.code(), Code::InvalidArgument, "{why}");
    }
    // Input may come with it.
    let stdin = proto::ExecTaskStreamingIoOperation { data: b"x".to_vec(), close: true };
    let setup = proto::exec_task_streaming_request::Setup {
        task_id: "a".to_owned(),
        command: vec!["cat".to_owned()],
        tty: false,
    };
    let first = proto::ExecTaskStreamingRequest { setup: Some(setup), tty_size: None, stdin: Some(stdin) };
    let requests = tokio_stream::iter([first]);
    let mut output = raw.exec_task_streaming(requests).await.unwrap().into_inner();
    assert_eq!(soon(output.message()).await.unwrap().unwrap().stdout.unwrap().data, b"x");
}

#[tokio::test]
async fn a_silent_command_is_waited_for() {
    let mut served = served().await;
    let mut session = soon(served.driver.exec_stream("a", &["idle"], false)).await.unwrap();
    nothing(session.next()).await;
    served.fake.go.notify_one();
    assert_eq!(soon(session.finish()).await.unwrap().exit, ExitResult::code(0));
}
