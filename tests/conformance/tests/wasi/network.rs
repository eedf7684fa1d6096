//! Whom a component may talk to.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use yurt_nomad::driver::{ExitResult, PortMapping, TaskConfig};

use crate::stage::{asked, asked_with, on_a_node, run, try_run_with};
use yurt_conformance::driver::refused;

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn reserve(config: &mut TaskConfig, label: &str, port: u16) {
    let (value, host_ip) = (port.into(), "127.0.0.1".to_owned());
    config.resources.ports.push(PortMapping { label: label.into(), value, to: 0, host_ip });
}

#[tokio::test]
async fn a_component_listens_on_the_port_that_its_job_names() {
    on_a_node(async |node| {
        let port = free_port();
        let request = asked_with(&["listen", &port.to_string()], "listen = [\"http\"]");
        let task = try_run_with(node, &request, |config| reserve(config, "http", port)).await.unwrap();
        task.ready().await;
        let answer = tokio::task::spawn_blocking(move || {
            let mut caller = TcpStream::connect(("127.0.0.1", port)).unwrap();
            caller.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            caller.read_exact(&mut answer).unwrap();
            answer
        });
        assert_eq!(&answer.await.unwrap(), b"hello");
        task.stdout().says("heard hello").await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn a_component_listens_on_no_other_port_and_the_refusal_is_in_its_log() {
    on_a_node(async |node| {
        let (port, other) = (free_port(), free_port());
        for (keys, words) in
            [("listen = [\"http\"]", format!("127.0.0.1:{port} (http)")), ("", "names no port".to_owned())]
        {
            let request = asked_with(&["listen", &other.to_string()], keys);
            let task = try_run_with(node, &request, |config| reserve(config, "http", port)).await.unwrap();
            assert_eq!(task.exit().await, ExitResult::code(0));
            task.stdout().says("not listening: access-denied").await;
            if !keys.is_empty() {
                task.stderr().says(&format!("this task may not listen on 127.0.0.1:{other}")).await;
                task.stderr().says(&words).await;
            }
        }
        let request = asked_with(&["listen", "1"], "listen = [\"admin\"]");
        let (_, why, _) = refused(try_run_with(node, &request, |config| reserve(config, "http", port)).await);
        assert!(why.contains("\"admin\"") && why.contains("has http"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn a_component_calls_whom_the_operator_grants_and_nobody_else() {
    on_a_node(async |node| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let task = run(node, &asked(&["connect", &port.to_string()])).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("not connected: access-denied").await;

        node.configure(&format!("yurt {{\ngrants {{\nconnect = [\"127.0.0.1:{port}\"]\n}}\n}}")).await.unwrap();
        let task = run(node, &asked(&["connect", &port.to_string()])).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("connected\n").await;
        let task = run(node, &asked(&["connect", &free_port().to_string()])).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("not connected: access-denied").await;
        task.stderr().says("yurt.grants.connect").await;

        let (_, why, _) = refused(node.configure("yurt {\ngrants {\nconnect = [\"example.org\"]\n}\n}").await);
        assert!(why.contains("yurt.grants.connect") && why.contains("example.org"), "{why}");
    })
    .await;
}
