//! Calls into a plugin's own code, with a panic and a hang as values: they must cost one answer, never the connection. An agent
//! sets no deadlines, so that a call without an end would be an agent's operation without an end.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::PluginError;

/// Longest that a call may take. Plugins have shorter limits of their own; this one is for when those fail.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(60);

/// Awaits a call; a panic becomes an `Internal` error that names the call, a hang a `DeadlineExceeded` one.
pub(crate) async fn caught<T, E: From<PluginError>>(
    call: &'static str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    caught_within(CALL_MAX, call, future).await
}

/// The same with another bound.
pub(crate) async fn caught_within<T, E: From<PluginError>>(
    max: Duration,
    call: &'static str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(max, caught_at_last(call, future)).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(PluginError::deadline_exceeded(format!("the plugin did not answer {call} within {max:?}")).into())
        }
    }
}

/// The same for a call that may take as long as a task runs.
pub(crate) async fn caught_at_last<T, E: From<PluginError>>(
    call: &'static str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            // The future is dropped without being polled again.
            Err(panic) => Poll::Ready(Err(told(call, &*panic).into())),
        }
    })
    .await
}

/// The same for a call that does not wait.
pub(crate) fn caught_now<T>(call: &'static str, function: impl FnOnce() -> T) -> Result<T, PluginError> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|panic| told(call, &*panic))
}

/// Awaits a call that changes something: once begun it goes on to its end, also if the caller goes away meanwhile, so that nothing
/// is left half done. `orphaned` gets the result that nobody waits for any more.
pub(crate) async fn to_its_end<T, E, F>(
    call: &'static str,
    future: impl Future<Output = Result<T, E>> + Send + 'static,
    orphaned: impl FnOnce(Result<T, E>) -> F + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<PluginError> + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(result) = answer.send(future.await) {
            orphaned(result).await;
        }
    });
    match answered.await {
        Ok(result) => result,
        Err(_) => Err(PluginError::internal(format!("{call} was cut off: the plugin is ending")).into()),
    }
}

fn told(call: &'static str, panic: &(dyn Any + Send)) -> PluginError {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    PluginError::internal(format!("the plugin failed in {call}, a fault of its own: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_names_the_call() {
        let before: Result<(), PluginError> = caught("x", async { panic!("at once {}", 1) }).await;
        let later: Result<(), PluginError> = caught("y", async {
            tokio::task::yield_now().await;
            panic!("later")
        })
        .await;
        for (result, call, what) in [(before, "x", "at once 1"), (later, "y", "later")] {
            let error = result.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Internal);
            assert!(error.message.contains(&format!("in {call},")) && error.message.ends_with(what), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_ends_in_an_error_that_names_the_call() {
        let error = caught("x", std::future::pending::<Result<(), PluginError>>()).await.unwrap_err();
        assert_eq!(error, PluginError::deadline_exceeded("the plugin did not answer x within 60s"));
    }

    #[tokio::test]
    async fn an_answer_comes_through() {
        assert_eq!(caught("x", async { Ok::<_, PluginError>(5) }).await, Ok(5));
        assert_eq!(caught_now("x", || 5), Ok(5));
        assert!(caught_now("x", || -> () { panic!() }).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_goes_on_without_its_caller_and_is_handed_over() {
        let (orphaned, mut orphan) = tokio::sync::mpsc::channel(1);
        let work = |took| async move {
            tokio::time::sleep(Duration::from_secs(took)).await;
            Ok::<_, PluginError>(took)
        };
        let hand_over = |orphaned: tokio::sync::mpsc::Sender<_>| {
            move |result| async move { orphaned.send(result).await.expect("it is waited for") }
        };
        assert_eq!(to_its_end("x", work(1), hand_over(orphaned.clone())).await, Ok(1));
        let cut = tokio::time::timeout(Duration::from_secs(1), to_its_end("x", work(2), hand_over(orphaned))).await;
        assert!(cut.is_err());
        assert_eq!(orphan.recv().await, Some(Ok(2)));
        assert_eq!(orphan.recv().await, None);
    }
}
