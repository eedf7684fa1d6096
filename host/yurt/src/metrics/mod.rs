//! Figures for Prometheus and whatever reads the same: `yurt guest metrics` prints those of guests, and `yurt { metrics = … }` serves them
//! with those of devices and tasks, over HTTP, to this machine only. Off unless the operator asks.

mod devices;
mod form;
pub(crate) mod guests;
mod tasks;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::exchange::{Answer, Request as Question, ask};
use crate::offer::Offers;
use crate::places::Places;

pub(crate) use tasks::Tasks;

/// Scrapers at once.
const CONNECTIONS: usize = 8;
/// For a question to come, and for its answer to be read.
const PATIENCE: Duration = Duration::from_secs(10);
/// A place that another process still holds is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// Where figures are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A socket file, for root and the plugin's user.
    Unix(PathBuf),
    /// An address of this machine's own loopback.
    Loopback(SocketAddr),
}

impl Endpoint {
    /// `unix:/run/yurt.sock`, `127.0.0.1:9177` or `[::1]:9177`.
    pub(crate) fn parse(given: &str) -> Result<Endpoint, String> {
        let wrong = |what: &str| format!("yurt.metrics = {given:?}: {what}");
        if let Some(path) = given.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Endpoint::Unix(path)) } else { Err(wrong("must be an absolute path")) };
        }
        match given.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Endpoint::Loopback(address)),
            Ok(_) => Err(wrong("must be an address of this machine alone, such as \"127.0.0.1:9177\"")),
            Err(_) => Err(wrong("must be such as \"unix:/run/yurt-metrics.sock\" or \"127.0.0.1:9177\"")),
        }
    }
}

/// What there is to be told.
pub(crate) struct Figures {
    pub(crate) places: Places,
    /// Of a device plugin.
    pub(crate) offers: Option<Arc<Offers>>,
    /// Of a task driver.
    pub(crate) tasks: Option<Tasks>,
}

/// Serves wherever the newest configuration says, until the plugin ends.
pub(crate) async fn run(mut wanted: watch::Receiver<Option<Endpoint>>, figures: Figures) {
    let figures = Arc::new(figures);
    let mut said = None;
    loop {
        let endpoint = wanted.borrow_and_update().clone();
        let Some(endpoint) = endpoint else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let until = tokio::select! {
            changed = wanted.changed() => changed,
            Err(why) = serve(&endpoint, &figures) => {
                let text = format!("figures cannot be served at {endpoint:?}: {why}");
                if said.as_ref() != Some(&text) {
                    tracing::warn!("{text}; this is tried again");
                    said = Some(text);
                }
                tokio::select! {
                    changed = wanted.changed() => changed,
                    () = tokio::time::sleep(AGAIN) => Ok(()),
                }
            }
        };
        if until.is_err() {
            return;
        }
    }
}

async fn serve(endpoint: &Endpoint, figures: &Arc<Figures>) -> io::Result<Infallible> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    match endpoint {
        Endpoint::Loopback(address) => {
            let listener = TcpListener::bind(address).await?;
            loop {
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                let (stream, _) = listener.accept().await?;
                let figures = Arc::clone(figures);
                tokio::spawn(async move { (converse(stream, figures).await, drop(place)) });
            }
        }
        Endpoint::Unix(path) => {
            let (listener, _bound) = (bind(path)?, Bound(path));
            loop {
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                let (stream, _) = listener.accept().await?;
                let figures = Arc::clone(figures);
                tokio::spawn(async move { (converse(stream, figures).await, drop(place)) });
            }
        }
    }
}

/// A socket file that goes with its listener.
struct Bound<'a>(&'a Path);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.0));
    }
}

/// A socket takes the place of one that was left; of nothing else.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One question and its answer.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, figures: Arc<Figures>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let figures = Arc::clone(&figures);
        async move { Ok::<_, Infallible>(answer(&request, figures).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false).max_buf_size(16 << 10);
    // Whoever does not speak HTTP, or leaves, is not answered.
    let _ = tokio::time::timeout(2 * PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await;
}

async fn answer(request: &Request<Incoming>, figures: Arc<Figures>) -> Response<String> {
    let said = |status: StatusCode, text: &str| {
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return said(StatusCode::NOT_FOUND, "figures are at /metrics\n");
    }
    if request.method() != Method::GET {
        return said(StatusCode::METHOD_NOT_ALLOWED, "figures are read\n");
    }
    let text = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(move || text(&figures))).await;
    match text {
        Ok(Ok(text)) => {
            let mut response = Response::new(text);
            let form = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, form);
            response
        }
        _ => said(StatusCode::SERVICE_UNAVAILABLE, "the plugin is busy\n"),
    }
}

fn text(figures: &Figures) -> String {
    let mut text = figures.offers.as_ref().map_or_else(String::new, |offers| devices::text(offers));
    text.push_str(&figures.tasks.as_ref().map_or_else(String::new, tasks::text));
    // By the way that people ask: what answers them answers this.
    match ask(&figures.places.control(), Question::Status) {
        Ok(Answer::Status(status)) => text.push_str(&guests::text(&[(figures.places.file_name().to_owned(), *status)])),
        Ok(_) => {}
        Err(why) => tracing::debug!(error = %why, "no figures of guests"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_can_be_served() {
        assert_eq!(Endpoint::parse("unix:/run/x.sock"), Ok(Endpoint::Unix("/run/x.sock".into())));
        assert!(matches!(Endpoint::parse("127.0.0.1:9177"), Ok(Endpoint::Loopback(_))));
        assert!(matches!(Endpoint::parse("[::1]:9177"), Ok(Endpoint::Loopback(_))));
        for (given, words) in [
            ("0.0.0.0:9177", "of this machine alone"),
            ("10.0.0.1:9177", "of this machine alone"),
            ("unix:run/x.sock", "absolute"),
            ("localhost", "such as"),
            ("", "such as"),
        ] {
            let why = Endpoint::parse(given).unwrap_err();
            assert!(why.starts_with("yurt.metrics = ") && why.contains(words), "{why}");
        }
    }
}
