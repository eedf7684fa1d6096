//! Who is at which port: the watcher's state, moved by events, by looks and by time. Touches nothing outside.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Settings,
    history::{History, Identity, former, is_twin},
    past::{Past, Stayed},
    settle::{Burst, Reviews, Settling},
};
use crate::{
    facts::{Device, Life, Presence},
    uevent::{Action, Uevent},
};

/// Ports that are followed. No machine has so many; events that nobody can have meant might name more.
const MAX_PORTS: usize = 4096;
/// Devices of one partial look.
const MAX_LOOK: usize = 128;

/// The state.
#[derive(Debug)]
pub(super) struct Table {
    settings: Settings,
    slots: BTreeMap<String, Slot>,
    history: History,
    /// Devices that an earlier watcher saw, until we know better. Of this boot.
    stayed: BTreeMap<String, Stayed>,
    boot: String,
    /// Devices that left while a full look was under way, which may have seen them still.
    left: Option<HashSet<String>>,
    /// A full look has been taken in.
    looked: bool,
    /// More happened than can be followed one by one.
    overrun: bool,
    changed: bool,
}

/// A port that somebody is at, was at until a moment ago, or is coming to.
#[derive(Debug)]
struct Slot {
    shown: Option<Shown>,
    arriving: Option<Arriving>,
    burst: Option<Burst>,
    reviews: Option<Reviews>,
    /// Is part of the look that is under way.
    asked: bool,
    /// The last event about it.
    touched: Instant,
}

/// A settled device: present, or absent within its grace.
#[derive(Debug)]
struct Shown {
    device: Device,
    since: Instant,
}

/// A device that is not settled, as it was read last.
#[derive(Debug)]
struct Arriving {
    settling: Settling,
    device: Option<Device>,
}

impl Table {
    /// `boot`: the kernel's id of this boot.
    pub(super) fn new(settings: Settings, past: Past, boot: String) -> Self {
        let (history, stayed) = past.taken_up(&boot);
        Self {
            settings: settings.sane(),
            slots: BTreeMap::new(),
            history,
            stayed,
            boot,
            left: None,
            looked: false,
            overrun: false,
            changed: false,
        }
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        self.settings = settings.sane();
    }

    /// Takes in an event of the kernel's.
    pub(super) fn note(&mut self, event: &Uevent, now: Instant) {
        let Some(key) = event.device_key() else { return };
        let whole = event.is_device() && event.devpath.rsplit('/').next() == Some(key);
        match event.action {
            Action::Add if whole => self.added(key, now),
            Action::Remove if whole => self.removed(key, now),
            Action::Bind => self.stirred(key, now, whole),
            Action::Add | Action::Change => self.stirred(key, now, false),
            Action::Remove | Action::Unbind => self.loosened(key, now),
        }
    }

    /// What is to be remembered beyond this watcher, if anything is new.
    pub(super) fn past(&mut self) -> Option<Past> {
        if !self.history.take_news() {
            return None;
        }
        let present = self.slots.values().filter(|slot| slot.is_present()).filter_map(|slot| slot.shown.as_ref());
        Some(Past::of(&self.history, &self.boot, present.map(|shown| &shown.device)))
    }

    fn added(&mut self, key: &str, now: Instant) {
        match self.slots.get_mut(key) {
            // The first look saw it before its event came; or its removal was not heard, which the look will show.
            Some(slot) if slot.arriving.is_none() && slot.is_present() => slot.stir(now),
            Some(slot) => slot.arrive(now, None),
            None => self.begin(key, now),
        }
    }

    /// Something came about on a device's branch.
    fn stirred(&mut self, key: &str, now: Instant, bound: bool) {
        match self.slots.get_mut(key) {
            Some(Slot { arriving: Some(arriving), touched, .. }) => {
                arriving.settling.stir(now, bound);
                *touched = now;
            }
            Some(slot) if slot.is_present() => slot.stir(now),
            // Its own event was not heard.
            Some(slot) => slot.arrive(now, None),
            None => self.begin(key, now),
        }
    }

    /// Something went from a device's branch: nothing new of a device that nobody knows.
    fn loosened(&mut self, key: &str, now: Instant) {
        match self.slots.get_mut(key) {
            Some(Slot { arriving: Some(arriving), touched, .. }) => {
                arriving.settling.stir(now, false);
                *touched = now;
            }
            Some(slot) if slot.is_present() => slot.stir(now),
            _ => {}
        }
    }

