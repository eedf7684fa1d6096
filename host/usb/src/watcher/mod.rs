//! Hot-plug: who is there, told anew whenever somebody has come, gone or changed.
//!
//! Three threads that sleep while nothing happens:
//!
//! - the *watcher* ([`run`]) owns all state, hears the kernel's events and never waits for a device;
//! - the *looker* ([`looker`]) reads sysfs when it is told to: a read may hang as long as a device that is sick;
//! - *libusb* ([`libusb`]), on the machine's own bus only, is a second witness: it tells of arrivals and departures on
//!   its own, and its list is held against ours.
//!
//! What they have to say to the watcher goes through one [`inbox`] that cannot grow. The newest snapshot stands in a
//! `watch` channel: no reader of it ever waits for a look.

mod check;
mod history;
mod inbox;
mod libusb;
mod looker;
mod past;
mod run;
mod settle;
mod socket;
mod table;
mod worker;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    counters::Kept,
    facts::{CounterSet, Device, NodeKind, Snapshot},
    reader::Reader,
    roots::Roots,
};
use inbox::Inbox;
use libusb::Libusb;
use looker::Looker;
pub use past::Past;
use run::{Run, Told};
use table::Table;
use worker::Worker;

/// How long a dropped watcher waits for its threads. One that hangs in the kernel ends by itself later.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long things are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A new device is told once nothing happened on its branch for this long; sooner if the kernel says that all
    /// drivers have bound.
    pub settle: Duration,
    /// It is told after this long even if its branch never gets quiet.
    pub settle_max: Duration,
    /// An unplugged device stays listed as absent for this long.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { settle: Duration::from_millis(250), settle_max: Duration::from_secs(3), grace: Duration::ZERO }
    }
}

/// Watches a bus until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    reader: Arc<Reader>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    totals: Mutex<Kept>,
    past: Arc<Mutex<Option<Past>>>,
    /// None: they could not be started, and the one snapshot says why.
    threads: Option<Threads>,
}

impl Watcher {
    /// Starts to watch. Never fails: what is in the way stands in [`Snapshot::trouble`] and is tried again.
    #[must_use]
    pub fn start(roots: Roots, settings: Settings) -> Self {
        Self::start_after(Past::default(), roots, settings)
    }

    /// The same, going on with what an earlier watcher knew.
    #[must_use]
    pub fn start_after(past: Past, roots: Roots, settings: Settings) -> Self {
        let (sender, snapshots) = watch::channel(Arc::default());
        let reader = Arc::new(Reader::new(roots.clone()));
        let told = Told { snapshots: sender, past: Arc::default() };
        let threads = match Threads::start(roots, settings, past, &reader, &told) {
            Ok(threads) => Some(threads),
            Err(error) => {
                let trouble =
                    format!("USB devices cannot be watched: the system has no thread or file left for it: {error}.");
                tracing::error!("{trouble}");
                told.snapshots.send_replace(Arc::new(Snapshot {
                    number: 1,
                    devices: Vec::new(),
                    trouble: vec![trouble],
                }));
                None
            }
        };
        Self { reader, snapshots, totals: Mutex::default(), past: told.past, threads }
    }

    /// The newest snapshot and word of every newer one. Number 0: nothing has been looked at yet.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// What the next watcher goes on with, as a text for [`Past::parse`]; none: nothing is new since the last call. It is as new as the
    /// newest snapshot.
    #[must_use]
    pub fn past(&self) -> Option<String> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner).take();
        past.map(|past| past.text())
    }

    /// Other settings, from now on and for what is settling or absent now.
    pub fn configure(&self, settings: Settings) {
        self.tell(|news| news.settings = Some(settings));
    }

    /// Looks at everything again and publishes a snapshot, even if only time has passed.
    pub fn rescan(&self) {
        self.tell(|news| news.rescan = true);
    }

    /// Does what [`rescan`](Watcher::rescan) does after this long. A later call replaces an earlier one.
    ///
    /// Costs no wake-up on the way, which a timer of an async runtime does.
    pub fn look_again_in(&self, span: Duration) {
        let again = Instant::now().checked_add(span);
        self.tell(|news| news.again = again);
    }

    /// The kernel's running totals of the devices that are there. Reads now, on the caller's thread.
    #[must_use]
    pub fn counters(&self, keys: &[String]) -> Vec<CounterSet> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.counters(&self.reader, &snapshot, keys)
    }

    /// A snapshot with what this machine uses of these devices' disks at this moment, since mounting one is no event. Reads now, on the
    /// caller's thread, and nothing where there is no disk.
    #[must_use]
    pub fn with_usage(&self, snapshot: &Snapshot, keys: &[String]) -> Snapshot {
        let mut now = snapshot.clone();
        let has_disk = |device: &Device| device.nodes.iter().any(|node| node.kind == NodeKind::Block);
        for device in now.devices.iter_mut().filter(|device| keys.contains(&device.key) && has_disk(device)) {
            let Some(read) = self.reader.one(&device.key) else { continue };
            for node in &mut Arc::make_mut(device).nodes {
                if let Some(same) = read.nodes.iter().find(|same| same.path == node.path) {
                    node.in_use = same.in_use;
                }
            }
        }
        now
    }

    fn tell(&self, change: impl FnOnce(&mut inbox::News)) {
        if let Some(threads) = &self.threads {
            threads.inbox.put(change);
        }
    }
}

/// What runs. Dropping it ends all of it.
#[derive(Debug)]
struct Threads {
    inbox: Arc<Inbox>,
    libusb: Option<Arc<Libusb>>,
    workers: Vec<Worker>,
}

impl Threads {
    fn start(roots: Roots, settings: Settings, past: Past, reader: &Arc<Reader>, told: &Told) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::new()?);
        let mut threads = Self { inbox: Arc::clone(&inbox), libusb: None, workers: Vec::new() };
        if roots.is_system() {
            let (libusb, worker) = Libusb::start(Arc::clone(&inbox))?;
            threads.libusb = Some(libusb);
            threads.workers.push(worker);
        }
        let looker = Looker::start(looker::of(Arc::clone(reader)), Arc::clone(&inbox))?;
        let libusb = threads.libusb.clone();
        let boot = std::fs::read_to_string(roots.proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
        let table = Table::new(settings, past, boot.trim().to_owned());
        let run = Run::new(roots, table, Arc::clone(reader), inbox, looker, libusb, told.clone());
        threads.workers.push(Worker::spawn("usb-watch", move || run.run())?);
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.inbox.put(|news| news.stop = true);
        if let Some(libusb) = &self.libusb {
            libusb.stop();
        }
        let until = Instant::now() + PATIENCE;
        self.workers.drain(..).for_each(|worker| worker.end(until));
    }
}
