//! A node with the WASI driver, and the component of these tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use yurt_conformance::driver::{Flavour, Isolation, Node, Program, Request, Site, Subject, Task, quoted};
use yurt_nomad::client::CallError;
use yurt_nomad::driver::TaskConfig;

/// The driver, as an operator has it who says nothing.
pub(crate) const SUBJECT: Subject = Subject { flavour: Flavour::YurtWasi, isolation: Isolation::None };

/// The body with a node; then a look for what is left.
pub(crate) async fn on_a_node(body: impl AsyncFn(&mut Node)) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the tests of the WASI driver need root");
        return;
    }
    let mut node = Node::start(SUBJECT).await;
    body(&mut node).await;
    node.finish().await;
}

/// The component, built once.
pub(crate) fn component() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let ours = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let out: PathBuf = ours.join("wasi");
        let status = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../wasi/build.sh"))
            .arg(&out)
            // Where the build of the binary has the toolchain, too.
            .env("YURT_GUESTS_TARGET", ours.with_file_name("guests"))
            .status()
            .expect("sh");
        assert!(status.success(), "tests/wasi/build.sh failed, see above");
        std::fs::read(out.join("task.wasm")).expect("the component")
    })
}

/// A request to run it with these arguments, and further keys of a job.
pub(crate) fn asked_with(words: &[&str], keys: &str) -> Request {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let args = words.join(", ");
    Request::of(Program::config(format!("component = \"local/app.wasm\"\nargs = [{args}]\n{keys}")))
}

pub(crate) fn asked(words: &[&str]) -> Request {
    asked_with(words, "")
}

/// A place with the component in it.
pub(crate) fn site(node: &mut Node) -> Arc<Site> {
    let site = node.site(false);
    std::fs::write(site.task_dir().join("local/app.wasm"), component()).expect("a file");
    site
}

/// Starts it with something else than what a request can say.
pub(crate) async fn try_run_with(
    node: &mut Node,
    request: &Request,
    change: impl FnOnce(&mut TaskConfig),
) -> Result<Task, CallError> {
    let site = site(node);
    let mut config = node.task_config(&site, request);
    change(&mut config);
    node.start_at(&site, config).await
}

/// Starts it.
pub(crate) async fn run(node: &mut Node, request: &Request) -> Task {
    try_run_with(node, request, |_| {}).await.unwrap_or_else(|why| panic!("{why}"))
}

/// Runs it to its good end; what it printed.
pub(crate) async fn said(node: &mut Node, request: &Request) -> String {
    let task = run(node, request).await;
    let exit = task.exit().await;
    assert_eq!(exit.code, 0, "{}{}", task.stdout().text(), task.stderr().text());
    task.destroy(true).await.unwrap();
    task.stdout().whole().await
}
