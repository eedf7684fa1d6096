//! The driver's services over a real unix socket, called with the agent's side of this crate.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod calls;
mod exec;
mod fake;
mod faults;
mod old;
mod streams;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};
use yurt_nomad::client::{CallError, Driver};
use yurt_nomad::driver::{TaskDriver, routes};

use fake::Fake;

struct Served {
    fake: Arc<Fake>,
    channel: Channel,
    driver: Driver,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

async fn served() -> Served {
    let fake = Arc::new(Fake::default());
    let (channel, dir) = serve(Arc::clone(&fake) as Arc<dyn TaskDriver>).await;
    let socket = socket(&dir);
    Served { fake, driver: Driver::new(channel.clone()), channel, socket, _dir: dir }
}

async fn serve(driver: Arc<dyn TaskDriver>) -> (Channel, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket(&dir);
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    tokio::spawn(Server::builder().add_routes(routes(driver)).serve_with_incoming(listener));
    (connect(&socket).await, dir)
}

fn socket(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("plugin.sock")
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

const SOON: Duration = Duration::from_secs(20);
/// Long enough that something wrongly sent would have come.
const WHILE: Duration = Duration::from_millis(200);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes in time")
}

async fn nothing<T: std::fmt::Debug>(future: impl Future<Output = T>) {
    if let Ok(answer) = tokio::time::timeout(WHILE, future).await {
        panic!("nothing should come: {answer:?}");
    }
}

async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What an answer with an error says.
fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> (Code, String) {
    match result {
        Err(CallError::Refused { code, message, .. }) => (code, message),
        other => panic!("not refused: {other:?}"),
    }
}
