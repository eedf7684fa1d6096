//! Reads sysfs for the watcher, on a thread of its own.
//!
//! The kernel hands out strings and the configuration under the device's lock, and it holds that lock while a driver
//! binds or a device is reset: a sick device can make a read take half a minute. A look that hangs at a device is left
//! alone with it, and another thread looks at the others.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{inbox::Inbox, worker::Worker};
use crate::{facts::Device, reader::Reader};

/// A device that has not been read after this long is left to the thread that reads it. A full look takes 60 ms.
const HANGING: Duration = Duration::from_secs(2);
/// Threads that may hang at a time. With that many sick devices the rest has to wait.
const MAX_HANGING: usize = 8;
/// How long a looker that is dropped waits for its thread.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is to be looked at.
#[derive(Debug, Clone)]
pub(super) enum Look {
    /// Everything.
    Full,
    /// These devices only.
    Some(Vec<String>),
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// All devices but those that were left out, or why there is no bus.
    Full { devices: Result<Vec<Device>, String>, left_out: Vec<String> },
    /// Each device asked for, or that it is not there.
    Some(Vec<(String, Option<Device>)>),
}

/// The answer to a look.
#[derive(Debug)]
pub(super) struct Looked {
    /// What happened until then has been seen.
    pub(super) ordered: Instant,
    pub(super) seen: Seen,
}

/// How a look is done: the second argument is asked before each device is read, and says no to those that are not to be.
pub(super) type Read = dyn Fn(&Look, &dyn Fn(&str) -> bool) -> Seen + Send + Sync;

/// Where looks are ordered, one at a time. Dropping it ends its thread.
pub(super) struct Looker {
    read: Arc<Read>,
    inbox: Arc<Inbox>,
    hand: Hand,
    under_way: Option<Arc<Progress>>,
    hanging: Vec<String>,
    /// There was no thread to be had: nothing is given up before.
    not_before: Option<Instant>,
}

/// The thread that reads.
struct Hand {
    orders: Sender<Order>,
    worker: Worker,
}

struct Order {
    look: Look,
    left_out: Vec<String>,
    given: Instant,
    progress: Arc<Progress>,
}

/// How far a look is. Both sides go by what stands here, under one lock: a look is either answered or given up.
#[derive(Debug, Default)]
struct Progress(Mutex<Step>);

#[derive(Debug, Default)]
struct Step {
    /// The device that is being read, and since when.
    at: Option<(String, Instant)>,
    given_up: bool,
}

/// What reads a bus.
pub(super) fn of(reader: Arc<Reader>) -> Arc<Read> {
    Arc::new(move |look, wanted| match look {
        Look::Full => Seen::Full { devices: reader.all(wanted), left_out: Vec::new() },
        Look::Some(keys) => Seen::Some(reader.several(keys, wanted)),
    })
}

impl Looker {
    pub(super) fn start(read: Arc<Read>, inbox: Arc<Inbox>) -> io::Result<Self> {
        let hand = Hand::start(Arc::clone(&read), Arc::clone(&inbox))?;
        Ok(Self { read, inbox, hand, under_way: None, hanging: Vec::new(), not_before: None })
    }

    /// Orders a look; the answer comes to the inbox. What happens after `now` it may have seen or not.
    pub(super) fn order(&mut self, look: Look, now: Instant) {
        let progress = Arc::new(Progress::default());
        self.under_way = Some(Arc::clone(&progress));
        // A thread that does not listen has panicked, which has been said: its look never ends and is given up.
        let order = Order { look, left_out: self.hanging.clone(), given: now, progress };
        let _ = self.hand.orders.send(order);
    }

    /// The look that was ordered has been answered.
    pub(super) fn done(&mut self) {
        self.under_way = None;
    }

