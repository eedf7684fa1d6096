//! A guest with its configuration: as the agent sends it, with the rules of the policy file over it, found right by the guest itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use yurt_guest::usb::Diagnostic;
use yurt_guest::{GuestError, Import, Runtime};
use yurt_nomad::config::from_msgpack;
use yurt_nomad::driver::PluginError;
use yurt_nomad::schema::Spec;

use super::{GuestName, Kept, Rules, Serves, Turns, Undone};
use crate::diagnostics::{refusal, warned};
use crate::host_config::Common;
use crate::pin::Pin;

/// A guest of either kind.
pub(crate) trait Guest: Send + Sync + 'static {
    /// The host's block of its kind of plugin.
    type Host: Send + Sync + 'static;
    fn named(&self) -> GuestName;
    fn imports(&self) -> &[Import];
    /// Its own keys.
    fn keys(&self) -> &Spec;
    /// The same with the host's block beside them.
    fn schema(&self) -> &Spec;
    fn check_config(&self, config: &str) -> Result<Vec<Diagnostic>, GuestError>;
    /// Takes the host's block out of a configuration by [`Guest::schema`].
    fn split(&self, config: Value) -> Result<(Value, Self::Host), String>;
    fn common(host: &Self::Host) -> &Common;
    /// Nomad could go on with `next` after what this one told it; the names are compared already.
    fn may_become(&self, next: &Self) -> Result<(), String>;
}

/// A guest and what it goes by.
pub(crate) struct Serving<G: Guest> {
    pub(crate) guest: Arc<G>,
    /// Its own keys, as JSON text.
    pub(crate) config: Arc<str>,
    pub(crate) host: G::Host,
    pub(crate) rules: Option<Arc<Rules>>,
}

impl<G: Guest> Serves for Serving<G> {
    fn guest(&self) -> GuestName {
        self.guest.named()
    }
    fn imports(&self) -> &[Import] {
        self.guest.imports()
    }
    fn common(&self) -> &Common {
        G::common(&self.host)
    }
    fn rules(&self) -> Option<&Arc<Rules>> {
        self.rules.as_ref()
    }
}

/// Where one guest after the other serves, and what the agent configured it with.
pub(crate) struct Seat<G: Guest> {
    pub(crate) turns: Turns<Serving<G>>,
    /// As the agent sent it; empty: it sent nothing yet.
    agent: Mutex<Arc<[u8]>>,
    kept: Kept,
}

impl<G: Guest> Seat<G> {
    pub(crate) fn new(first: Serving<G>, kept: Kept) -> (Seat<G>, mpsc::UnboundedReceiver<Undone<Serving<G>>>) {
        let (turns, undone) = Turns::new(first);
        (Seat { turns, agent: Mutex::new(Arc::from([])), kept }, undone)
    }

    /// What the agent says. An error names what the operator typed there; what is wrong with the policy file, or with a guest that cannot
    /// check, is no reason not to start. `pinned` finds the only guest that the configuration allows.
    pub(crate) fn configure(
        &self,
        msgpack: &[u8],
        runtime: &Runtime,
        pinned: impl Fn(&Pin) -> Option<G>,
    ) -> Result<(), PluginError> {
        loop {
            let turn = self.turns.now();
            let mut serving = self.as_the_agent_says(&turn.serving.guest, msgpack)?;
            if let Some(pin) = serving.common().guest_digest.clone()
                && let Some(why) = pin.refusal(&serving.guest().digest)
            {
                let (was, refused) = (&turn.serving.guest, |why| PluginError::invalid_argument(why));
                let other = format!("guest {} ({}) must not serve: {why}", serving.guest(), serving.guest().origin);
                let guest = pinned(&pin).ok_or_else(|| refused(other))?;
                follows(&**was, &guest).map_err(refused)?;
                serving = self.as_the_agent_says(&Arc::new(guest), msgpack)?;
                tracing::info!("guest {} serves instead of {}, as it is pinned", serving.guest(), was.named());
            }
            self.kept.pin(serving.common().guest_digest.as_ref().map(Pin::digest));
            runtime.set_limits(serving.common().limits.clone());
            *self.agent() = msgpack.into();
            if self.turns.publish(turn.number, Arc::new(serving), None) {
                return Ok(());
            }
        }
    }

    /// The agent's configuration for `guest` (none: the present one) with `rules` over it.
    pub(crate) fn prepare(&self, guest: Option<G>, rules: Option<Arc<Rules>>) -> Result<Serving<G>, String> {
        let now = self.turns.now();
        let guest = match guest {
            None => Arc::clone(&now.serving.guest),
            Some(guest) => {
                follows(&*now.serving.guest, &guest)?;
                Arc::new(guest)
            }
        };
        let msgpack = Arc::clone(&self.agent());
        let agents = |why: String| format!("the agent's configuration: {why}");
        let json = from_msgpack(&msgpack, guest.schema()).map_err(|why| agents(why.to_string()))?;
        let (keys, host) = guest.split(json).map_err(agents)?;
        let config = match &rules {
            Some(rules) => under(&keys, rules, &*guest)?,
            None => {
                let config: Arc<str> = keys.to_string().into();
                let findings = guest.check_config(&config).map_err(|why| why.to_string())?;
                refusal(&findings).map_or(Ok(config), |errors| Err(agents(errors)))?
            }
        };
        Ok(Serving { guest, config, host, rules })
    }

    fn agent(&self) -> MutexGuard<'_, Arc<[u8]>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn as_the_agent_says(&self, guest: &Arc<G>, msgpack: &[u8]) -> Result<Serving<G>, PluginError> {
        let json =
            from_msgpack(msgpack, guest.schema()).map_err(|why| PluginError::invalid_argument(why.to_string()))?;
        let (keys, host) = guest.split(json).map_err(PluginError::invalid_argument)?;
        let guest = Arc::clone(guest);
        for rules in self.kept.rules_at_start(G::common(&host).policy_file()) {
            match under(&keys, &rules, &*guest) {
                Ok(config) => return Ok(Serving { guest, config, host, rules: Some(rules) }),
                Err(why) => tracing::error!("the policy file is left out: {why}"),
            }
        }
        let config: Arc<str> = keys.to_string().into();
        match guest.check_config(&config) {
            Ok(findings) => match refusal(&findings) {
                Some(errors) => return Err(PluginError::invalid_argument(errors)),
                None => warned(&findings),
            },
            // An error here would stop the whole agent: only what the operator typed may do that.
            Err(why) => tracing::error!("the configuration could not be checked: {why}"),
        }
        Ok(Serving { guest, config, host, rules: None })
    }
}

/// Whether Nomad can go on with `next` after what `now` told it.
fn follows<G: Guest>(now: &G, next: &G) -> Result<(), String> {
    let (was, is) = (now.named().name, next.named().name);
    if was != is {
        return Err(format!("it is called {is:?}, and Nomad knows this plugin as {was:?}"));
    }
    let kept = "and Nomad keeps what it was told at the start";
    let grown = now.schema().grows_into(next.schema());
    grown.map_err(|why| format!("its schema does not only grow, {kept}: {why}"))?;
    now.may_become(next).map_err(|why| format!("{why}, {kept}"))
}

/// The guest's keys with the rules over them, found right by the guest.
fn under<G: Guest>(keys: &Value, rules: &Rules, guest: &G) -> Result<Arc<str>, String> {
    let config: Arc<str> = rules.over(guest.keys(), keys)?.to_string().into();
    let findings = guest.check_config(&config).map_err(|why| why.to_string())?;
    rules.refusal(&findings).map_or(Ok(config), Err)
}