    fn begin(&mut self, key: &str, now: Instant) {
        if self.slots.len() >= MAX_PORTS {
            self.overrun = true;
            return;
        }
        self.slots.insert(key.to_owned(), Slot::arriving(now, None));
    }

    /// A device is gone, and with it what hung from it.
    fn removed(&mut self, key: &str, now: Instant) {
        let below = match key.strip_prefix("usb") {
            Some(bus) => format!("{bus}-"),
            None => format!("{key}."),
        };
        let mut gone: Vec<String> = self
            .slots
            .range(below.clone()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&below))
            .cloned()
            .collect();
        gone.push(key.to_owned());
        for key in gone {
            self.stayed.remove(&key);
            self.depart(&key, now);
            match &mut self.left {
                Some(left) if left.len() < MAX_PORTS => drop(left.insert(key)),
                Some(_) => self.overrun = true,
                None => {}
            }
        }
    }

    fn depart(&mut self, key: &str, now: Instant) {
        let Some(mut slot) = self.slots.remove(key) else { return };
        if slot.arriving.take().is_some_and(|arriving| arriving.device.is_some()) {
            self.history.turn(key);
            self.changed = true;
        }
        let Some(shown) = &mut slot.shown else { return };
        if shown.device.life.presence == Presence::Absent {
            self.slots.insert(key.to_owned(), slot);
            return;
        }
        shown.device.life.generation = self.history.turn(key);
        self.changed = true;
        if self.settings.grace.is_zero() {
            self.history.left(&shown.device.key, former(&shown.device));
            return;
        }
        shown.device.life.presence = Presence::Absent;
        shown.since = now;
        let rest = Slot { arriving: None, burst: None, reviews: None, asked: false, touched: now, ..slot };
        self.slots.insert(key.to_owned(), rest);
    }

    /// Whether more happened than could be followed, since this was asked last.
    pub(super) fn take_overrun(&mut self) -> bool {
        std::mem::take(&mut self.overrun)
    }

    /// A full look begins.
    pub(super) fn full_begins(&mut self) {
        self.left = Some(HashSet::new());
    }

    /// Takes in what a full look saw of all but the devices that it left out.
    pub(super) fn full(&mut self, devices: Vec<Device>, left_out: &[String], started: Instant, now: Instant) {
        let left = self.left.take().unwrap_or_default();
        let first = !std::mem::replace(&mut self.looked, true);
        let mut seen: BTreeMap<String, Device> =
            devices.into_iter().map(|device| (device.key.clone(), device)).collect();
        // What was touched since has a look of its own to come, which knows more.
        let untouched = self.slots.iter().filter(|(key, slot)| slot.touched <= started && !left_out.contains(key));
        let settled: Vec<String> = untouched.map(|(key, _)| key.clone()).collect();
        for key in settled {
            // One that has just come may have ended the absence of another.
            if self.slots.contains_key(&key) {
                let device = seen.remove(&key);
                self.take(&key, device, started, now);
            }
        }
        for (key, device) in seen {
            if self.slots.contains_key(&key) || left.contains(&key) {
                continue;
            }
            if first {
                self.slots.insert(key.clone(), Slot::empty(now));
                self.settled(&key, device, now);
            } else {
                self.slots.insert(key, Slot::arriving(now, Some(device)));
            }
        }
    }

    /// Takes in what a look at some devices saw.
    pub(super) fn some(&mut self, devices: Vec<(String, Option<Device>)>, started: Instant, now: Instant) {
        for (key, device) in devices {
            // One that has left meanwhile, and come again, has not been asked for.
            if self.slots.get_mut(&key).is_some_and(|slot| std::mem::take(&mut slot.asked)) {
                self.take(&key, device, started, now);
            }
        }
    }

    fn take(&mut self, key: &str, found: Option<Device>, started: Instant, now: Instant) {
        let settings = self.settings;
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(arriving) = &mut slot.arriving {
            let settling = &mut arriving.settling;
            let settled = settling.due(&settings) <= started;
            match found {
                Some(device) if settled => self.settled(key, device, now),
                Some(device) => arriving.device = Some(device),
                // Never there, or nothing that can be read.
                None if settling.end(&settings) <= started => {
                    slot.arriving = None;
                    self.drop_empty(key);
                }
                None if settled => settling.again(now),
                None => {}
            }
            return;
        }
        if !slot.is_present() {
            // Come back, and nobody said so.
            if let Some(device) = found {
                slot.arrive(now, Some(device));
            }
            return;
        }
        let heard = slot.burst.is_some_and(|burst| burst.due() <= started);
        slot.burst = slot.burst.and_then(|burst| burst.after(started));
        slot.reviews = slot.reviews.and_then(|reviews| reviews.after(started, &settings));
        let Some(device) = found else {
            if slot.burst.is_none() {
                self.depart(key, now);
            }
            return;
        };
        let Some(shown) = &mut slot.shown else { return };
        if !is_same(&shown.device, &device) {
            self.replaced(key, device, now);
            return;
        }
        let device = Device { life: shown.device.life.clone(), ..device };
        if device != shown.device {
            shown.device = device;
            self.changed = true;
            if heard {
                slot.reviews = Some(Reviews::begin(now));
            }
        }
    }

    /// Another device is where one was, and nobody said so.
    fn replaced(&mut self, key: &str, device: Device, now: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(shown) = slot.shown.take() {
            self.history.turn(key);
            self.history.left(&shown.device.key, former(&shown.device));
        }
        *slot = Slot::arriving(now, Some(device));
        self.changed = true;
    }

    /// A device is there and whole.
    fn settled(&mut self, key: &str, device: Device, now: Instant) {
        let twin = self.devices().any(|other| other.key != device.key && is_twin(&device, other));
        let identity = self.history.identity(&device, twin);
        if let Identity::Serial(_) = identity {
            self.end_absence_elsewhere(&device);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(absent) = slot.shown.take() {
            self.history.left(&absent.device.key, former(&absent.device));
        }
        // Only the first device at a port can have stayed there.
        let (generation, replugs) = match self.stayed.remove(key) {
            Some(stayed) if stayed.is(&device) => (stayed.generation, stayed.replugs),
            other => {
                if let Some(other) = other {
                    self.history.left(key, other.former());
                }
                (self.history.turn(key), self.history.plugged(identity))
            }
        };
        let before = self.history.before(&device);
        let life = Life { presence: Presence::Present, for_milliseconds: 0, generation, replugs, before };
        *slot = Slot {
            shown: Some(Shown { device: Device { life, ..device }, since: now }),
            reviews: Some(Reviews::begin(now)),
            touched: slot.touched,
            ..Slot::empty(now)
        };
        self.changed = true;
    }

    /// A device that is known for certain has come to another port: it is not absent any more.
    fn end_absence_elsewhere(&mut self, device: &Device) {
        let moved: Vec<String> = self
            .slots
            .iter()
            .filter(|(key, slot)| **key != device.key && slot.absent().is_some_and(|absent| is_one(absent, device)))
            .map(|(key, _)| key.clone())
            .collect();
        moved.iter().for_each(|key| self.end_absence(key));
    }

    fn end_absence(&mut self, key: &str) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(absent) = slot.shown.take_if(|shown| shown.device.life.presence == Presence::Absent) {
            self.history.left(&absent.device.key, former(&absent.device));
            self.changed = true;
        }
        self.drop_empty(key);
    }

    fn drop_empty(&mut self, key: &str) {
        if self.slots.get(key).is_some_and(|slot| slot.shown.is_none() && slot.arriving.is_none()) {
            self.slots.remove(key);
        }
    }

    /// Lets go of what has been absent for longer than its grace.
    pub(super) fn expire(&mut self, now: Instant) {
        let over: Vec<String> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.grace_ends(&self.settings).is_some_and(|end| end <= now))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().for_each(|key| self.end_absence(key));
    }

    /// Marks a device for a look at once.
    pub(super) fn suspect(&mut self, bus: u8, address: u8, now: Instant) {
        let of = |slot: &Slot| {
            slot.is_present()
                && slot.shown.as_ref().is_some_and(|s| (s.device.place.bus, s.device.place.address) == (bus, address))
        };
        if let Some(slot) = self.slots.values_mut().find(|slot| of(slot)) {
            slot.stir(now);
        }
    }

    /// The devices whose time to be looked at has come, marked as being looked at.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<String> {
        let settings = self.settings;
        let due = self.slots.iter_mut().filter(|(_, slot)| slot.due(&settings).is_some_and(|due| due <= now));
        due.take(MAX_LOOK)
            .map(|(key, slot)| {
                slot.asked = true;
                key.clone()
            })
            .collect()
    }

    /// The look that is under way hangs at a device and has been given up: all others may be asked for again.
    pub(super) fn hung(&mut self, key: &str) {
        self.left = None;
        for (other, slot) in &mut self.slots {
            slot.asked &= other == key;
        }
    }

    /// The look that hung at a device has ended: another one has to tell what it is now.
    pub(super) fn unhung(&mut self, key: &str, now: Instant) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.asked = false;
        }
        self.stirred(key, now, false);
    }

    /// When a device has to be looked at next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.slots.values().filter_map(|slot| slot.due(&self.settings)).min()
    }

    /// When something ends by itself.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.slots.values().filter_map(|slot| slot.grace_ends(&self.settings)).min()
    }

    /// A full look has been taken in: there is something to publish.
    pub(super) fn is_ready(&self) -> bool {
        self.looked
    }

    /// Nothing is settling or waits for a look.
    pub(super) fn is_quiet(&self) -> bool {
        self.slots.values().all(|slot| slot.arriving.is_none() && slot.burst.is_none() && !slot.asked)
    }

    /// Whether something came, went or changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Bus and address of all that is there.
    pub(super) fn places(&self) -> Vec<(u8, u8)> {
        let present = self.devices().filter(|device| device.life.presence != Presence::Absent);
        present.map(|device| (device.place.bus, device.place.address)).collect()
    }

    /// Whether a device is there whose place is not known yet.
    pub(super) fn is_any_unread(&self) -> bool {
        self.slots.values().any(|slot| slot.arriving.as_ref().is_some_and(|arriving| arriving.device.is_none()))
    }

    /// The devices of this moment in order of their keys.
    pub(super) fn snapshot(&mut self, now: Instant) -> Vec<Arc<Device>> {
        let mut devices: Vec<Arc<Device>> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match (&slot.shown, &slot.arriving) {
                (Some(shown), _) => {
                    let mut device = shown.device.clone();
                    device.life.for_milliseconds = milliseconds(now.saturating_duration_since(shown.since));
                    Some(Arc::new(device))
                }
                (None, Some(Arriving { settling, device: Some(device) })) => {
                    let life = Life {
                        presence: Presence::Settling,
                        for_milliseconds: milliseconds(now.saturating_duration_since(settling.since)),
                        generation: self.history.generation(key).saturating_add(1),
                        replugs: 0,
                        before: self.history.before(device),
                    };
                    Some(Arc::new(Device { life, ..device.clone() }))
                }
                (None, _) => None,
            })
            .collect();
        self.history.compare_serials(&mut devices);
        devices
    }

    /// All that is known, settled or not, absent or not.
    fn devices(&self) -> impl Iterator<Item = &Device> {
        let shown = self.slots.values().filter_map(|slot| slot.shown.as_ref()).map(|shown| &shown.device);
        shown.chain(self.slots.values().filter_map(|slot| slot.arriving.as_ref()?.device.as_ref()))
    }
}