    /// When the look that is under way will have hung long enough to be given up.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        if self.hanging.len() >= MAX_HANGING {
            return None;
        }
        let end = self.under_way.as_ref()?.step().at.as_ref()?.1 + HANGING;
        Some(self.not_before.map_or(end, |not_before| end.max(not_before)))
    }

    /// Gives up a look that hangs, and says at which device. The next look can be ordered then.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<String> {
        if self.patience_ends().is_none_or(|end| end > now) {
            return None;
        }
        let Ok(fresh) = Hand::start(Arc::clone(&self.read), Arc::clone(&self.inbox)) else {
            self.not_before = Some(now + HANGING);
            return None;
        };
        let key = self.under_way.as_ref()?.give_up()?;
        self.under_way = None;
        self.hand = fresh;
        self.hanging.push(key.clone());
        Some(key)
    }

    /// A look that was given up has ended.
    pub(super) fn ended(&mut self, key: &str) {
        self.hanging.retain(|hanging| hanging != key);
    }

    /// The devices that looks hang at.
    pub(super) fn hanging(&self) -> &[String] {
        &self.hanging
    }

    /// Ends its thread, unless that hangs: then it ends by itself later.
    pub(super) fn end(self) {
        drop(self.hand.orders);
        self.hand.worker.end(Instant::now() + PATIENCE);
    }
}

impl fmt::Debug for Looker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looker").field("under_way", &self.under_way).field("hanging", &self.hanging).finish()
    }
}

impl Hand {
    fn start(read: Arc<Read>, inbox: Arc<Inbox>) -> io::Result<Self> {
        let (orders, received) = channel::<Order>();
        let worker = Worker::spawn("usb-look", move || {
            for Order { look, left_out, given, progress } in received {
                let mut seen = read(&look, &|key| progress.enter(key, &left_out));
                if let Some(key) = progress.finish() {
                    inbox.put(|news| news.unhung.push(key));
                    return;
                }
                if let Seen::Full { left_out: out, .. } = &mut seen {
                    *out = left_out;
                }
                inbox.put(|news| news.looked = Some(Looked { ordered: given, seen }));
            }
        })?;
        Ok(Self { orders, worker })
    }
}

impl Progress {
    /// Whether a device is to be read.
    fn enter(&self, key: &str, left_out: &[String]) -> bool {
        let mut step = self.step();
        if step.given_up || left_out.iter().any(|out| out == key) {
            return false;
        }
        step.at = Some((key.to_owned(), Instant::now()));
        true
    }

    /// The end of the look: none, or the device that it was given up at.
    fn finish(&self) -> Option<String> {
        let mut step = self.step();
        let (key, _) = step.at.take()?;
        step.given_up.then_some(key)
    }

    /// The device that it hangs at; none where it has come to its end after all.
    fn give_up(&self) -> Option<String> {
        let mut step = self.step();
        let key = step.at.as_ref().map(|(key, _)| key.clone())?;
        step.given_up = true;
        Some(key)
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::sync_channel, thread::sleep};

    use super::*;

    fn wait<T>(mut what: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = what() {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_device_that_hangs_keeps_no_other_from_being_read() {
        let (release, hang) = sync_channel::<()>(0);
        let hang = Mutex::new(hang);
        let read: Arc<Read> = Arc::new(move |_, wanted| {
            let keys = ["1-1", "1-2", "1-3"].map(str::to_owned).into_iter();
            let read = keys.filter(|key| {
                let wanted = wanted(key);
                if wanted && key == "1-2" {
                    let _ = hang.lock().unwrap().recv();
                }
                wanted
            });
            Seen::Some(read.map(|key| (key, None)).collect())
        });
        let inbox = Arc::new(Inbox::new().unwrap());
        let mut looker = Looker::start(read, Arc::clone(&inbox)).unwrap();
        let begin = Instant::now();
        looker.order(Look::Full, begin);
        assert_eq!(looker.give_up(begin), None, "not at once");
        assert_eq!(wait(|| looker.give_up(Instant::now())), "1-2");
        assert!(begin.elapsed() >= HANGING);
        assert_eq!(looker.hanging(), ["1-2"]);

        looker.order(Look::Full, begin);
        let Seen::Some(read) = wait(|| inbox.take().looked).seen else { panic!() };
        looker.done();
        assert_eq!(read.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["1-1", "1-3"]);
        assert_eq!(looker.patience_ends(), None);

        release.send(()).unwrap();
        let unhung = wait(|| Some(inbox.take().unhung).filter(|unhung| !unhung.is_empty()));
        assert_eq!(unhung, ["1-2"]);
        looker.ended("1-2");
        looker.order(Look::Full, begin);
        drop(release);
        let Seen::Some(read) = wait(|| inbox.take().looked).seen else { panic!() };
        assert_eq!(read.len(), 3);
        looker.done();
        looker.end();
    }
}
