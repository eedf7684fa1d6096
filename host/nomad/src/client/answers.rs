//! A stream of answers whose beginning nobody waits for.

use tokio::task::JoinHandle;
use tonic::{Response, Status, Streaming};

/// A stream that was asked for. A Go plugin sends nothing before its first answer, not even that it took the call: events may be an hour
/// away, and a command may wait for the very input that would follow. So the call is under way, and its failure comes in the place
/// of the first answer, as for an agent.
#[derive(Debug)]
pub(super) struct Answers<T> {
    opening: Option<JoinHandle<Result<Response<Streaming<T>>, Status>>>,
    open: Option<Streaming<T>>,
}

impl<T: Send + 'static> Answers<T> {
    /// Of this call.
    pub(super) fn of(
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    ) -> Answers<T> {
        Answers { opening: Some(tokio::spawn(call)), open: None }
    }

    /// The next; `None` at the end. May be dropped while it waits.
    pub(super) async fn message(&mut self) -> Result<Option<T>, Status> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            self.open = Some(opened.map_err(|why| Status::internal(why.to_string()))??.into_inner());
        }
        match &mut self.open {
            Some(stream) => stream.message().await,
            None => Ok(None),
        }
    }
}

impl<T> Drop for Answers<T> {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
    }
}
