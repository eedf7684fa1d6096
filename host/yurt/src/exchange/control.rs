//! A socket in the plugin's runtime directory, for `yurt guest status`, `swap`, `approve` and `rollback`: one question per connection, one
//! line of JSON each way. Only root and the plugin's own user get an answer.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::status::{Attempt, Status};
use crate::places;

/// Longest question, in bytes.
const QUESTION: u64 = 4096;
/// Who connects and says nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest that an answer may take: a candidate may have to be compiled.
const ANSWER: Duration = Duration::from_secs(120);

/// What people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What serves, what was tried.
    Status,
    /// Look at the files now, also at what was refused before.
    Swap,
    /// Let what waits serve.
    Approve,
    /// Let the one before serve again.
    Rollback,
}

/// What they are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Status(Box<Status>),
    /// What came of it.
    Done(Attempt),
    /// Nothing did, and why.
    Nothing(String),
}

/// A question, and where its answer goes.
pub(super) type Asked = (Request, oneshot::Sender<Answer>);

/// The socket, until dropped.
pub(super) struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Control {
    /// Answers questions that `requests` takes.
    pub(super) fn listen(path: &Path, requests: mpsc::Sender<Asked>) -> io::Result<Control> {
        let directory = path.parent().ok_or_else(|| io::Error::other("a socket needs a directory"))?;
        places::private_dir(directory)?;
        // Left by a process that was killed: the directory is ours alone.
        match std::fs::remove_file(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, requests.clone()));
            }
        });
        Ok(Control { path: path.to_owned() })
    }
}

async fn answer(mut stream: UnixStream, requests: mpsc::Sender<Asked>) {
    let me = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == me) {
        return;
    }
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    let mut reading = tokio::io::BufReader::new(reading.take(QUESTION));
    if !matches!(tokio::time::timeout(PATIENCE, reading.read_line(&mut line)).await, Ok(Ok(read)) if read > 0) {
        return;
    }
    let said = match serde_json::from_str(&line) {
        Err(why) => Answer::Nothing(format!("not a question of this release: {why}")),
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            match requests.send((request, sender)).await {
                Ok(()) => receiver.await.unwrap_or_else(|_| Answer::Nothing("the plugin is ending".to_owned())),
                Err(_) => Answer::Nothing("the plugin is ending".to_owned()),
            }
        }
    };
    let mut text = serde_json::to_vec(&said).unwrap_or_default();
    text.push(b'\n');
    let _ = writing.write_all(&text).await;
}

/// Asks the plugin that listens at `path`.
pub(crate) fn ask(path: &Path, request: Request) -> io::Result<Answer> {
    let mut stream = StdStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said)?;
    Ok(serde_json::from_str(&said)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[tokio::test]
    async fn a_question_is_answered_and_nonsense_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/usb.sock");
        let (sender, mut requests) = mpsc::channel::<Asked>(1);
        let control = Control::listen(&path, sender).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        tokio::spawn(async move {
            while let Some((request, answer)) = requests.recv().await {
                let _ = answer.send(Answer::Nothing(format!("{request:?}")));
            }
        });
        let socket = path.clone();
        let said = tokio::task::spawn_blocking(move || ask(&socket, Request::Rollback)).await.unwrap().unwrap();
        assert!(matches!(said, Answer::Nothing(text) if text == "Rollback"));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"hello\n").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.contains("not a question"), "{said}");
        drop(control);
        assert!(!path.exists());
    }
}
