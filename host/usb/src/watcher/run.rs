//! The watcher's thread: waits for events, news and time, moves the [`Table`], orders looks, publishes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::watch;

use super::{
    check::Check,
    inbox::{Inbox, News},
    libusb::{self, Libusb},
    looker::{Look, Looked, Looker, Seen},
    past::Past,
    socket::Socket,
    table::Table,
};
use crate::{
    facts::{Device, Snapshot},
    reader::Reader,
    roots::{Events, Roots},
    uevent::Uevent,
};

/// Datagrams taken in one turn, so that a flood of them does not keep us from the rest.
const MAX_TURN: usize = 512;
/// After a loss the rest of the burst is let by before everything is looked at.
const AFTER_LOSS: Duration = Duration::from_millis(20);
/// While something is wrong everything is looked at again after this long, then after twice as long, up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// Where no event can be heard, looking is all there is.
const LAST_RETRY_DEAF: Duration = Duration::from_secs(10);

/// All that the thread owns.
pub(super) struct Run {
    events: Events,
    reader: Arc<Reader>,
    inbox: Arc<Inbox>,
    looker: Looker,
    check: Option<Check>,
    told: Told,
    table: Table,
    socket: Option<Socket>,
    /// Why no events are heard.
    deaf: Option<String>,
    /// Why there is no bus.
    no_bus: Option<String>,
    /// When everything is to be looked at.
    full: Option<Instant>,
    /// Somebody wants a snapshot whatever the look brings.
    forced: bool,
    /// When somebody will want one.
    again: Option<Instant>,
    under_way: Option<Order>,
    /// How long the last full look took, and when it ended.
    last_full: Option<(Duration, Instant)>,
    retry: Option<Instant>,
    pause: Duration,
}

/// Where the watcher says what it knows.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    /// What is to be kept for the next watcher, until somebody takes it.
    pub(super) past: Arc<Mutex<Option<Past>>>,
}

/// The look that is under way.
#[derive(Debug, Clone, Copy)]
enum Order {
    Full { forced: bool },
    Some,
}

/// What may lead to a snapshot.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// Somebody asked for one.
    Asked,
    /// Something came, went or changed.
    Changed,
    /// All was looked at and nothing was new, but perhaps the trouble.
    Looked,
}

impl Run {
    pub(super) fn new(
        roots: Roots,
        table: Table,
        reader: Arc<Reader>,
        inbox: Arc<Inbox>,
        looker: Looker,
        libusb: Option<Arc<Libusb>>,
        told: Told,
    ) -> Self {
        Self {
            events: roots.events,
            reader,
            inbox,
            looker,
            check: libusb.map(Check::new),
            told,
            table,
            socket: None,
            deaf: None,
            no_bus: None,
            full: None,
            forced: false,
            again: None,
            under_way: None,
            last_full: None,
            retry: None,
            pause: FIRST_RETRY,
        }
    }

    /// Until the inbox says stop.
    pub(super) fn run(mut self) {
        // Bound before the first look: nothing falls between the two.
        self.open();
        self.full = Some(Instant::now());
        loop {
            self.order(Instant::now());
            self.wait();
            let now = Instant::now();
            let news = self.inbox.take();
            if news.stop {
                return self.looker.end();
            }
            // Events first: what a look saw may be older.
            self.hear(now);
            self.read(news, now);
            self.give_up(now);
            self.table.expire(now);
            if self.table.take_overrun() {
                self.look_soon(now + AFTER_LOSS);
            }
            if self.retry.is_some_and(|retry| retry <= now) {
                self.retry = None;
                if self.socket.is_none() {
                    self.open();
                }
                self.look_soon(now);
            }
            let quiet = self.is_quiet();
            if let Some(check) = &mut self.check {
                check.ask(now, quiet);
            }
            if self.table.take_changed() {
                self.publish(now, Why::Changed);
            }
        }
    }

    fn open(&mut self) {
        match Socket::open(&self.events) {
            Ok(socket) => (self.socket, self.deaf) = (Some(socket), None),
            Err(error) => self.deafen(&error),
        }
    }

