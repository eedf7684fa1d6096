//! Calls into a plugin's own code, with a panic and a hang as values: they must cost one answer, never the connection. An agent
//! sets no deadlines, so that a call without an end would be an agent's operation without an end.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::error::PluginError;

/// Longest that a call may take. Plugins have shorter limits of their own; this one is for when those fail.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Awaits a call; a panic becomes an `Internal` error that names the call, a hang a `DeadlineExceeded` one.
pub(crate) async fn caught<T>(
    call: &'static str,
    future: impl Future<Output = Result<T, PluginError>>,
) -> Result<T, PluginError> {
    let mut future = pin!(future);
    let guarded = poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            // The future is dropped without being polled again.
            Err(panic) => Poll::Ready(Err(told(call, &*panic))),
        }
    });
    match tokio::time::timeout(CALL_MAX, guarded).await {
        Ok(answer) => answer,
        Err(_) => Err(PluginError::deadline_exceeded(format!("the plugin did not answer {call} within {CALL_MAX:?}"))),
    }
}

/// The same for a call that does not wait.
pub(crate) fn caught_now<T>(call: &'static str, function: impl FnOnce() -> T) -> Result<T, PluginError> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|panic| told(call, &*panic))
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
        let before: Result<(), _> = caught("x", async { panic!("at once {}", 1) }).await;
        let later: Result<(), _> = caught("y", async {
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
        let error = caught("x", std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(error, PluginError::deadline_exceeded("the plugin did not answer x within 60s"));
    }

    #[tokio::test]
    async fn an_answer_comes_through() {
        assert_eq!(caught("x", async { Ok(5) }).await, Ok(5));
        assert_eq!(caught_now("x", || 5), Ok(5));
        assert!(caught_now("x", || -> () { panic!() }).is_err());
    }
}
