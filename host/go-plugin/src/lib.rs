//! HashiCorp's go-plugin protocol in Rust, both ends, over gRPC.
//!
//! An application starts a plugin as a child process and hands it a cookie and its wishes in environment variables. The plugin
//! listens on a unix socket of its own, says where in one line on stdout, and answers gRPC until it is told to end; on stderr it
//! logs one JSON object per line.
//!
//! * [`server`]: be a plugin. Ask [`server::invocation`] how this process was started, then [`server::serve`].
//! * [`log`]: the log on stderr, as a `tracing` layer and a panic hook.
//! * [`client`]: be the application, for tests, demonstrations and benchmarks. Launches, reads, kills in order, notices death, as
//!   the Go library does.
//! * [`handshake`]: the one line, written and read.
//!
//! Knows no product: the cookie and the application's protocol version come in a [`Handshake`], its services as
//! [`tonic::service::Routes`].

pub mod client;
#[doc(hidden)]
pub mod fuzzing;
pub mod handshake;
pub mod log;
pub mod proto;
pub mod server;
mod tls;

pub use handshake::Handshake;

/// Name under which every plugin answers the standard gRPC health service (go-plugin's `Ping`).
pub const HEALTH_SERVICE: &str = "plugin";
