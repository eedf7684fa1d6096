//! The stream of offers. It begins at once, says only what is new, and does not end: an agent stops a device plugin for good
//! when it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::{DevicePlugin, Group, Refusal, validate, wire};
use crate::caught::caught_now;
use crate::proto::device::FingerprintResponse;

/// A plugin that cannot even say where its offers come from is asked again after this long.
const RETRY: Duration = Duration::from_secs(10);
/// Longest that the first message waits for a first offer; then it is empty, and the node registers without these devices.
const FIRST_OFFER: Duration = Duration::from_secs(3);

type Answer = Result<FingerprintResponse, Status>;
type Source = watch::Receiver<Option<Arc<Vec<Group>>>>;

/// One stream; each call of the agent has its own. The task ends when the caller went away.
pub(super) fn start(plugin: Arc<dyn DevicePlugin>) -> mpsc::Receiver<Answer> {
    let (answers, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = answers.closed() => {}
            () = offer_all(&*plugin, &answers) => {}
        }
    });
    receiver
}

/// Returns when the other end is gone, and not before.
async fn offer_all(plugin: &dyn DevicePlugin, answers: &mpsc::Sender<Answer>) {
    let Some(mut offers) = source(plugin, answers).await else { return };
    let looked = tokio::time::timeout(FIRST_OFFER, offers.wait_for(Option::is_some)).await.is_ok();
    if !looked {
        tracing::warn!("no device is offered yet: the plugin is still looking for the first time");
    }
    let mut last: Option<Vec<Group>> = None;
    let mut refusals = Vec::new();
    loop {
        let offer = offers.borrow_and_update().clone().unwrap_or_default();
        // Sorted by validation: equal offers are equal lists, whatever order they were made in.
        let checked = validate(offer.to_vec());
        tell(&mut refusals, checked.refused);
        if last.as_ref() != Some(&checked.groups) {
            if answers.send(Ok(wire::offer(&checked.groups))).await.is_err() {
                return;
            }
            last = Some(checked.groups);
        }
        if offers.changed().await.is_err() {
            tracing::error!("the source of device offers ended; the last offer stands");
            return answers.closed().await;
        }
    }
}

/// An early empty answer lets the node register while the plugin is asked again.
async fn source(plugin: &dyn DevicePlugin, answers: &mpsc::Sender<Answer>) -> Option<Source> {
    let mut first = true;
    loop {
        match caught_now("Fingerprint", || plugin.groups()) {
            Ok(offers) => return Some(offers),
            Err(why) => tracing::error!("no device is offered, trying again in {RETRY:?}: {why}"),
        }
        if std::mem::take(&mut first) && answers.send(Ok(FingerprintResponse::default())).await.is_err() {
            return None;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Each refusal once, as long as it lasts.
fn tell(known: &mut Vec<Refusal>, now: Vec<Refusal>) {
    for refusal in now.iter().filter(|refusal| !known.contains(refusal)) {
        tracing::error!(group = %refusal.group, "device group is not offered: {}", refusal.reason);
    }
    *known = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::stub::Stub;
    use crate::testlog::Log;

    fn group(vendor: &str) -> Group {
        Group { vendor: vendor.to_owned(), kind: "usb".to_owned(), name: "n".to_owned(), ..Group::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_without_a_source_offers_nothing_at_once_and_is_asked_again() {
        let (log, _guard) = Log::listen();
        let (_sender, source) = watch::channel(Some(Arc::new(vec![group("acme")])));
        let stub = Stub::default();
        *stub.sources.lock().unwrap() = [None, None, Some(source)].into();
        let began = tokio::time::Instant::now();
        let mut answers = start(Arc::new(stub));
        assert_eq!(answers.recv().await.unwrap().unwrap().device_group, []);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(answers.recv().await.unwrap().unwrap().device_group.len(), 1);
        assert_eq!(began.elapsed().as_secs(), 20);
        assert_eq!(log.with("no device is offered"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_message_waits_for_the_first_offer_but_not_for_long() {
        for (looks_for, sent) in [(2, 1), (4, 0)] {
            let (sender, source) = watch::channel(None);
            let stub = Stub::default();
            *stub.sources.lock().unwrap() = [Some(source)].into();
            let began = tokio::time::Instant::now();
            let mut answers = start(Arc::new(stub));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(looks_for)).await;
                sender.send_replace(Some(Arc::new(vec![group("acme")])));
                std::future::pending::<()>().await;
            });
            assert_eq!(answers.recv().await.unwrap().unwrap().device_group.len(), sent);
            assert_eq!(began.elapsed().as_secs(), looks_for.min(3));
            if sent == 0 {
                assert_eq!(answers.recv().await.unwrap().unwrap().device_group.len(), 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_group_is_logged_once_as_long_as_it_is_offered() {
        let (log, _guard) = Log::listen();
        let (sender, source) = watch::channel(Some(Arc::new(vec![group("")])));
        let stub = Stub::default();
        *stub.sources.lock().unwrap() = [Some(source)].into();
        let mut answers = start(Arc::new(stub));
        assert_eq!(answers.recv().await.unwrap().unwrap().device_group, []);
        for (offer, sent) in [
            (vec![group(""), group("a")], 1),
            (vec![group(""), group("a"), group("b")], 2),
            (vec![], 0),
            (vec![group(""), group("c")], 1),
        ] {
            sender.send_replace(Some(Arc::new(offer)));
            assert_eq!(answers.recv().await.unwrap().unwrap().device_group.len(), sent);
        }
        assert_eq!(log.with("its vendor \"\" is empty"), 2);
    }
}
