//! The application's side: launch a plugin, talk to it, read its log, end it, notice its death. For tests, demonstrations and
//! benchmarks that want to see what a Go parent would see.
//!
//! Where Go's library is strange, so is this: a first line is judged in its order (`handshake.rs`), log lines by its rules
//! (`lines.rs`), and a plugin counts as dead only once nobody holds its stdout or stderr any more (`process.rs`).

mod connect;
mod lines;
mod log;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::handshake::{Address, Handshake, Line, LineError};
use crate::proto::Empty;
use crate::proto::grpc_controller_client::GrpcControllerClient;
use crate::tls::{Identity, TlsError};
use connect::StandingStreams;
pub use lines::{Form, LogLine};
pub use log::LogReader;
use process::Process;

/// What Go's library gives a plugin for its first line.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// And for its end after `Shutdown`.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How to start a plugin.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The file, as `argv[0]`, too.
    pub program: PathBuf,
    /// Arguments after that.
    pub args: Vec<OsString>,
    /// Variables beside this process's own and those of the handshake, which win.
    pub env: Vec<(OsString, OsString)>,
    /// What both sides have agreed on.
    pub handshake: Handshake,
    /// Asks for mutual TLS with certificates made for this launch.
    pub auto_mtls: bool,
    /// How long the first line may take; a minute.
    pub start_timeout: Duration,
}

/// Why there is no plugin to talk to. Its process was killed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No process.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The file.
        program: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended first.
    #[error("{} ended with {status} before its handshake line{}", program.display(), said(stderr))]
    Ended {
        /// The file.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// Its last words.
        stderr: String,
    },
    /// It closed stdout without a word, and went on.
    #[error("{} closed its stdout without a handshake line{}", program.display(), said(stderr))]
    Silent {
        /// The file.
        program: PathBuf,
        /// Its last words.
        stderr: String,
    },
    /// It said nothing in time.
    #[error("{} printed no handshake line within {after:?}{}", program.display(), said(stderr))]
    Timeout {
        /// The file.
        program: PathBuf,
        /// [`Launch::start_timeout`].
        after: Duration,
        /// Its last words.
        stderr: String,
    },
    /// What it printed is no handshake, or not ours.
    #[error("{}: {source}", program.display())]
    Handshake {
        /// The file.
        program: PathBuf,
        /// What is wrong with the line.
        source: LineError,
    },
    /// One side wants TLS, the other does not.
    #[error("{}: {}", program.display(), if *.asked {
        "AutoMTLS was asked for, but the handshake line has no certificate: the plugin does not know it"
    } else {
        "the handshake line has a certificate, but AutoMTLS was not asked for"
    })]
    Certificate {
        /// The file.
        program: PathBuf,
        /// [`Launch::auto_mtls`].
        asked: bool,
    },
    /// Our own end of TLS.
    #[error("AutoMTLS: {0}")]
    Tls(#[from] TlsError),
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { " and said nothing on stderr".to_owned() } else { format!("; it said: {stderr}") }
}

impl Launch {
    /// With nothing special.
    pub fn new(program: impl Into<PathBuf>, handshake: Handshake) -> Launch {
        Launch {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            handshake,
            auto_mtls: false,
            start_timeout: START_TIMEOUT,
        }
    }

    /// Starts the process and waits for its handshake line. The connection follows at the first call.
    ///
    /// The process gets this one's environment, session and directory, and no stdin.
    ///
    /// # Errors
    ///
    /// When there is no usable handshake line in time; the process is gone by then.
    pub async fn start(&self) -> Result<Plugin, LaunchError> {
        let started = Instant::now();
        let identity = self.auto_mtls.then(Identity::generate).transpose()?;
        let (process, first_line) = Process::spawn(self.command(identity.as_ref()))
            .map_err(|source| LaunchError::Start { program: self.program.clone(), source })?;
        let line = match tokio::time::timeout(self.start_timeout, first_line).await {
            Ok(Ok(line)) => line,
            Ok(Err(_closed)) => return Err(self.ended(process).await),
            Err(_elapsed) => {
                process.kill_and_wait().await;
                let (program, after) = (self.program.clone(), self.start_timeout);
                return Err(LaunchError::Timeout { program, after, stderr: process.log().last_words() });
            }
        };
        let took = started.elapsed();
        match self.connect(&line, identity) {
            Ok((line, channel)) => Ok(Plugin::new(process, line, channel, took)),
            Err(why) => {
                process.kill_and_wait().await;
                Err(why)
            }
        }
    }

