//! The stream of a task's figures: one beat at once and one per interval, until the task has ended. Trouble leaves a beat out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::{ErrorKind, PluginError, TaskDriver, wire};
use crate::caught::caught;
use crate::proto::driver::TaskStatsResponse;
use crate::text::cleaned;

type Answer = Result<TaskStatsResponse, Status>;

/// One stream; each call of the agent has its own. The task ends when the caller went away.
pub(super) fn start(driver: Arc<dyn TaskDriver>, id: String, interval: Duration) -> mpsc::Receiver<Answer> {
    let (answers, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = answers.closed() => {}
            () = measure(&*driver, &id, interval, &answers) => {}
        }
    });
    receiver
}

async fn measure(driver: &dyn TaskDriver, id: &str, interval: Duration, answers: &mpsc::Sender<Answer>) {
    let mut beats = tokio::time::interval(interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble: Option<PluginError> = None;
    loop {
        beats.tick().await;
        match caught("TaskStats", driver.stats(id)).await {
            Ok(Some(stats)) => {
                trouble = None;
                if answers.send(Ok(wire::stats(id, &stats))).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(why) if why.kind == ErrorKind::NotFound => {
                let _ = answers.send(Err(why.into())).await;
                return;
            }
            Err(why) => {
                if trouble.as_ref() != Some(&why) {
                    tracing::warn!(task = %cleaned(id, 400), "no statistics: {why}");
                    trouble = Some(why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::TaskStats;
    use crate::driver::stub::Stub;
    use crate::testlog::Log;

    #[tokio::test(start_paused = true)]
    async fn an_error_is_logged_once_as_long_as_it_lasts_and_the_end_of_the_task_ends_the_stream() {
        let (log, _guard) = Log::listen();
        let stats = || TaskStats { at: std::time::SystemTime::now(), total: Default::default(), by_pid: [].into() };
        let error = |why: &str| Err(PluginError::internal(why));
        let stub = Stub::default();
        let answers = [
            Ok(Some(stats())),
            error("lost"),
            error("lost"),
            Ok(Some(stats())),
            error("lost"),
            Ok(None),
            Ok(Some(stats())),
        ];
        *stub.stats.lock().unwrap() = answers.into();
        let began = tokio::time::Instant::now();
        let mut beats = start(Arc::new(stub), "a/t/1".to_owned(), Duration::from_secs(2));
        assert!(beats.recv().await.unwrap().is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(beats.recv().await.unwrap().is_ok());
        assert_eq!(began.elapsed().as_secs(), 6);
        assert!(beats.recv().await.is_none());
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(log.with("task=a/t/1"), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_not_known_is_an_error_and_the_end() {
        let stub = Stub::default();
        *stub.stats.lock().unwrap() = [Err(PluginError::not_found("no such task"))].into();
        let mut beats = start(Arc::new(stub), "x".to_owned(), Duration::from_secs(1));
        assert_eq!(beats.recv().await.unwrap().unwrap_err().code(), tonic::Code::NotFound);
        assert!(beats.recv().await.is_none());
    }
}
