use std::{collections::VecDeque, sync::LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{
    facts::Label,
    roots::Roots,
    sim::{Bus, models},
};

static TEMPLATE: LazyLock<Device> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let device = crate::scan(&roots).devices.iter().find(|device| device.key == "1-1").unwrap().clone();
    (*device).clone()
});

fn device(key: &str, address: u8, serial: &str) -> Device {
    let mut device = TEMPLATE.clone();
    device.key = key.to_owned();
    device.place.address = address;
    device.serial = Some(Label { text: serial.to_owned(), cleaned: false });
    device
}

fn event(action: Action, key: &str, below: &str) -> Uevent {
    Uevent {
        action,
        devpath: format!("/devices/pci0000:00/0000:00:14.0/usb1/{key}{below}"),
        subsystem: "usb".into(),
        devtype: if below.is_empty() { "usb_device" } else { "usb_interface" }.into(),
        sequence: None,
    }
}

const SETTINGS: Settings =
    Settings { settle: Duration::from_millis(250), settle_max: Duration::from_secs(3), grace: Duration::ZERO };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A table that has had its first look at nothing.
fn table(now: Instant) -> Table {
    let mut table = Table::new(SETTINGS, Past::default(), "boot".to_owned());
    table.full_begins();
    table.full(Vec::new(), &[], now, now);
    table
}

/// Asks and answers at one moment.
fn look(table: &mut Table, now: Instant, world: &[Device]) -> Vec<String> {
    let asked = table.ask(now);
    let find = |key: &String| world.iter().find(|device| device.key == *key).cloned();
    table.some(asked.iter().map(|key| (key.clone(), find(key))).collect(), now, now);
    asked
}

fn present(table: &mut Table, now: Instant) -> Vec<(String, u8)> {
    let devices = table.snapshot(now);
    let present = devices.iter().filter(|device| device.life.presence == Presence::Present);
    present.map(|device| (device.key.clone(), device.place.address)).collect()
}

#[test]
fn a_plug_is_read_when_bound_and_quiet_and_not_before() {
    let begin = Instant::now();
    let mut table = table(begin);
    let world = [device("1-1", 2, "A")];
    table.note(&event(Action::Add, "1-1", ""), begin);
    assert_eq!(table.next_look(), Some(begin + ms(250)));
    table.note(&event(Action::Add, "1-1", "/1-1:1.0"), begin + ms(10));
    table.note(&event(Action::Bind, "1-1", "/1-1:1.0"), begin + ms(120));
    assert_eq!(table.next_look(), Some(begin + ms(370)));
    table.note(&event(Action::Bind, "1-1", ""), begin + ms(130));
    assert_eq!(table.next_look(), Some(begin + ms(180)));
    assert_eq!(look(&mut table, begin + ms(179), &world), [""; 0]);
    assert!(!table.take_changed());
    assert_eq!(look(&mut table, begin + ms(180), &world), ["1-1"]);
    assert!(table.take_changed());
    assert_eq!(present(&mut table, begin + ms(180)), [("1-1".to_owned(), 2)]);

    // Twice more for what udev does, then never again.
    assert_eq!(look(&mut table, begin + ms(180 + 250), &world), ["1-1"]);
    assert_eq!(look(&mut table, begin + ms(180 + 3000), &world), ["1-1"]);
    assert!(!table.take_changed());
    assert_eq!((table.next_look(), table.next_end()), (None, None));
}

#[test]
fn late_events_are_read_once_per_burst_and_their_branch_only() {
    let begin = Instant::now();
    let mut table = table(begin);
    let world = [device("1-1", 2, "A"), device("1-2", 3, "B")];
    for key in ["1-1", "1-2"] {
        table.note(&event(Action::Add, key, ""), begin);
    }
    look(&mut table, begin + ms(250), &world);
    look(&mut table, begin + ms(5000), &world);
    look(&mut table, begin + ms(5000), &world);
    assert_eq!(table.next_look(), None);
    let late = begin + ms(6000);
    for n in 0..30 {
        table.note(&event(Action::Add, "1-2", "/1-2:1.0/host0/block/sda"), late + ms(10 * n));
    }
    assert_eq!(table.next_look(), Some(late + ms(150)), "a burst that goes on is read all the same");
    assert_eq!(look(&mut table, late + ms(300), &world), ["1-2"]);
}

