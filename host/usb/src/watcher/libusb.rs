//! The second witness: libusb's own view of the bus, with a context and a thread of its own.
//!
//! It hears the same netlink group on another socket, so what one of us misses the other may have. It never opens a
//! device here. Where it cannot start (no `/dev/bus/usb`, no netlink) it is done without and tried again: when
//! something happens on the bus, and after ever longer pauses.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusb::{Context, Device, Hotplug, HotplugBuilder, UsbContext};

use super::{inbox::Inbox, worker::Worker};

/// First pause between attempts to start; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// Attempts that events ask for are at least this far apart.
const NO_SOONER: Duration = Duration::from_millis(250);
/// libusb has no "for ever"; it comes back sooner when something happens.
const VERY_LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// Arrivals and departures that wait for the watcher; more are as good as a disagreement.
const MAX_NEWS: usize = 256;

/// What libusb has to say.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// It has started: its list may be asked for.
    pub(super) started: bool,
    /// Arrivals (true) and departures in order, with bus and address.
    pub(super) hotplug: Vec<(bool, u8, u8)>,
    /// Some are missing from that.
    pub(super) lost: bool,
    /// Bus and address of all devices that it knows, where that was asked for.
    pub(super) list: Option<Vec<(u8, u8)>>,
}

impl Heard {
    fn push(&mut self, arrived: bool, device: &Device<Context>) {
        if self.hotplug.len() < MAX_NEWS {
            self.hotplug.push((arrived, device.bus_number(), device.address()));
        } else {
            self.lost = true;
        }
    }
}

/// How its thread is told what to do.
#[derive(Debug, Default)]
pub(super) struct Libusb {
    wishes: Mutex<Wishes>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Wishes {
    stop: bool,
    retry: bool,
    list: bool,
    /// There while libusb works; ringing it interrupts its wait.
    context: Option<Context>,
}

impl Libusb {
    pub(super) fn start(inbox: Arc<Inbox>) -> io::Result<(Arc<Self>, Worker)> {
        let libusb = Arc::new(Self::default());
        let own = Arc::clone(&libusb);
        Ok((libusb, Worker::spawn("usb-libusb", move || own.run(&inbox))?))
    }

    /// Ends its thread.
    pub(super) fn stop(&self) {
        self.wish(|wishes| wishes.stop = true);
    }

    /// Something happened on the bus: starting may work now.
    pub(super) fn retry(&self) {
        let mut wishes = self.wishes();
        if wishes.context.is_none() {
            wishes.retry = true;
            self.bell.notify_all();
        }
    }

    /// Asks for its list.
    pub(super) fn list(&self) {
        self.wish(|wishes| wishes.list = true);
    }

    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        let mut wishes = self.wishes();
        wish(&mut wishes);
        self.bell.notify_all();
        if let Some(context) = &wishes.context {
            context.interrupt_handle_events();
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, inbox: &Arc<Inbox>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            // Never the global context: where libusb cannot start, using that one panics.
            let why = match Context::new() {
                Ok(context) => self.serve(&context, inbox),
                Err(error) => Some(error),
            };
            let Some(why) = why else { return };
            if begin.elapsed() > pause {
                pause = FIRST_PAUSE;
            }
            tracing::debug!(
                "USB goes on without libusb, which is tried again in {pause:?} or when the bus changes: {why}"
            );
            if self.pause(pause) {
                return;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Whether to stop.
    fn pause(&self, pause: Duration) -> bool {
        let begin = Instant::now();
        let mut wishes = self.wishes();
        loop {
            let over = begin + if wishes.retry { NO_SOONER } else { pause };
            let left = over.saturating_duration_since(Instant::now());
            if wishes.stop || left.is_zero() {
                wishes.retry = false;
                return wishes.stop;
            }
            wishes = self.bell.wait_timeout(wishes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Works until it is stopped (none) or libusb fails.
    fn serve(&self, context: &Context, inbox: &Arc<Inbox>) -> Option<rusb::Error> {
        // Where this libusb knows no hot-plug it still has its list.
        let hotplug = HotplugBuilder::new().register(context, Box::new(Teller(Arc::clone(inbox)))).ok();
        self.wishes().context = Some(context.clone());
        inbox.put(|news| news.libusb.started = true);
        let why = self.handle(context, inbox);
        // The last one to let go of a context closes it, so that has to be this thread.
        self.wishes().context = None;
        drop(hotplug);
        why
    }

    fn handle(&self, context: &Context, inbox: &Inbox) -> Option<rusb::Error> {
        loop {
            let (stop, list) = {
                let mut wishes = self.wishes();
                (wishes.stop, std::mem::take(&mut wishes.list))
            };
            if stop {
                return None;
            }
            if list {
                match context.devices() {
                    Ok(devices) => {
                        let list = devices.iter().map(|device| (device.bus_number(), device.address())).collect();
                        inbox.put(|news| news.libusb.list = Some(list));
                    }
                    Err(error) => return Some(error),
                }
            }
            match context.handle_events(Some(VERY_LONG)) {
                Ok(()) | Err(rusb::Error::Interrupted) => {}
                Err(error) => return Some(error),
            }
        }
    }
}

/// Called by libusb while it handles events.
struct Teller(Arc<Inbox>);

impl Hotplug<Context> for Teller {
    fn device_arrived(&mut self, device: Device<Context>) {
        self.0.put(|news| news.libusb.push(true, &device));
    }

    fn device_left(&mut self, device: Device<Context>) {
        self.0.put(|news| news.libusb.push(false, &device));
    }
}
