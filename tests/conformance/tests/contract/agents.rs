//! What the other subjects do to get to theirs.

use std::time::Duration;

use serde_json::Value;
use yurt_conformance::place::Place;
use yurt_conformance::process::PATIENCE;
use yurt_nomad::client::{CallError, Launched, Offers};
use yurt_nomad::config::from_hcl;
use yurt_nomad::device::{Group, Instance};
use yurt_nomad::schema::Spec;
use yurt_usb::sim::{Bus, models};

/// Offers every device that is no hub, soon.
pub(crate) const EVERYTHING: &str = "rule {}\nyurt { settle = \"20ms\" }";

/// A plugin that serves with a configuration, as an agent starts it: asked, checked, started.
pub(crate) async fn serving(place: &Place, config: &str) -> Launched {
    let agent = place.agent();
    let asked = agent.interrogate().await.unwrap();
    let config = evaluated(config, &asked.schema.unwrap());
    agent.validate(&config).await.unwrap();
    agent.start(&config).await.unwrap()
}

/// A plugin that serves, the bus it looks at, and what it offers.
pub(crate) struct Serving {
    pub(crate) launched: Launched,
    pub(crate) offers: Offers,
    pub(crate) offered: Vec<Group>,
    pub(crate) bus: Bus,
    _place: Place,
}

/// One that offers a serial adapter at 1-1, `sn-0001`, and a key at 1-2, `port-1-2`.
pub(crate) async fn adapter_and_key() -> Serving {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut offers, |groups| ids(groups).len() == 2).await;
    Serving { launched, offers, offered, bus, _place: place }
}

/// What an agent makes of an operator's text.
pub(crate) fn evaluated(config: &str, schema: &Spec) -> Value {
    from_hcl(config, "agent.hcl", schema).unwrap()
}

/// The next message.
pub(crate) async fn next(offers: &mut Offers) -> Vec<Group> {
    tokio::time::timeout(PATIENCE, offers.next()).await.expect("no message").unwrap()
}

/// Messages until one is as wanted.
pub(crate) async fn until(offers: &mut Offers, wanted: impl Fn(&[Group]) -> bool) -> Vec<Group> {
    let mut last = Vec::new();
    let came = tokio::time::timeout(PATIENCE, async {
        loop {
            last = offers.next().await.unwrap();
            if wanted(&last) {
                return last.clone();
            }
        }
    })
    .await;
    came.unwrap_or_else(|_| panic!("it never came; last was {last:#?}"))
}

/// No message and no end for a while.
pub(crate) async fn stays_open(offers: &mut Offers) {
    let more = tokio::time::timeout(Duration::from_millis(700), offers.next()).await;
    assert!(more.is_err(), "{more:?}");
}

/// All instances of an offer.
pub(crate) fn instances(groups: &[Group]) -> Vec<&Instance> {
    groups.iter().flat_map(|group| &group.instances).collect()
}

/// Their ids, in order.
pub(crate) fn ids(groups: &[Group]) -> Vec<&str> {
    instances(groups).into_iter().map(|instance| instance.id.as_str()).collect()
}

/// The code and text of an answer that is an error.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> (tonic::Code, String) {
    match answer.unwrap_err() {
        CallError::Refused { code, message, .. } => (code, message),
        other => panic!("{other}"),
    }
}
