//! The smallest whole device plugin: two lamps, one of them broken. Put it into an agent's `plugin_dir` with the stanza
//!
//! ```hcl
//! plugin "lamps" {
//!   config {
//!     brightness = 70
//!   }
//! }
//! ```
//!
//! `LAMPS_DO` makes it misbehave, for the tests that launch it.

#![allow(clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;
use yurt_go_plugin::log;
use yurt_go_plugin::server::{Invocation, ServeOptions, invocation, serve};
use yurt_nomad::HANDSHAKE;
use yurt_nomad::attribute::Attribute;
use yurt_nomad::config::from_msgpack;
use yurt_nomad::device::{
    AgentConfig, DevicePlugin, Group, GroupStats, Health, Info, Instance, PluginError, Reservation, routes,
};
use yurt_nomad::schema::Spec;

const SCHEMA: &str = r#"object {
  default "brightness" {
    attr {
      type = number
    }
    literal {
      value = 100
    }
  }
}"#;

struct Lamps {
    schema: Option<Spec>,
    offer: watch::Sender<Option<Arc<Vec<Group>>>>,
    misdeed: String,
}

fn main() -> ExitCode {
    let environment = match invocation(&HANDSHAKE) {
        Ok(Invocation::Plugin(environment)) => environment,
        Ok(_) => {
            eprintln!("This is a plugin for HashiCorp Nomad: the agent starts it from its plugin_dir.");
            return ExitCode::FAILURE;
        }
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    log::install("lamps", tracing::Level::INFO);
    let misdeed = std::env::var("LAMPS_DO").unwrap_or_default();
    let schema = (misdeed != "take-no-config").then(|| Spec::parse(SCHEMA).expect("the schema is right"));
    let lamps = Arc::new(Lamps { schema, offer: watch::Sender::new(Some(Arc::new(vec![lamps(100)]))), misdeed });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(async { serve(&HANDSHAKE, environment, routes(lamps), ServeOptions::default()).await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn lamps(brightness: i64) -> Group {
    let lamp = |id: &str, health| Instance { id: id.to_owned(), health, pci_bus_id: None };
    Group {
        vendor: "acme".to_owned(),
        kind: "lamp".to_owned(),
        name: "desk".to_owned(),
        attributes: BTreeMap::from([("brightness".to_owned(), Attribute::integer(brightness))]),
        instances: vec![
            lamp("left", Health::good()),
            lamp("right", Health::Unhealthy { reason: "the bulb is broken".to_owned() }),
        ],
    }
}

#[tonic::async_trait]
impl DevicePlugin for Lamps {
    fn info(&self) -> Info {
        if self.misdeed == "die" {
            tracing::error!("out of oil");
            std::process::abort();
        }
        Info { name: "lamps".to_owned(), version: "1.0.0".to_owned() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(self.schema.clone())
    }

    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let config = from_msgpack(msgpack, schema).map_err(|why| PluginError::invalid_argument(why.to_string()))?;
        let brightness = config.get("brightness").and_then(serde_json::Value::as_i64).unwrap_or(100);
        if !(0..=100).contains(&brightness) {
            let why = format!("brightness = {brightness}: must be from 0 to 100");
            return Err(PluginError::invalid_argument(why));
        }
        tracing::info!(brightness, for_use = agent.is_some(), "configured");
        self.offer.send_replace(Some(Arc::new(vec![lamps(brightness)])));
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        self.offer.subscribe()
    }

    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError> {
        let envs = BTreeMap::from([("LAMPS".to_owned(), ids.join(","))]);
        Ok(Reservation { envs, ..Reservation::default() })
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        Ok(Vec::new())
    }
}
