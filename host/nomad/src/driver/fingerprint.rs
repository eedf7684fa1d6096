//! The stream of looks at the node. It begins at once, says only what is new, and does not end: an agent would ask again at once,
//! thousands of times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::{Fingerprint, Health, TaskDriver, wire};
use crate::attribute::{Attribute, Value};
use crate::caught::caught_now;
use crate::proto::driver::FingerprintResponse;
use crate::text::cleaned;

/// A driver that cannot even say where its looks come from is asked again after this long.
const RETRY: Duration = Duration::from_secs(10);
/// Longest that the first message waits for a first look; then the driver is undetected, and the node registers without it.
const FIRST_LOOK: Duration = Duration::from_secs(3);

type Answer = Result<FingerprintResponse, Status>;
type Source = watch::Receiver<Option<Arc<Fingerprint>>>;

/// One stream; each call of the agent has its own. The task ends when the caller went away.
pub(super) fn start(driver: Arc<dyn TaskDriver>) -> mpsc::Receiver<Answer> {
    let (answers, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = answers.closed() => {}
            () = tell_all(&*driver, Teller::new(&answers)) => {}
        }
    });
    receiver
}

/// Returns when the other end is gone, and not before.
async fn tell_all(driver: &dyn TaskDriver, mut teller: Teller<'_>) {
    let Some((name, mut looks)) = source(driver, &mut teller).await else { return };
    let looked = tokio::time::timeout(FIRST_LOOK, looks.wait_for(Option::is_some)).await.is_ok();
    if !looked {
        tracing::warn!("the driver is undetected as yet: it is still looking for the first time");
    }
    loop {
        let look = looks.borrow_and_update().clone();
        let look = look.as_deref().cloned().unwrap_or_else(|| undetected("looking for what the driver needs"));
        if !teller.tell(own(&name, look)).await {
            return;
        }
        if looks.changed().await.is_err() {
            tracing::error!("the source of fingerprints ended; the last one stands");
            return teller.answers.closed().await;
        }
    }
}

