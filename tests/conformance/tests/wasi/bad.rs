//! What is no task is refused before anything is started, in one sentence.

use std::os::unix::fs::symlink;

use yurt_conformance::driver::{Node, Program, Request, children, refused, until};

use crate::stage::{asked, component, on_a_node};

/// Why a task is not started whose component is this file.
async fn why(node: &mut Node, content: &[u8]) -> String {
    let site = node.site(false);
    std::fs::write(site.task_dir().join("local/app.wasm"), content).unwrap();
    let config = node.task_config(&site, &asked(&["hello"]));
    let (_, why, recoverable) = refused(node.start_at(&site, config).await);
    assert!(!recoverable && !why.contains('\n'), "{why}");
    why
}

#[tokio::test]
async fn what_is_no_command_of_wasi_is_refused_in_one_sentence_and_nothing_is_started() {
    on_a_node(async |node| {
        let named = |export: &str, import: &str| {
            wat::parse_str(format!(r#"(component {import} (instance $run) (export "{export}" (instance $run)))"#))
                .unwrap()
        };
        let http = r#"(import "wasi:http/types@0.2.6" (instance))"#;
        let mut damaged = component().to_vec();
        damaged.truncate(damaged.len() / 2);
        let mut invalid = component().to_vec();
        let middle = invalid.len() / 2;
        invalid[middle..middle + 64].fill(0xff);
        for (content, words) in [
            (b"#!/bin/sh\necho no\n".to_vec(), "it does not begin as WebAssembly does"),
            (Vec::new(), "it is empty"),
            (wat::parse_str("(module)").unwrap(), "core WebAssembly module"),
            (named("wasi:http/incoming-handler@0.2.6", ""), "does not export wasi:cli/run@0.2"),
            (named("wasi:cli/run@0.2.6", http), "it imports wasi:http/types@0.2.6"),
            (damaged, "it is cut off"),
            (invalid, "cannot be a task"),
        ] {
            let why = why(node, &content).await;
            assert!(why.contains(words) && why.contains("local/app.wasm"), "{why:?} lacks {words:?}");
        }
        until("no children of the plugin", || children(node.plugin_pid()).is_empty()).await;
        node.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_component_lies_in_the_task_s_directories() {
    on_a_node(async |node| {
        let site = node.site(false);
        symlink("/etc/passwd", site.task_dir().join("local/app.wasm")).unwrap();
        symlink("/usr/bin/env", site.task_dir().join("local/other.wasm")).unwrap();
        for (written, words) in [
            ("local/app.wasm", "a link on the way leads out of the task's directory"),
            ("local/nothing.wasm", "there is no file"),
            ("/etc/passwd", "must lie in the task's local, secrets or tmp, or in alloc"),
            ("local/../local/app.wasm", "must not hold .."),
        ] {
            let request = Request::of(Program::config(format!("component = \"{written}\"")));
            let config = node.task_config(&site, &request);
            let (_, why, _) = refused(node.start_at(&site, config).await);
            assert!(why.contains(words), "{why:?} lacks {words:?}");
        }
    })
    .await;
}
