//! A look at the node by running a program: as a user that owns nothing, without network, with nobody to talk to, for a short time.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::sys::confine;

/// The user and group id that probes run under: no user has it.
pub const PROBE_ID: u32 = 65_533;

/// A program to be run once.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The program, absolute, and its arguments.
    pub argv: Vec<String>,
    /// The directory that is its root; `None`: the host's.
    pub root: Option<PathBuf>,
    /// Longest that it may take; then it and all it started is killed.
    pub deadline: Duration,
    /// Most of each output that is kept, in bytes; the rest is read and thrown away.
    pub output_max: usize,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote there.
    pub stdout: Vec<u8>,
    /// What it wrote there.
    pub stderr: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be run.
    #[error("cannot run {program}: {why}")]
    Run {
        /// The program.
        program: String,
        /// The kernel's reason.
        why: io::Error,
    },
    /// It was still running.
    #[error("{program} gave no answer within {deadline:?} and was killed")]
    Deadline {
        /// The program.
        program: String,
        /// How long it was given.
        deadline: Duration,
    },
}

impl Probe {
    /// Runs it. Where this process is root the program is not: it gets [`PROBE_ID`], no capability, and namespaces of its own for
    /// network, processes and messages. Its environment is empty, its directory `/`.
    ///
    /// # Errors
    /// See [`ProbeError`]; a program that fails is no error.
    pub async fn run(&self) -> Result<Probed, ProbeError> {
        let program = self.argv.first().cloned().unwrap_or_default();
        let failed = |why| ProbeError::Run { program: program.clone(), why };
        let mut command = Command::new(&program);
        command.args(self.argv.iter().skip(1)).env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        confine(command.as_std_mut(), self.root.as_deref(), PROBE_ID).map_err(failed)?;
        let mut child = command.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let answer = async {
            let (stdout, stderr) = tokio::join!(kept(stdout, self.output_max), kept(stderr, self.output_max));
            Ok(Probed { status: child.wait().await?, stdout: stdout?, stderr: stderr? })
        };
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(answer) => answer.map_err(failed),
            // Dropping the child kills it, and its death kills what it started.
            Err(_) => Err(ProbeError::Deadline { program: program.clone(), deadline: self.deadline }),
        }
    }
}

async fn kept(from: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Vec<u8>> {
    let Some(mut from) = from else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    (&mut from).take(limit).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Probe {
        Probe {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            root: None,
            deadline: Duration::from_secs(10),
            output_max: 1000,
        }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap().trim_end()
    }

    #[tokio::test]
    async fn a_program_answers_with_both_outputs_and_its_code() {
        let answer = sh("echo out; echo err >&2; exit 3").run().await.unwrap();
        assert_eq!((text(&answer.stdout), text(&answer.stderr), answer.status.code()), ("out", "err", Some(3)));
    }

    #[tokio::test]
    async fn it_has_no_environment_and_where_it_could_be_root_it_is_nobody_alone() {
        let answer = sh("export -p; cd /; pwd").run().await.unwrap();
        assert!(!text(&answer.stdout).contains("CARGO"), "{}", text(&answer.stdout));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let answer = sh("id -u; id -G; echo $$; grep -c : /proc/net/dev; grep ^CapEff /proc/self/status").run().await;
        let answer = answer.unwrap();
        let words: Vec<&str> = text(&answer.stdout).lines().collect();
        assert_eq!(words.get(..3), Some(&["65533", "65533", "1"][..]), "{words:?}");
        assert!(words.iter().any(|line| line.ends_with("0000000000000000")), "{words:?}");
    }

    #[tokio::test]
    async fn it_may_open_as_many_files_as_this_process_was_given() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(300), maximum }).unwrap();
        crate::raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        let answer = sh("ulimit -Sn").run().await.unwrap();
        assert_eq!(text(&answer.stdout), "300");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_all_it_started() {
        let mut hanging = sh("sleep 4242 & sleep 4242; :");
        hanging.deadline = Duration::from_millis(300);
        let began = Instant::now();
        let why = hanging.run().await.unwrap_err();
        assert!(why.to_string().contains("/bin/sh gave no answer within 300ms"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(5));
        for _ in 0..100 {
            if !anybody_runs("4242") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("somebody still sleeps");
    }

    fn anybody_runs(word: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok()).any(|cmdline| {
            let words: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
            words.starts_with(&[b"sleep", word.as_bytes()])
        })
    }

    #[tokio::test]
    async fn long_output_is_cut_and_does_not_stop_the_program() {
        let answer = sh("head -c 300000 /dev/zero; echo end >&2").run().await.unwrap();
        assert_eq!((answer.stdout.len(), text(&answer.stderr)), (1000, "end"));
    }

    #[tokio::test]
    async fn what_is_not_there_cannot_be_run() {
        let why = Probe { argv: vec!["/nowhere/python".to_owned()], ..sh("") }.run().await.unwrap_err();
        assert!(why.to_string().contains("cannot run /nowhere/python: No such file"), "{why}");
    }
}