#[test]
fn a_removal_while_a_look_is_under_way_is_the_last_word() {
    let begin = Instant::now();
    let mut table = table(begin);
    table.note(&event(Action::Add, "1-1", ""), begin);
    let started = begin + ms(250);
    assert_eq!(table.ask(started), ["1-1"]);
    table.note(&event(Action::Remove, "1-1", ""), started + ms(1));
    table.some(vec![("1-1".into(), Some(device("1-1", 2, "A")))], started, started + ms(2));
    assert_eq!(present(&mut table, started), []);

    table.full_begins();
    let started = started + ms(10);
    table.note(&event(Action::Add, "1-1", ""), started - ms(5));
    table.note(&event(Action::Remove, "1-1", ""), started + ms(1));
    table.full(vec![device("1-1", 3, "A")], &[], started, started + ms(2));
    assert_eq!(table.next_look(), None, "not even settling");
}

#[test]
fn a_device_that_hangs_is_left_as_it_is_and_the_others_go_on() {
    let begin = Instant::now();
    let mut table = table(begin);
    let world = [device("1-2", 3, "B")];
    for key in ["1-1", "1-2"] {
        table.note(&event(Action::Add, key, ""), begin);
    }
    let now = begin + ms(250);
    assert_eq!(table.ask(now), ["1-1", "1-2"]);
    table.hung("1-1");
    assert_eq!(look(&mut table, now + ms(1000), &world), ["1-2"]);
    table.full_begins();
    table.full(world.to_vec(), &["1-1".to_owned()], now + ms(2000), now + ms(2001));
    assert_eq!(present(&mut table, now), [("1-2".to_owned(), 3)]);
    look(&mut table, now + ms(9000), &world);
    look(&mut table, now + ms(9001), &world);
    assert_eq!(table.next_look(), None, "it is asked for no more");
    let later = now + ms(10_000);
    table.unhung("1-1", later);
    let next = table.next_look().unwrap();
    look(&mut table, next, &[device("1-1", 2, "A"), world[0].clone()]);
    assert_eq!(present(&mut table, next).len(), 2);
}

#[test]
fn what_hangs_from_a_hub_goes_with_it() {
    let begin = Instant::now();
    let mut table = Table::new(SETTINGS, Past::default(), "boot".to_owned());
    table.full_begins();
    let keys = ["1-1", "1-1.1", "1-1.1.4", "1-11", "1-2", "usb1", "usb11", "11-1"];
    table.full(keys.iter().map(|key| device(key, 1, key)).collect(), &[], begin, begin);
    let left = |table: &mut Table| present(table, begin).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    table.note(&event(Action::Remove, "1-1", ""), begin);
    assert_eq!(left(&mut table), ["1-11", "1-2", "11-1", "usb1", "usb11"]);
    table.note(&event(Action::Remove, "usb1", ""), begin);
    assert_eq!(left(&mut table), ["11-1", "usb11"]);
}

#[test]
fn events_of_ports_that_cannot_be_are_bounded_and_forgotten() {
    let begin = Instant::now();
    let mut table = table(begin);
    for a in 1..=100 {
        for b in 1..=100 {
            table.note(&event(Action::Add, &format!("7-{a}.{b}"), ""), begin);
        }
    }
    assert_eq!(table.slots.len(), MAX_PORTS);
    assert!(table.take_overrun(), "a full look has to follow");
    for key in ["01-1", "1-999", "1-1.2.3.4.5.6.7.8", "256-1", ".."] {
        table.note(&event(Action::Add, key, ""), begin);
    }
    let mut now = begin;
    while let Some(next) = table.next_look() {
        now = now.max(next);
        assert!(now <= begin + SETTINGS.settle_max);
        look(&mut table, now, &[]);
    }
    assert!(table.slots.is_empty() && present(&mut table, now).is_empty());
}

