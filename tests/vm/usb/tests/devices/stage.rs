//! What all of these tests do first.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use yurt_conformance::patience;
use yurt_conformance::place::Place;
use yurt_nomad::client::{Agent, Launched, Offers};
use yurt_nomad::config::from_hcl;
use yurt_nomad::device::{Group, Health, Instance};
use yurt_vm_usb::{bus, load};

/// How long any of it may take on a machine that is not emulated.
const PATIENCE: Duration = Duration::from_secs(6);

/// The plugin with the kernel's own devices, as an agent starts it.
pub(crate) struct Stage {
    pub(crate) launched: Launched,
    offers: Offers,
    /// What was offered last.
    offered: Vec<Group>,
    _place: Place,
}

/// One that is configured so and has answered for the first time.
pub(crate) async fn serving(config: &str) -> Stage {
    load().expect("the VM's modules");
    let place = Place::new();
    let agent = Agent { args: Vec::new(), ..place.agent() };
    let schema = agent.interrogate().await.unwrap().schema.unwrap();
    let config = from_hcl(config, "agent.hcl", &schema).unwrap();
    let mut launched = agent.start(&config).await.unwrap();
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = offers.next().await.unwrap();
    Stage { launched, offers, offered, _place: place }
}

impl Stage {
    /// Messages until one is as wanted; the last one may be.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&[Group]) -> bool) -> Vec<Group> {
        let came = tokio::time::timeout(patience(PATIENCE), async {
            while !wanted(&self.offered) {
                self.offered = self.offers.next().await.unwrap();
            }
        })
        .await;
        assert!(came.is_ok(), "it never came; last was {:#?}", self.offered);
        self.offered.clone()
    }

    /// Until exactly these ids are offered, all healthy.
    pub(crate) async fn until_healthy(&mut self, ids: &[&str]) -> Vec<Group> {
        self.until(|groups| {
            let found = instances(groups);
            found.iter().all(|instance| healthy(instance)) && found.iter().map(|instance| &instance.id).eq(ids)
        })
        .await
    }
}

pub(crate) fn instances(groups: &[Group]) -> Vec<&Instance> {
    groups.iter().flat_map(|group| &group.instances).collect()
}

pub(crate) fn healthy(instance: &Instance) -> bool {
    matches!(instance.health, Health::Healthy { .. })
}

/// The name of the kernel for port `number`, from 0, of the bus of played devices.
pub(crate) fn port(number: u8) -> String {
    load().expect("the VM's modules");
    format!("{}-{}", bus().unwrap(), number + 1)
}

/// The node below `/dev` that a driver has made for the device at a port, as soon as there is one.
pub(crate) fn node_of(port: &str, class: &str) -> PathBuf {
    let found = || {
        fs::read_dir(format!("/sys/class/{class}")).ok()?.flatten().find_map(|entry| {
            let place = fs::canonicalize(entry.path()).ok()?;
            let at = |part: std::path::Component<'_>| part.as_os_str() == port;
            place.components().any(at).then(|| Path::new("/dev").join(entry.file_name()))
        })
    };
    let since = Instant::now();
    loop {
        if let Some(node) = found() {
            return node;
        }
        assert!(since.elapsed() < patience(Duration::from_secs(10)), "no {class} at {port}");
        sleep(Duration::from_millis(1));
    }
}

pub(crate) fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort();
    spans[spans.len() / 2]
}