    fn command(&self, identity: Option<&Identity>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        command.env(self.handshake.cookie_key, self.handshake.cookie_value);
        command.env("PLUGIN_MIN_PORT", "10000").env("PLUGIN_MAX_PORT", "25000");
        command.env("PLUGIN_PROTOCOL_VERSIONS", self.handshake.protocol_version.to_string());
        if let Some(identity) = identity {
            command.env("PLUGIN_CLIENT_CERT", identity.pem());
        }
        command
    }

    /// stdout is at its end without a line: mostly because the process is, too.
    async fn ended(&self, process: Process) -> LaunchError {
        let program = self.program.clone();
        match tokio::time::timeout(END_TIMEOUT, process.died()).await {
            Ok(status) => LaunchError::Ended { program, status, stderr: process.log().last_words() },
            Err(_elapsed) => {
                process.kill_and_wait().await;
                LaunchError::Silent { program, stderr: process.log().last_words() }
            }
        }
    }

    fn connect(&self, line: &str, identity: Option<Identity>) -> Result<(Line, Channel), LaunchError> {
        let program = || self.program.clone();
        let line = Line::parse(line, &[self.handshake.protocol_version])
            .map_err(|source| LaunchError::Handshake { program: program(), source })?;
        let tls = match (identity, &line.certificate) {
            (Some(identity), Some(server)) => Some(identity.connector(server.clone())?),
            (None, None) => None,
            (asked, _) => return Err(LaunchError::Certificate { program: program(), asked: asked.is_some() }),
        };
        let channel = connect::lazily(line.address.clone(), tls);
        Ok((line, channel))
    }
}

/// A plugin that has introduced itself. Dropping it kills the process.
#[derive(Debug)]
pub struct Plugin {
    process: Process,
    line: Line,
    channel: Channel,
    streams: StandingStreams,
    handshake_took: Duration,
}

/// How a plugin ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Of the process.
    pub status: ExitStatus,
    /// It ended by itself within two seconds; otherwise it was killed.
    pub graceful: bool,
    /// From the beginning of `Shutdown` until the process had ended and its pipes were at their end.
    pub took: Duration,
}

impl Plugin {
    fn new(process: Process, line: Line, channel: Channel, handshake_took: Duration) -> Plugin {
        let streams = StandingStreams::open(&channel);
        Plugin { process, line, channel, streams, handshake_took }
    }

    /// The connection, for the application's own services. Clones keep it open.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.line.address
    }

    /// Its whole handshake line.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// From the start of the process to its handshake line.
    pub fn handshake_took(&self) -> Duration {
        self.handshake_took
    }

    /// What it logs, from its first line on.
    pub fn log(&self) -> LogReader {
        self.process.log().read()
    }

    /// The end of its log in one line, for an error message; empty if it said nothing.
    pub fn last_words(&self) -> String {
        self.process.log().last_words()
    }

    /// Asks for its health as a Go parent does.
    ///
    /// # Errors
    ///
    /// No answer, or another one than that it serves.
    pub async fn ping(&self) -> Result<(), Status> {
        let request = HealthCheckRequest { service: crate::HEALTH_SERVICE.to_owned() };
        let health = HealthClient::new(self.channel()).check(request).await?.into_inner();
        match health.status() {
            ServingStatus::Serving => Ok(()),
            other => Err(Status::unavailable(format!("the plugin says that it is {}", other.as_str_name()))),
        }
    }

    /// Resolves when the process has ended and nobody holds its stdout and stderr any more: only then a Go parent sees it.
    pub async fn died(&self) -> ExitStatus {
        self.process.died().await
    }

    /// Ends it as a Go parent does: `Shutdown`, close the connection, wait for two seconds, SIGKILL, wait for the end of both
    /// pipes. That last step has no bound: a child of the plugin that holds a pipe hangs it, and so it hangs the parent.
    pub async fn kill(self) -> Ended {
        let Plugin { process, channel, streams, .. } = self;
        let started = Instant::now();
        // Without deadline: only the plugin's end ends this call if the plugin does not answer.
        let mut controller = GrpcControllerClient::new(channel);
        tokio::select! {
            _ = controller.shutdown(Empty {}) => {}
            _ = process.died() => {}
        }
        drop((controller, streams));
        let (status, graceful) = match tokio::time::timeout(END_TIMEOUT, process.died()).await {
            Ok(status) => (status, true),
            Err(_elapsed) => (process.kill_and_wait().await, false),
        };
        Ended { status, graceful, took: started.elapsed() }
    }
}

/// All lines that a plugin wrote to stderr, for the fuzz targets.
pub(crate) async fn read_log(stderr: &[u8]) -> Vec<LogLine> {
    let log = std::sync::Arc::new(log::Log::default());
    lines::read_stderr(stderr, &log).await;
    let mut reader = log.read();
    std::iter::from_fn(|| reader.ready()).collect()
}
