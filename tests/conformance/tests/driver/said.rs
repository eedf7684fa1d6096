//! Tasks that are run for what they print, and starts of which nothing may come.

use yurt_conformance::driver::{Node, Program, Request, children, until};
use yurt_nomad::driver::{ExitResult, TaskConfig};

/// Runs a shell text to its good end; what it printed.
pub(crate) async fn said(node: &mut Node, request: impl Into<Request>) -> String {
    let task = node.run(request).await;
    assert_eq!(task.exit().await, ExitResult::code(0), "{}{}", task.stdout().text(), task.stderr().text());
    task.destroy(true).await.unwrap();
    task.stdout().whole().await
}

/// The same with something else in the task than what a request can say.
pub(crate) async fn said_with(node: &mut Node, program: Program, change: impl FnOnce(&mut TaskConfig)) -> String {
    let site = node.site(false);
    let mut config = node.task_config(&site, &Request::of(program));
    change(&mut config);
    let task = node.start_at(&site, config).await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(task.exit().await, ExitResult::code(0), "{}{}", task.stdout().text(), task.stderr().text());
    task.destroy(true).await.unwrap();
    task.stdout().whole().await
}

/// Nothing runs that belongs to the plugin, and nothing of the task is there.
pub(crate) async fn nothing_came_of_it(node: &Node) {
    until("no children of the plugin", || children(node.plugin_pid()).is_empty()).await;
    node.nothing_is_left().await;
}
