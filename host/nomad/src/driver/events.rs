//! The stream of events. It does not end, also where there are none: an agent would ask again at once, thousands of times a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;

use super::{TaskDriver, TaskEvent, wire};
use crate::caught::caught_now;
use crate::proto::driver::DriverTaskEvent;

/// A driver that cannot even say where its events come from is asked again after this long.
const RETRY: Duration = Duration::from_secs(10);

type Answer = Result<DriverTaskEvent, Status>;

/// One stream; each call of the agent has its own. The task ends when the caller went away.
pub(super) fn start(driver: Arc<dyn TaskDriver>) -> mpsc::Receiver<Answer> {
    let (answers, receiver) = mpsc::channel(1);
    // Before the call is answered, so that nothing is missed of what happens afterwards.
    let source = subscribe(&*driver);
    tokio::spawn(async move {
        tokio::select! {
            () = answers.closed() => {}
            () = tell_all(&*driver, source, &answers) => {}
        }
    });
    receiver
}

fn subscribe(driver: &dyn TaskDriver) -> Option<broadcast::Receiver<TaskEvent>> {
    caught_now("TaskEvents", || driver.events())
        .inspect_err(|why| tracing::error!("there are no task events, trying again in {RETRY:?}: {why}"))
        .ok()
}

async fn tell_all(
    driver: &dyn TaskDriver,
    mut source: Option<broadcast::Receiver<TaskEvent>>,
    answers: &mpsc::Sender<Answer>,
) {
    let mut events = loop {
        match source {
            Some(events) => break events,
            None => tokio::time::sleep(RETRY).await,
        }
        source = subscribe(driver);
    };
    loop {
        match events.recv().await {
            Ok(event) => {
                if answers.send(Ok(wire::event(event))).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "task events came faster than they were read"),
            Err(RecvError::Closed) => return answers.closed().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::stub::{Stub, event};
    use crate::testlog::Log;

    #[tokio::test(start_paused = true)]
    async fn a_driver_without_a_source_is_asked_again() {
        let (log, _guard) = Log::listen();
        let sender = broadcast::Sender::new(8);
        let stub = Stub::default();
        *stub.events.lock().unwrap() = [None, Some(sender.subscribe())].into();
        let mut answers = start(Arc::new(stub));
        sender.send(event("a")).unwrap();
        assert_eq!(answers.recv().await.unwrap().unwrap().message, "a");
        assert_eq!(log.with("there are no task events"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_falls_behind_loses_the_oldest_and_the_log_says_so() {
        let (log, _guard) = Log::listen();
        let sender = broadcast::Sender::new(4);
        let stub = Stub::default();
        *stub.events.lock().unwrap() = [Some(sender.subscribe())].into();
        let mut answers = start(Arc::new(stub));
        for n in 0..10 {
            sender.send(event(&n.to_string())).unwrap();
        }
        drop(sender);
        for n in 6..10 {
            assert_eq!(answers.recv().await.unwrap().unwrap().message, n.to_string());
        }
        assert_eq!(log.with("faster than they were read"), 1);
        // The source is gone; the stream is not.
        assert!(tokio::time::timeout(Duration::from_secs(999), answers.recv()).await.is_err());
    }
}