impl Slot {
    fn empty(now: Instant) -> Self {
        Self { shown: None, arriving: None, burst: None, reviews: None, asked: false, touched: now }
    }

    fn arriving(now: Instant, device: Option<Device>) -> Self {
        Self { arriving: Some(Arriving { settling: Settling::begin(now), device }), ..Self::empty(now) }
    }

    /// A device comes to where one is absent, or where another was coming.
    fn arrive(&mut self, now: Instant, device: Option<Device>) {
        *self = Self { shown: self.shown.take(), ..Self::arriving(now, device) };
    }

    fn stir(&mut self, now: Instant) {
        self.touched = now;
        self.burst.get_or_insert(Burst::begin(now)).stir(now);
    }

    fn is_present(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.device.life.presence == Presence::Present)
    }

    fn absent(&self) -> Option<&Device> {
        let device = self.shown.as_ref().map(|shown| &shown.device)?;
        (device.life.presence == Presence::Absent).then_some(device)
    }

    fn grace_ends(&self, settings: &Settings) -> Option<Instant> {
        self.absent()?;
        Some(self.shown.as_ref()?.since + settings.grace)
    }

    fn due(&self, settings: &Settings) -> Option<Instant> {
        if self.asked {
            return None;
        }
        if let Some(arriving) = &self.arriving {
            return Some(arriving.settling.due(settings));
        }
        let burst = self.burst.as_ref().map(Burst::due);
        let review = self.reviews.as_ref().map(|reviews| reviews.due(settings));
        burst.into_iter().chain(review).min()
    }
}

/// The same device that has not been unplugged in between. Addresses count up with every plug and come round at 127.
fn is_same(a: &Device, b: &Device) -> bool {
    a.place.address == b.place.address && a.device_release == b.device_release && is_one(a, b)
}

fn is_one(a: &Device, b: &Device) -> bool {
    (a.vendor_id, a.product_id, &a.serial) == (b.vendor_id, b.product_id, &b.serial)
}

fn milliseconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
