//! The device plugin as Nomad sees it, wired from its parts: schema and configuration here, offers in `offer.rs`,
//! reservations in `reserve.rs`, figures in `statistics.rs`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::watch;
use yurt_go_plugin::log;
use yurt_guest::{UsbPolicy, usb as wit};
use yurt_nomad::config::from_msgpack;
use yurt_nomad::device::{AgentConfig, Group, GroupStats, Info, PluginError, Reservation};
use yurt_nomad::schema::Spec;
use yurt_usb::Roots;

use crate::choice::Device;
use crate::host_config::{self, HostConfig};
use crate::offer::{self, Offers};
use crate::places::Places;
use crate::{reserve, statistics};

/// The configuration in force: the guest's own keys as JSON text, and the host's block.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) guest: Arc<str>,
    pub(crate) host: HostConfig,
}

/// One USB device plugin: a guest, a bus, and what was offered last.
pub(crate) struct DevicePlugin {
    policy: UsbPolicy,
    schema: Spec,
    config: watch::Sender<Arc<Config>>,
    published: watch::Sender<Option<Arc<Vec<Group>>>>,
    offers: OnceLock<Arc<Offers>>,
    roots: Roots,
    memory_file: PathBuf,
    log: log::Control,
}

impl DevicePlugin {
    /// Touches no hardware.
    pub(crate) fn new(device: Device, roots: Roots, places: &Places, log: log::Control) -> DevicePlugin {
        DevicePlugin {
            policy: device.policy,
            schema: device.schema,
            config: watch::Sender::new(Arc::new(device.defaults)),
            published: watch::Sender::new(None),
            offers: OnceLock::new(),
            roots,
            memory_file: places.memory(),
            log,
        }
    }

    /// The task that looks at hardware, started by the first call.
    fn offers(&self) -> &Arc<Offers> {
        self.offers.get_or_init(|| {
            offer::start(
                self.policy.clone(),
                self.roots.clone(),
                self.memory_file.clone(),
                self.config.subscribe(),
                self.published.clone(),
            )
        })
    }
}

/// The guest's keys with the host's block beside them.
pub(crate) fn schema(guest: &str) -> Result<Spec, yurt_nomad::schema::SpecError> {
    let guest = if guest.trim().is_empty() { Spec::empty() } else { Spec::parse(guest)? };
    guest.merge_block(host_config::BLOCK, host_config::spec()?)
}

/// What a schema makes of a stanza without `config`.
pub(crate) fn defaults(schema: &Spec) -> Result<Config, String> {
    from_msgpack(&[], schema).map_err(|why| why.to_string()).and_then(split)
}

/// Takes the host's block out; the rest is the guest's.
pub(crate) fn split(mut config: Value) -> Result<Config, String> {
    let block = config.as_object_mut().and_then(|keys| keys.remove(host_config::BLOCK)).unwrap_or(Value::Null);
    Ok(Config { host: HostConfig::from_json(&block)?, guest: config.to_string().into() })
}

/// The guest's findings as the one sentence that stops the agent's start, or nothing.
pub(crate) fn refusal(findings: &[wit::Diagnostic]) -> Option<String> {
    let errors: Vec<String> =
        findings.iter().filter(|finding| matches!(finding.severity, wit::Severity::Error)).map(sentence).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// `rule[2].vendor: not a vendor id (write "0x12f7" or "4855")`; a message that begins with its key, `vendor = "x": …`, is not told it
/// twice.
pub(crate) fn sentence(finding: &wit::Diagnostic) -> String {
    let (path, message) = (&finding.path, &finding.message);
    let (above, key) = path.rfind('.').map_or(("", path.as_str()), |dot| path.split_at(dot + 1));
    let mut text = match message.strip_prefix(key) {
        _ if path.is_empty() => message.clone(),
        Some(rest) if rest.starts_with(" = ") => format!("{above}{message}"),
        _ => format!("{path}: {message}"),
    };
    if let Some(hint) = &finding.hint {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

#[tonic::async_trait]
impl yurt_nomad::device::DevicePlugin for DevicePlugin {
    fn info(&self) -> Info {
        let about = self.policy.about();
        Info { name: about.name.clone(), version: about.version.clone() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(Some(self.schema.clone()))
    }

    async fn set_config(&self, msgpack: &[u8], _agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let json = from_msgpack(msgpack, &self.schema).map_err(|why| PluginError::invalid_argument(why.to_string()))?;
        let config = split(json).map_err(PluginError::invalid_argument)?;
        let (policy, guest) = (self.policy.clone(), Arc::clone(&config.guest));
        match tokio::task::spawn_blocking(move || policy.check_config(&guest)).await {
            Ok(Ok(findings)) => {
                if let Some(errors) = refusal(&findings) {
                    return Err(PluginError::invalid_argument(errors));
                }
                for warning in findings.iter().map(sentence) {
                    tracing::warn!("configuration: {warning}");
                }
            }
            // An error here would stop the whole agent: only what the operator typed may do that.
            Ok(Err(why)) => tracing::error!("the configuration could not be checked: {why}"),
            Err(why) => tracing::error!("the configuration could not be checked: {why}"),
        }
        self.log.set_level(config.host.log_level);
        self.config.send_replace(Arc::new(config));
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        self.offers();
        self.published.subscribe()
    }

    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError> {
        let config = Arc::clone(&self.config.borrow().guest);
        reserve::reserve(&self.policy, config, self.offers(), &ids).await
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        let config = Arc::clone(&self.config.borrow().guest);
        statistics::stats(&self.policy, config, self.offers()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_sentence_that_names_its_key_once() {
        let finding = |path: &str, message: &str, hint: Option<&str>| {
            sentence(&wit::Diagnostic {
                severity: wit::Severity::Error,
                path: path.into(),
                message: message.into(),
                hint: hint.map(str::to_owned),
            })
        };
        assert_eq!(finding("", "nothing is offered", None), "nothing is offered");
        assert_eq!(
            finding("period", "period = \"x\": no duration", Some("\"10s\"")),
            "period = \"x\": no duration (\"10s\")"
        );
        assert_eq!(finding("rule[2].vendor", "vendor = \"x\": no id", None), "rule[2].vendor = \"x\": no id");
        assert_eq!(finding("rule[2].vendor", "vendors are many", None), "rule[2].vendor: vendors are many");
    }
}