#[test]
fn a_forgotten_port_does_not_count_from_the_start() {
    let mut history = History::default();
    let first = history.turn("1-1");
    let generation = history.turn("1-1");
    assert_eq!((first, generation), (1, 2));
    for bus in 1..=250 {
        for port in 1..=20 {
            history.turn(&format!("{bus}-{port}.1"));
        }
    }
    assert!(history.turn("1-1") > generation);
}

/// What may happen between a bus and a watcher, in any order.
#[derive(Debug, Clone)]
enum Op {
    Plug {
        port: u8,
        serial: u8,
        lost: bool,
    },
    Unplug {
        port: u8,
        lost: bool,
    },
    Hear(u8),
    Wait(u16),
    Look {
        full: bool,
    },
    /// The look that is under way reads what there is, and ends.
    Read,
    End,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..4_u8, 0..3_u8, prop::bool::weighted(0.2)).prop_map(|(port, serial, lost)| Op::Plug { port, serial, lost }),
        3 => (1..4_u8, prop::bool::weighted(0.2)).prop_map(|(port, lost)| Op::Unplug { port, lost }),
        4 => (1..6_u8).prop_map(Op::Hear),
        4 => (0..600_u16).prop_map(Op::Wait),
        3 => any::<bool>().prop_map(|full| Op::Look { full }),
        3 => Just(Op::Read),
        3 => Just(Op::End),
    ];
    prop::collection::vec(op, 0..80)
}

/// A look under way: since when, what was asked, what it saw.
type UnderWay = (Instant, Option<Vec<String>>, Option<Vec<Device>>);

struct World {
    table: Table,
    now: Instant,
    there: BTreeMap<String, Device>,
    address: u8,
    queue: VecDeque<Uevent>,
    look: Option<UnderWay>,
    generations: BTreeMap<String, u32>,
}

impl World {
    fn new(grace: u64) -> Self {
        let now = Instant::now();
        let mut table = table(now);
        table.configure(Settings { grace: ms(grace), ..SETTINGS });
        Self {
            table,
            now,
            there: BTreeMap::new(),
            address: 1,
            queue: VecDeque::new(),
            look: None,
            generations: BTreeMap::new(),
        }
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Plug { port, serial, lost } => {
                let key = format!("1-{port}");
                if !self.there.contains_key(&key) {
                    self.address = self.address % 127 + 1;
                    self.there.insert(key.clone(), device(&key, self.address, &format!("S{serial}")));
                    self.tell(lost, [event(Action::Add, &key, ""), event(Action::Bind, &key, "")]);
                }
            }
            Op::Unplug { port, lost } => {
                let key = format!("1-{port}");
                if self.there.remove(&key).is_some() {
                    self.tell(lost, [event(Action::Unbind, &key, "/1-1:1.0"), event(Action::Remove, &key, "")]);
                }
            }
            Op::Hear(n) => (0..n).for_each(|_| {
                if let Some(event) = self.queue.pop_front() {
                    self.table.note(&event, self.now);
                }
            }),
            Op::Wait(n) => self.now += ms(n.into()),
            Op::Look { full } => {
                if self.look.is_none() {
                    let asked = if full {
                        self.table.full_begins();
                        None
                    } else {
                        Some(self.table.ask(self.now))
                    };
                    self.look = Some((self.now, asked, None));
                }
            }
            Op::Read => self.read(),
            Op::End => {
                self.read();
                self.now += ms(1);
                let Some((started, asked, Some(saw))) = self.look.take() else { return };
                match asked {
                    None => self.table.full(saw, &[], started, self.now),
                    Some(keys) => {
                        let find = |key: &String| saw.iter().find(|device| device.key == *key).cloned();
                        let answers = keys.iter().map(|key| (key.clone(), find(key))).collect();
                        self.table.some(answers, started, self.now);
                    }
                }
            }
        }
        self.table.expire(self.now);
        self.check();
    }

    fn read(&mut self) {
        if let Some((_, _, saw)) = &mut self.look {
            saw.get_or_insert_with(|| self.there.values().cloned().collect());
        }
    }

    fn tell(&mut self, lost: bool, events: [Uevent; 2]) {
        // Nothing happens twice at one moment.
        self.now += ms(1);
        if !lost {
            self.queue.extend(events);
        }
    }

    fn check(&mut self) {
        let snapshot = self.table.snapshot(self.now);
        assert!(snapshot.is_sorted_by(|a, b| a.key < b.key));
        for device in snapshot {
            let last = self.generations.entry(device.key.clone()).or_default();
            assert!(device.life.generation >= *last, "a generation never shrinks");
            *last = device.life.generation;
            assert!(device.life.before.len() <= 4);
        }
    }

    /// Everything is heard, all time passes, everything is looked at.
    fn end(&mut self) {
        self.act(Op::End);
        self.act(Op::Hear(u8::MAX));
        for full in [true, false] {
            self.act(Op::Wait(1));
            self.act(Op::Look { full });
            self.act(Op::End);
        }
        for _ in 0..200 {
            let Some(next) = self.table.next_look().into_iter().chain(self.table.next_end()).min() else { return };
            self.now = self.now.max(next);
            self.act(Op::Look { full: false });
            self.act(Op::End);
        }
        panic!("it never comes to rest: {:?}", self.table);
    }
}

