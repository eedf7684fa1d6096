//! The stream of offers. It begins at once, says only what is new, and does not end: an agent stops a device plugin for good
//! when it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::caught::caught_now;
use super::{DevicePlugin, Group, Refusal, validate, wire};
use crate::proto::device::FingerprintResponse;

/// A plugin that cannot even say where its offers come from is asked again after this long.
const RETRY: Duration = Duration::from_secs(10);

type Answer = Result<FingerprintResponse, Status>;

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
    let mut last: Option<Vec<Group>> = None;
    let mut refusals = Vec::new();
    loop {
        let offer = Arc::clone(&offers.borrow_and_update());
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
async fn source(plugin: &dyn DevicePlugin, answers: &mpsc::Sender<Answer>) -> Option<watch::Receiver<Arc<Vec<Group>>>> {
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
