//! The stream of figures: one beat per interval, as long as somebody listens. Trouble leaves a beat out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::{DevicePlugin, wire};
use crate::caught::caught;
use crate::proto::device::StatsResponse;

/// One stream; each call of the agent has its own. The task ends when the caller went away.
pub(super) fn start(
    plugin: Arc<dyn DevicePlugin>,
    interval: Duration,
) -> mpsc::Receiver<Result<StatsResponse, Status>> {
    let (answers, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = answers.closed() => {}
            () = measure(&*plugin, interval, &answers) => {}
        }
    });
    receiver
}

async fn measure(plugin: &dyn DevicePlugin, interval: Duration, answers: &mpsc::Sender<Result<StatsResponse, Status>>) {
    let mut beats = tokio::time::interval(interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    let mut silent = false;
    loop {
        beats.tick().await;
        match caught("Stats", plugin.stats()).await {
            Ok(groups) => {
                if trouble.take().is_some() {
                    tracing::info!("device statistics are back");
                }
                // Nothing follows nothing: the agent keeps what it has either way.
                let empty = groups.is_empty();
                if !(empty && silent) && answers.send(Ok(wire::stats(groups))).await.is_err() {
                    return;
                }
                silent = empty;
            }
            Err(why) => {
                if trouble.as_ref() != Some(&why) {
                    tracing::warn!("no device statistics: {why}");
                    trouble = Some(why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::GroupStats;
    use crate::device::stub::Stub;
    use crate::error::PluginError;
    use crate::testlog::Log;

    #[tokio::test(start_paused = true)]
    async fn an_error_is_logged_once_as_long_as_it_lasts() {
        let (log, _guard) = Log::listen();
        let stub = Stub::default();
        let error = |why: &str| Err(PluginError::internal(why));
        let figures = || Ok(vec![GroupStats::default()]);
        let answers = [
            error("lost"),
            error("lost"),
            error("lost"),
            error("gone"),
            figures(),
            figures(),
            error("lost"),
            figures(),
        ];
        *stub.stats.lock().unwrap() = answers.into();
        let mut beats = start(Arc::new(stub), Duration::from_secs(1));
        for _ in 0..3 {
            assert_eq!(beats.recv().await.unwrap().unwrap().groups.len(), 1);
        }
        assert_eq!((log.with("no device statistics: lost"), log.with("no device statistics: gone")), (2, 1));
        assert_eq!(log.with("device statistics are back"), 2);
        // A call that hangs is an error as well, and the stream goes on.
        let silence = tokio::time::timeout(Duration::from_secs(200), beats.recv()).await;
        assert!(silence.is_err() && log.with("did not answer Stats within 60s") == 1);
    }
}