proptest! {
    #[test]
    fn whatever_is_lost_late_or_crossed_it_ends_in_what_is_there(ops in ops(), grace in prop_oneof![Just(0_u64), Just(400)]) {
        let mut world = World::new(grace);
        for op in ops {
            world.act(op);
        }
        world.end();
        let there: Vec<(String, u8)> = world.there.values().map(|device| (device.key.clone(), device.place.address)).collect();
        let now = world.now;
        prop_assert_eq!(present(&mut world.table, now), there);
        prop_assert_eq!(world.table.snapshot(now).len(), world.there.len());
        prop_assert!(world.table.is_quiet());
    }
}

#[test]
fn no_setting_is_too_much() {
    let begin = Instant::now();
    let mut table = table(begin);
    table.configure(Settings { settle: Duration::MAX, settle_max: Duration::ZERO, grace: Duration::MAX });
    table.note(&event(Action::Add, "1-1", ""), begin);
    assert!(table.next_look() > Some(begin + ms(3_600_000)));
    table.configure(Settings { settle: Duration::ZERO, settle_max: Duration::ZERO, grace: Duration::MAX });
    look(&mut table, begin, &[device("1-1", 2, "A")]);
    table.note(&event(Action::Remove, "1-1", ""), begin);
    assert!(table.next_end() > Some(begin + ms(3_600_000)));
}

#[test]
fn an_absent_device_keeps_the_mark_of_its_serial() {
    let begin = Instant::now();
    let mut table = table(begin);
    table.configure(Settings { grace: ms(60_000), ..SETTINGS });
    let world = [device("1-1", 2, "A"), device("1-2", 3, "A")];
    for key in ["1-1", "1-2"] {
        table.note(&event(Action::Add, key, ""), begin);
    }
    look(&mut table, begin + ms(250), &world);
    let shared = |table: &mut Table| {
        let devices = table.snapshot(begin + ms(300));
        devices.len() == 2 && devices.iter().all(|device| device.serial_quality == crate::facts::SerialQuality::Shared)
    };
    assert!(shared(&mut table));
    table.note(&event(Action::Remove, "1-2", ""), begin + ms(260));
    assert!(shared(&mut table));
}
