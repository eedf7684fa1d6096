//! An agent in miniature: the launches that a Nomad client agent makes of one plugin, and the calls in each.
//!
//! Per start of its own an agent launches a plugin three times: to ask who it is, to check its configuration, to use it. The first
//! two are thrown away. None of the calls has a deadline, there as here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::Code;
use yurt_go_plugin::client::{Ended, Launch, LaunchError, Plugin};

use super::{Base, CallError, Device, Driver, PluginInfo};
use crate::device::AgentConfig;
use crate::schema::Spec;

/// The ports that agents hand out for their drivers' own use.
const PORTS: AgentConfig = AgentConfig { min_port: 14_000, max_port: 14_512, topology: None };

/// A connection breaks a moment before its plugin is seen to be dead.
const DEATH_MAX: Duration = Duration::from_millis(500);

/// How an agent would start one plugin of its plugin directory.
#[derive(Debug, Clone, Default)]
pub struct Agent {
    /// The file in the plugin directory; a link is started as the link.
    pub program: PathBuf,
    /// The stanza's `args`.
    pub args: Vec<OsString>,
    /// Variables beside this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// Agents do not ask for this.
    pub auto_mtls: bool,
}

/// Why an agent would not have the plugin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It did not come up.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A call failed.
    #[error("{}: {source}", program.display())]
    Call {
        /// The file.
        program: PathBuf,
        /// Which, and why.
        source: CallError,
    },
    /// It died over a call.
    #[error("{} ended with {status} over a call ({source}){}", program.display(), said(log))]
    Died {
        /// The file.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// The call.
        source: CallError,
        /// Its last words.
        log: String,
    },
    /// What it says of itself would stop the agent, or make it pass the plugin over.
    #[error("{}: an agent would not take this plugin: {why}", program.display())]
    Identity {
        /// The file.
        program: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; it said: {log}") }
}

/// What the first launch brought.
#[derive(Debug)]
pub struct Asked {
    /// Who it is.
    pub info: PluginInfo,
    /// The configuration that it takes; `None`: none, and an agent skips the second launch.
    pub schema: Option<Spec>,
    /// From the start of the process to its handshake line.
    pub handshake_took: Duration,
    /// From the start of the process until both questions were answered.
    pub took: Duration,
    /// How it ended afterwards.
    pub ended: Ended,
}

/// A plugin that runs.
#[derive(Debug)]
pub struct Launched {
    /// Its process, connection and log. Dropping it kills the process.
    pub plugin: Plugin,
    /// The calls of every plugin.
    pub base: Base,
    /// The calls of a device plugin, if it is one.
    pub device: Device,
    /// The calls of a task driver, if it is one.
    pub driver: Driver,
}

impl Launched {
    /// Ends it in order.
    pub async fn end(self) -> Ended {
        let Launched { plugin, base, device, driver } = self;
        drop((base, device, driver));
        plugin.kill().await
    }
}

async fn questions(base: &mut Base) -> Result<(PluginInfo, Option<Spec>), CallError> {
    Ok((base.plugin_info().await?, base.config_schema().await?))
}

impl Agent {
    /// For a file, with nothing special.
    pub fn new(program: impl Into<PathBuf>) -> Agent {
        Agent { program: program.into(), ..Agent::default() }
    }

    /// The first launch: who is it, what configuration does it take?
    ///
    /// # Errors
    ///
    /// Would keep the agent from starting.
    pub async fn interrogate(&self) -> Result<Asked, AgentError> {
        let started = Instant::now();
        let mut launched = self.launch().await?;
        let (info, schema) = match questions(&mut launched.base).await {
            Ok(answers) => answers,
            Err(why) => return Err(self.failed(launched, why).await),
        };
        let (took, handshake_took) = (started.elapsed(), launched.plugin.handshake_took());
        let ended = launched.end().await;
        self.check(&info)?;
        Ok(Asked { info, schema, handshake_took, took, ended })
    }

    /// The second launch: is this configuration right? Told twice, and not what it is for.
    ///
    /// # Errors
    ///
    /// Would keep the agent from starting.
    pub async fn validate(&self, config: &Value) -> Result<(), AgentError> {
        let mut launched = self.launch().await?;
        for _ in 0..2 {
            if let Err(why) = launched.base.set_config(config, None).await {
                return Err(self.failed(launched, why).await);
            }
        }
        launched.end().await;
        Ok(())
    }

    /// The third launch, of the copy that serves.
    ///
    /// # Errors
    ///
    /// An agent would start without the plugin.
    pub async fn start(&self, config: &Value) -> Result<Launched, AgentError> {
        let mut launched = self.launch().await?;
        match launched.base.set_config(config, Some(PORTS)).await {
            Ok(()) => Ok(launched),
            Err(why) => Err(self.failed(launched, why).await),
        }
    }

    /// A launch, and no call.
    ///
    /// # Errors
    ///
    /// There is no handshake.
    pub async fn launch(&self) -> Result<Launched, AgentError> {
        let launch = Launch {
            args: self.args.clone(),
            env: self.env.clone(),
            auto_mtls: self.auto_mtls,
            ..Launch::new(&self.program, crate::HANDSHAKE)
        };
        let plugin = launch.start().await?;
        let channel = plugin.channel();
        let (base, device) = (Base::new(channel.clone()), Device::new(channel.clone()));
        Ok(Launched { plugin, base, device, driver: Driver::new(channel) })
    }

    /// Ends the plugin, unless the failure was its end.
    async fn failed(&self, launched: Launched, source: CallError) -> AgentError {
        let program = self.program.clone();
        let unanswered = matches!(
            source,
            CallError::Refused { code: Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal, .. }
        );
        if unanswered && let Ok(status) = tokio::time::timeout(DEATH_MAX, launched.plugin.died()).await {
            return AgentError::Died { program, status, source, log: launched.plugin.last_words() };
        }
        launched.end().await;
        AgentError::Call { program, source }
    }

    fn check(&self, info: &PluginInfo) -> Result<(), AgentError> {
        let why = if let Err(number) = info.kind {
            format!("its type is {number}, which is neither device nor driver")
        } else if info.name.is_empty() {
            "it has no name".to_owned()
        } else if !info.api_versions.iter().any(|version| version == crate::API_VERSION) {
            format!("it speaks the plugin API {:?}, agents speak {}", info.api_versions, crate::API_VERSION)
        } else {
            return Ok(());
        };
        Err(AgentError::Identity { program: self.program.clone(), why })
    }
}