/// An early answer lets the node register while the driver is asked again.
async fn source(driver: &dyn TaskDriver, teller: &mut Teller<'_>) -> Option<(String, Source)> {
    loop {
        match caught_now("Fingerprint", || (driver.info().name, driver.fingerprint())) {
            Ok(source) => return Some(source),
            Err(why) => {
                tracing::error!("the driver is unhealthy, trying again in {RETRY:?}: {why}");
                let look =
                    Fingerprint { attributes: BTreeMap::new(), health: Health::Unhealthy { reason: why.to_string() } };
                if !teller.tell(look).await {
                    return None;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn undetected(reason: &str) -> Fingerprint {
    Fingerprint { attributes: BTreeMap::new(), health: Health::Undetected { reason: reason.to_owned() } }
}

/// The attributes become the node's as they are: those of others are not the driver's to set.
fn own(driver: &str, mut look: Fingerprint) -> Fingerprint {
    let prefix = format!("driver.{driver}");
    look.attributes.retain(|name, attribute| {
        let rest = name.strip_prefix(&prefix);
        let own = rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && rest.len() > 1));
        if !own {
            let name = cleaned(name, 200);
            tracing::warn!("the attribute {name:?} is left out: a driver's begin with {prefix:?}");
        }
        own && sayable(attribute)
    });
    look
}

fn sayable(attribute: &Attribute) -> bool {
    !matches!(attribute.value, Value::Float(number) if !number.is_finite())
}

/// What was told on this stream.
struct Teller<'a> {
    answers: &'a mpsc::Sender<Answer>,
    last: Option<Fingerprint>,
    /// Every attribute that was ever named.
    named: BTreeSet<String>,
}

impl<'a> Teller<'a> {
    fn new(answers: &'a mpsc::Sender<Answer>) -> Teller<'a> {
        Teller { answers, last: None, named: BTreeSet::new() }
    }

    /// Sends what differs from the last. False: the other end is gone.
    async fn tell(&mut self, look: Fingerprint) -> bool {
        if self.last.as_ref() == Some(&look) {
            return true;
        }
        self.named.extend(look.attributes.keys().cloned());
        let gone = self.named.iter().filter(|name| !look.attributes.contains_key(*name)).cloned().collect();
        let sent = self.answers.send(Ok(wire::fingerprint(&look, &gone))).await.is_ok();
        self.last = Some(look);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::stub::Stub;
    use crate::testlog::Log;

    fn healthy(names: &[&str]) -> Option<Arc<Fingerprint>> {
        let attributes = names.iter().map(|name| ((*name).to_owned(), Attribute::flag(true))).collect();
        Some(Arc::new(Fingerprint { attributes, health: Health::Healthy { note: String::new() } }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_without_a_source_is_unhealthy_at_once_and_asked_again() {
        let (log, _guard) = Log::listen();
        let (_sender, source) = watch::channel(healthy(&["driver.stub"]));
        let stub = Stub::default();
        *stub.sources.lock().unwrap() = [None, None, Some(source)].into();
        let began = tokio::time::Instant::now();
        let mut answers = start(Arc::new(stub));
        let first = wire::fingerprint_from(answers.recv().await.unwrap().unwrap());
        assert!(
            matches!(&first.health, Health::Unhealthy { reason } if reason.contains("in Fingerprint")),
            "{first:?}"
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
        let second = wire::fingerprint_from(answers.recv().await.unwrap().unwrap());
        assert_eq!(second.attributes.len(), 1);
        assert_eq!(began.elapsed().as_secs(), 20);
        assert_eq!(log.with("the driver is unhealthy, trying again"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_message_waits_for_the_first_look_but_not_for_long() {
        for (looks_for, detected) in [(2, true), (4, false)] {
            let (sender, source) = watch::channel(None);
            let stub = Stub::default();
            *stub.sources.lock().unwrap() = [Some(source)].into();
            let began = tokio::time::Instant::now();
            let mut answers = start(Arc::new(stub));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(looks_for)).await;
                sender.send_replace(healthy(&[]));
                std::future::pending::<()>().await;
            });
            let first = wire::fingerprint_from(answers.recv().await.unwrap().unwrap());
            assert_eq!(matches!(first.health, Health::Healthy { .. }), detected, "{first:?}");
            assert_eq!(began.elapsed().as_secs(), looks_for.min(3));
            if !detected {
                let second = wire::fingerprint_from(answers.recv().await.unwrap().unwrap());
                assert!(matches!(second.health, Health::Healthy { .. }), "{second:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_attribute_that_is_gone_is_sent_empty_from_then_on() {
        let (sender, source) = watch::channel(healthy(&["driver.stub", "driver.stub.a"]));
        let stub = Stub::default();
        *stub.sources.lock().unwrap() = [Some(source)].into();
        let mut answers = start(Arc::new(stub));
        let named = |answer: Option<Answer>| -> Vec<(String, bool)> {
            let answer = answer.unwrap().unwrap();
            answer.attributes.into_iter().map(|(name, value)| (name, attribute_text(value).is_empty())).collect()
        };
        let pair = |name: &str, empty| (name.to_owned(), empty);
        assert_eq!(named(answers.recv().await), [pair("driver.stub", false), pair("driver.stub.a", false)]);
        sender.send_replace(healthy(&["driver.stub"]));
        assert_eq!(named(answers.recv().await), [pair("driver.stub", false), pair("driver.stub.a", true)]);
        sender.send_replace(healthy(&["driver.stub.a"]));
        assert_eq!(named(answers.recv().await), [pair("driver.stub", true), pair("driver.stub.a", false)]);
    }

    fn attribute_text(value: crate::proto::shared::Attribute) -> String {
        match crate::device::wire::attribute_from(value).unwrap().value {
            Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_nodes_other_attributes_cannot_be_set() {
        let (log, _guard) = Log::listen();
        let look =
            healthy(&["driver.a", "driver.a.x", "driver.ab", "driver.a.", "unique.hostname", "driver.b"]).unwrap();
        let mut look = (*look).clone();
        look.attributes.insert("driver.a.nan".to_owned(), Attribute::float(f64::NAN));
        let left: Vec<String> = own("a", look).attributes.into_keys().collect();
        assert_eq!(left, ["driver.a", "driver.a.x"]);
        assert_eq!(log.with("a driver's begin with \"driver.a\""), 4);
    }
}