    fn deafen(&mut self, error: &std::io::Error) {
        let source = match &self.events {
            Events::Kernel => "the kernel's uevents (a netlink socket)".to_owned(),
            Events::Socket(path) => format!("the simulated bus at {}", path.display()),
        };
        let why = format!(
            "{source} cannot be heard: {error}. Changes of USB devices are noticed late, by looking every {} seconds.",
            LAST_RETRY_DEAF.as_secs()
        );
        (self.socket, self.deaf) = (None, Some(why));
    }

    fn wait(&self) {
        let due = [
            self.next_order(),
            self.table.next_end(),
            self.retry,
            self.again,
            self.looker.patience_ends(),
            self.check.as_ref().and_then(Check::due),
        ];
        let timeout =
            due.into_iter().flatten().min().map(|due| timespec(due.saturating_duration_since(Instant::now())));
        let mut fds = vec![PollFd::new(&self.inbox, PollFlags::IN)];
        fds.extend(self.socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Not for want of anything that we hold; no reason to spin.
            Err(_) => std::thread::sleep(FIRST_RETRY),
        }
    }

    fn hear(&mut self, now: Instant) {
        for _ in 0..MAX_TURN {
            let Some(socket) = &mut self.socket else { return };
            match socket.hear() {
                Ok(Some(heard)) => {
                    if heard.lost {
                        tracing::debug!("events of the USB bus were lost");
                        self.look_soon(now + AFTER_LOSS);
                    }
                    if let Some(event) = heard.event.filter(is_of_usb) {
                        self.note(&event, now);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.deafen(&error);
                    self.look_soon(now);
                    self.retry = Some(now + self.pause);
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: &Uevent, now: Instant) {
        self.table.note(event, now);
        if self.no_bus.is_some() {
            self.look_soon(now + AFTER_LOSS);
        }
        if let Some(check) = &mut self.check {
            check.stir();
        }
    }

    fn read(&mut self, news: News, now: Instant) {
        if let Some(settings) = news.settings {
            self.table.configure(settings);
        }
        self.again = news.again.or(self.again);
        if news.rescan || self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.forced = true;
            self.full = Some(now);
        }
        if let Some(looked) = news.looked {
            self.take(looked, now);
        }
        for key in news.unhung {
            tracing::info!(device = key, "the USB device can be read again");
            self.looker.ended(&key);
            self.table.unhung(&key, now);
            self.publish(now, Why::Looked);
        }
        self.listen(news.libusb, now);
    }

    fn take(&mut self, looked: Looked, now: Instant) {
        let order = self.under_way.take();
        self.looker.done();
        match looked.seen {
            Seen::Some(devices) => self.table.some(devices, looked.ordered, now),
            Seen::Full { devices, left_out } => {
                self.last_full = Some((now.saturating_duration_since(looked.ordered), now));
                let (devices, left_out) = match devices {
                    Ok(devices) => {
                        self.no_bus = None;
                        (devices, left_out)
                    }
                    Err(why) => {
                        self.no_bus = Some(why);
                        (Vec::new(), Vec::new())
                    }
                };
                self.table.full(devices, &left_out, looked.ordered, now);
                let changed = self.table.take_changed();
                self.publish(
                    now,
                    match order {
                        Some(Order::Full { forced: true }) => Why::Asked,
                        _ if changed => Why::Changed,
                        _ => Why::Looked,
                    },
                );
            }
        }
    }

    /// Leaves a look that hangs alone with its device.
    fn give_up(&mut self, now: Instant) {
        let Some(key) = self.looker.give_up(now) else { return };
        self.table.hung(&key);
        if let Some(Order::Full { forced }) = self.under_way.take() {
            self.forced |= forced;
            self.full = Some(now);
        }
        self.publish(now, Why::Looked);
    }

    /// Orders the look that is due, if none is under way.
    fn order(&mut self, now: Instant) {
        if self.under_way.is_some() || self.next_order().is_none_or(|due| due > now) {
            return;
        }
        if self.full_due().is_some_and(|due| due <= now) {
            self.full = None;
            self.table.full_begins();
            self.under_way = Some(Order::Full { forced: std::mem::take(&mut self.forced) });
            self.looker.order(Look::Full, now);
        } else {
            self.under_way = Some(Order::Some);
            self.looker.order(Look::Some(self.table.ask(now)), now);
        }
    }

    fn next_order(&self) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        self.full_due().into_iter().chain(self.table.next_look()).min()
    }

    /// A full look that nobody waits for takes at most a fifth of the time.
    fn full_due(&self) -> Option<Instant> {
        let full = self.full?;
        let rest = self.last_full.filter(|_| !self.forced).map(|(took, ended)| ended + 4 * took);
        Some(rest.map_or(full, |rest| full.max(rest)))
    }

    fn look_soon(&mut self, due: Instant) {
        self.full = Some(self.full.map_or(due, |full| full.min(due)));
    }

    fn listen(&mut self, heard: libusb::Heard, now: Instant) {
        for (arrived, bus, address) in heard.hotplug {
            let known = self.table.places().contains(&(bus, address));
            if arrived && !known && !self.table.is_any_unread() {
                self.look_soon(now + AFTER_LOSS);
            } else if !arrived && known {
                self.table.suspect(bus, address, now);
            }
        }
        if heard.lost {
            self.look_soon(now + AFTER_LOSS);
        }
        let Some(check) = &mut self.check else { return };
        if heard.started {
            check.plan(now);
        }
        if heard.list.is_some_and(|list| check.compare(&list, &self.table.places(), now)) {
            self.look_soon(now);
        }
    }

    /// All that is known has been looked at.
    fn is_quiet(&self) -> bool {
        self.table.is_ready() && self.table.is_quiet() && self.full.is_none() && self.under_way.is_none()
    }

    fn publish(&mut self, now: Instant, why: Why) {
        if !self.table.is_ready() {
            return;
        }
        let devices = self.table.snapshot(now);
        let nodes = if self.no_bus.is_none() { self.reader.no_nodes(&devices) } else { None };
        let mut trouble: Vec<String> = [&self.no_bus, &nodes, &self.deaf].into_iter().flatten().cloned().collect();
        self.plan_retry(now, !trouble.is_empty());
        trouble.extend(self.looker.hanging().iter().map(|key| {
            format!("The device at port {key} does not answer the kernel and cannot be read. The others can.")
        }));
        let last = self.told.snapshots.borrow().clone();
        let news = match why {
            Why::Asked => true,
            Why::Changed => !is_alike(&last.devices, &devices),
            Why::Looked => false,
        };
        if news || last.number == 0 || last.trouble != trouble {
            for why in trouble.iter().filter(|why| !last.trouble.contains(why)) {
                tracing::warn!("{why}");
            }
            if let Some(check) = &mut self.check {
                check.plan(now);
            }
            if let Some(past) = self.table.past() {
                *self.told.past.lock().unwrap_or_else(PoisonError::into_inner) = Some(past);
            }
            let number = last.number.saturating_add(1);
            self.told.snapshots.send_replace(Arc::new(Snapshot { number, devices, trouble }));
        }
    }

    fn plan_retry(&mut self, now: Instant, trouble: bool) {
        if !trouble {
            (self.retry, self.pause) = (None, FIRST_RETRY);
        } else if self.retry.is_none() {
            self.retry = Some(now + self.pause);
            self.pause = (self.pause * 2).min(if self.deaf.is_some() { LAST_RETRY_DEAF } else { LAST_RETRY });
        }
    }
}

/// Whether an event can be about USB: nearly all events of a machine are not.
fn is_of_usb(event: &Uevent) -> bool {
    event.subsystem.starts_with("usb") || event.device_key().is_some() || event.devpath.contains("/usb")
}

/// Whether nothing differs but durations.
fn is_alike(a: &[Arc<Device>], b: &[Arc<Device>]) -> bool {
    let alike = |a: &Device, b: &Device| {
        a.life.presence == b.life.presence && a.life.generation == b.life.generation && {
            let mut other = b.clone();
            other.life.for_milliseconds = a.life.for_milliseconds;
            *a == other
        }
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
}

fn timespec(span: Duration) -> Timespec {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: span.subsec_nanos().into() }
}

#[cfg(test)]
mod tests;
