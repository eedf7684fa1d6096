//! The real binary, started as an agent starts it, and every message of its Fingerprint stream.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use yurt_nomad::client::{Agent, CallError, Launched};
use yurt_nomad::config::from_hcl;
use yurt_nomad::device::{Group, Instance};

/// Offers every device that is no hub, after the settle time that is the default.
pub(crate) const CONFIG: &str = "rule {}";
/// The settle time that is the default.
pub(crate) const SETTLE: Duration = Duration::from_millis(250);
/// How long a message may be in coming before the case fails. Far more than any should take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Quiet for this long means that nothing more is coming: twice the longest that settling takes here, and some.
const QUIET: Duration = Duration::from_millis(1500);

/// Where a case starts its plugin from.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    program: PathBuf,
    state: PathBuf,
    tmp: PathBuf,
}

impl Setup {
    pub(crate) fn new(dir: &Path, case: &str) -> Setup {
        Setup { program: dir.join("plugins").join(case), state: dir.join("state"), tmp: dir.to_path_buf() }
    }

    /// Three launches, as at an agent's start; the third serves.
    pub(crate) async fn start(&self, config: &str) -> anyhow::Result<Watched> {
        let agent = Agent {
            program: self.program.clone(),
            args: vec!["--guest".into(), "usb".into()],
            env: vec![("YURT_STATE_DIR".into(), self.state.clone().into()), ("TMPDIR".into(), self.tmp.clone().into())],
            ..Agent::default()
        };
        let asked = agent.interrogate().await?;
        let schema = asked.schema.context("the plugin has no schema")?;
        let config = from_hcl(config, "agent.hcl", &schema)?;
        agent.validate(&config).await?;
        let mut launched = agent.start(&config).await?;
        let called = Instant::now();
        let mut offers = launched.device.fingerprint().await?;
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let next = offers.next().await.map(|groups| Message { at: Instant::now(), groups });
                let last = next.is_err();
                if sender.send(next).is_err() || last {
                    return;
                }
            }
        });
        Ok(Watched { launched, messages, called })
    }
}

/// One FingerprintResponse.
#[derive(Debug)]
pub(crate) struct Message {
    /// When it arrived.
    pub(crate) at: Instant,
    /// What it says.
    pub(crate) groups: Vec<Group>,
}

/// A plugin that serves.
#[derive(Debug)]
pub(crate) struct Watched {
    launched: Launched,
    messages: mpsc::UnboundedReceiver<Result<Message, CallError>>,
    /// When Fingerprint was called.
    pub(crate) called: Instant,
}

impl Watched {
    /// The next message, whatever it says.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Message> {
        match tokio::time::timeout(PATIENCE, self.messages.recv()).await {
            Ok(Some(message)) => Ok(message?),
            Ok(None) => bail!("the stream ended"),
            Err(_) => bail!("no message within {PATIENCE:?}"),
        }
    }

    /// The next message says exactly this.
    pub(crate) async fn says(&mut self, expected: &[Group]) -> anyhow::Result<Message> {
        let message = self.next().await.with_context(|| format!("waiting for\n{}", text(expected)))?;
        ensure!(message.groups == expected, "{}", difference(&message.groups, expected));
        Ok(message)
    }

    /// The first thing said is that there is nothing, and after a look nothing else is.
    pub(crate) async fn begins_empty(&mut self) -> anyhow::Result<Message> {
        let first = self.says(&[]).await?;
        self.is_quiet().await?;
        Ok(first)
    }

    /// This is the first thing said, or the first after the empty message that lets a node register at once.
    pub(crate) async fn begins_with(&mut self, expected: &[Group]) -> anyhow::Result<Message> {
        let first = self.next().await?;
        if first.groups == expected {
            return Ok(first);
        }
        ensure!(first.groups.is_empty(), "{}", difference(&first.groups, expected));
        self.says(expected).await
    }

    /// This is said next, or next after that nothing is there.
    pub(crate) async fn comes_to(&mut self, expected: &[Group]) -> anyhow::Result<Message> {
        self.begins_with(expected).await
    }

    /// No further message comes.
    pub(crate) async fn is_quiet(&mut self) -> anyhow::Result<()> {
        match tokio::time::timeout(QUIET, self.messages.recv()).await {
            Err(_) => Ok(()),
            Ok(Some(message)) => bail!("it goes on:\n{}", text(&message?.groups)),
            Ok(None) => bail!("the stream ended"),
        }
    }

    /// All messages until nothing more comes.
    pub(crate) async fn until_quiet(&mut self) -> anyhow::Result<Vec<Message>> {
        let mut all = Vec::new();
        while let Ok(message) = tokio::time::timeout(QUIET, self.messages.recv()).await {
            all.push(message.context("the stream ended")??);
        }
        Ok(all)
    }

    /// What the plugin has logged so far.
    pub(crate) fn log(&self) -> String {
        let mut reader = self.launched.plugin.log();
        let lines: Vec<String> =
            std::iter::from_fn(|| reader.ready()).map(|line| format!("{} {}", line.level, line.message)).collect();
        lines.join("\n")
    }

    /// In order, by itself, within the two seconds that an agent waits.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let ended = self.launched.end().await;
        ensure!(ended.graceful, "the plugin did not end when asked: {ended:?}");
        Ok(())
    }
}

/// Groups line by line, each line whole by itself.
fn lines(groups: &[Group]) -> Vec<String> {
    groups.iter().flat_map(|group| details(group).into_iter().chain([name(group)])).collect()
}

fn name(group: &Group) -> String {
    format!("{}/{}/{}", group.vendor, group.kind, group.name)
}

fn details(group: &Group) -> Vec<String> {
    let name = name(group);
    let instances = group
        .instances
        .iter()
        .map(|Instance { id, health, pci_bus_id }| format!("{name} {id}: {health:?} at {pci_bus_id:?}"));
    let attributes = group
        .attributes
        .iter()
        .map(|(attribute, value)| format!("{name} {attribute} = {:?} {:?}", value.value, value.unit));
    instances.chain(attributes).collect()
}

/// Groups as a person reads them: names and instances.
pub(crate) fn text(groups: &[Group]) -> String {
    if groups.is_empty() {
        return "  (nothing)".to_owned();
    }
    let names = groups.iter().map(|group| {
        let ids: Vec<String> = group.instances.iter().map(|i| format!("{} {:?}", i.id, i.health)).collect();
        format!("  {}: {}", name(group), ids.join(", "))
    });
    names.collect::<Vec<_>>().join("\n")
}

/// What was said and what should have been; and where a group is in both, in what it differs.
fn difference(said: &[Group], expected: &[Group]) -> String {
    let only = |sign: char, these: &[Group], others: &[Group]| {
        let known = lines(others);
        let in_both = these.iter().filter(|group| known.contains(&name(group)));
        let new = in_both.flat_map(details).filter(|line| !known.contains(line));
        new.map(|line| format!("\n  {sign} {line}")).collect::<String>()
    };
    format!(
        "it says\n{}\nand not\n{}{}{}",
        text(said),
        text(expected),
        only('+', said, expected),
        only('-', expected, said)
    )
}
