//! The stream of figures: one beat per interval, as long as somebody listens. Trouble leaves a beat out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::caught::caught;
use super::{DevicePlugin, wire};
use crate::proto::device::StatsResponse;

/// Where the agent does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// Figures more often than this would measure the measuring.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longer ones would be a mistake; also keeps the timer's arithmetic in range.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The interval that is kept for what was asked: absent and zero mean one second, the rest is held between 100 ms and a day.
pub(super) fn interval(asked: Option<Duration>) -> Duration {
    match asked {
        None | Some(Duration::ZERO) => DEFAULT_INTERVAL,
        Some(asked) => asked.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
    }
}

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
    use crate::device::stub::{Log, Stub};
    use crate::error::PluginError;

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
        let mut beats = start(Arc::new(stub), DEFAULT_INTERVAL);
        for _ in 0..3 {
            assert_eq!(beats.recv().await.unwrap().unwrap().groups.len(), 1);
        }
        assert_eq!((log.with("no device statistics: lost"), log.with("no device statistics: gone")), (2, 1));
        assert_eq!(log.with("device statistics are back"), 2);
        // A call that hangs is an error as well, and the stream goes on.
        let silence = tokio::time::timeout(Duration::from_secs(200), beats.recv()).await;
        assert!(silence.is_err() && log.with("did not answer Stats within 60s") == 1);
    }

    #[test]
    fn the_interval_is_held_between_a_tenth_of_a_second_and_a_day() {
        let second = Duration::from_secs(1);
        assert_eq!(interval(None), second);
        assert_eq!(interval(Some(Duration::ZERO)), second);
        assert_eq!(interval(Some(Duration::from_nanos(1))), Duration::from_millis(100));
        assert_eq!(interval(Some(Duration::from_millis(250))), Duration::from_millis(250));
        assert_eq!(interval(Some(Duration::MAX)), Duration::from_secs(86_400));
    }
}
