//! What a component is told, and what it says: streams, arguments, variables, exit codes.

use yurt_nomad::driver::ExitResult;

use crate::stage::{asked, on_a_node, run, said};

#[tokio::test]
async fn both_streams_are_the_task_s_logs() {
    on_a_node(async |node| {
        let task = run(node, &asked(&["hello"])).await;
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        task.stdout().says("to stdout\n").await;
        task.stderr().says("to stderr\n").await;
    })
    .await;
}

#[tokio::test]
async fn the_exit_code_is_the_component_s_own() {
    on_a_node(async |node| {
        for (words, code) in [(&["exit", "42"][..], 42), (&["exit", "0"], 0), (&["fail"], 1)] {
            let task = run(node, &asked(words)).await;
            assert_eq!(task.exit().await, ExitResult::code(code), "{words:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_trap_is_code_134_and_told_where_the_logs_are() {
    on_a_node(async |node| {
        let task = run(node, &asked(&["trap"])).await;
        assert_eq!(task.exit().await, ExitResult::code(134));
        task.stderr().says("yurt: the component trapped").await;
        task.stderr().says("unreachable").await;
    })
    .await;
}

#[tokio::test]
async fn arguments_and_variables_arrive_with_paths_as_the_component_sees_them() {
    on_a_node(async |node| {
        let words = said(node, &asked(&["arguments", "two words", ""])).await;
        assert_eq!(words, "[\"/local/app.wasm\", \"arguments\", \"two words\", \"\"]\n");
        let text = said(node, &asked(&["env", "NOMAD_TASK_DIR"])).await;
        assert_eq!(text, "Some((\"NOMAD_TASK_DIR\", \"/local\"))\n");
        let text = said(node, &asked(&["env", "USER"])).await;
        assert_eq!(text, "Some((\"USER\", \"nobody\"))\n");
        assert_eq!(said(node, &asked(&["env", "YURT_COMPONENT"])).await, "None\n");
    })
    .await;
}

#[tokio::test]
async fn variables_are_the_component_s_and_give_no_orders_to_what_runs_it() {
    on_a_node(async |node| {
        let request = asked(&["env", "LD_PRELOAD"]).env("LD_PRELOAD", "/nowhere/evil.so").env("LD_DEBUG", "all");
        let task = run(node, &request).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("/nowhere/evil.so").await;
        task.destroy(true).await.unwrap();
        assert_eq!(task.stderr().whole().await, "", "a dynamic linker would say that it cannot preload it");
    })
    .await;
}
