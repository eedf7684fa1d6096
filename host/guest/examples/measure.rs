//! What guests cost: `cargo run --release -p yurt-guest --example measure -- [--cache DIR] FILE…` prints for each component how long it takes to
//! load, first and from the cache, and what a call costs with 0, 8 and 127 devices, on one thread and on two.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use yurt_guest::{Options, Runtime, Source, Trial, UsbPolicy, usb};

/// For the guests that take a configuration as the default policy does; others ignore it.
const CONFIG: &str = r#"{"fingerprint_period":"10s","target_vendor_id":0,"target_product_id":0,"rule":[]}"#;

fn main() {
    let start = Instant::now();
    drop(Runtime::new(Options::default()).unwrap());
    println!("runtime: {:?}, resident {} kB", start.elapsed(), resident());
    let dir = tempfile::tempdir().unwrap();
    let mut cache = dir.path().join("cache");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--cache" {
            cache = arguments.next().unwrap().into();
        } else {
            measure(Path::new(&argument), &cache);
        }
    }
}

fn measure(file: &Path, cache: &Path) {
    let source = Source::File(std::path::absolute(file).unwrap());
    println!("{} ({} kB)", file.display(), fs::metadata(file).unwrap().len() >> 10);
    let mut policy = None;
    for launch in ["first", "cached", "cached"] {
        let start = Instant::now();
        let runtime = Runtime::new(Options { cache_dir: Some(cache.into()), ..Options::default() }).unwrap();
        let made = start.elapsed();
        let loaded = match runtime.open(&source) {
            Ok(loaded) => loaded,
            Err(why) => return println!("  {why}"),
        };
        let opened = start.elapsed() - made;
        policy = match loaded.activate(&Trial { config: CONFIG }) {
            Ok(policy) => Some(policy),
            Err(why) => return println!("  {why}"),
        };
        println!("  {launch}: runtime {made:?}, open {opened:?}, trial {:?}", start.elapsed() - made - opened);
    }
    let policy = policy.unwrap();
    println!("  resident {} kB, threads {}", resident(), threads());
    for devices in [0, 8, 127] {
        let facts = snapshot(devices);
        let times = calls(&policy, &facts);
        let (median, worst) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let start = Instant::now();
        let both: usize = thread::scope(|scope| {
            let threads = [0, 1].map(|_| scope.spawn(|| calls(&policy, &facts).len()));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let rate = both as f64 / start.elapsed().as_secs_f64();
        println!("  group of {devices}: median {median:?}, 99 % {worst:?}; two threads {rate:.0} calls/s");
    }
    println!("  resident {} kB, threads {}", resident(), threads());
}

/// As many calls as half a second has room for, by their cost.
fn calls(policy: &UsbPolicy, facts: &usb::Snapshot) -> Vec<Duration> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < Duration::from_millis(500) || times.len() < 10 {
        let start = Instant::now();
        drop(policy.group(CONFIG, facts, None).unwrap());
        times.push(start.elapsed());
    }
    times.sort();
    times
}

/// Serial adapters with everything in the record.
fn snapshot(devices: usize) -> usb::Snapshot {
    let label = |text: String| Some(usb::Label { text, cleaned: false });
    let codes = usb::ClassCodes { base: 2, sub: 2, protocol: 1 };
    let device = |n: usize| usb::UsbDevice {
        key: format!("1-1.{n}"),
        parent: Some("1-1".into()),
        vendor_id: 0x10c4,
        product_id: 0xea60,
        device_release: 0x0100,
        usb_release: 0x0200,
        manufacturer: label("Silicon Labs".into()),
        product: label("CP2102 USB to UART Bridge Controller".into()),
        serial: label(format!("{n:08}")),
        serial_quality: usb::SerialQuality::Unique,
        vendor_name: Some("Silicon Labs".into()),
        product_name: Some("CP210x UART Bridge".into()),
        codes: usb::ClassCodes { base: 0, sub: 0, protocol: 0 },
        is_hub: false,
        place: usb::Place {
            bus: 1,
            address: 5,
            ports: vec![1, 4],
            controller: Some("0000:00:14.0".into()),
            numa_node: Some(0),
            removable: usb::Removable::Removable,
        },
        link: usb::Link { speed: usb::Speed::Full, mbit: 12, capable: usb::Speed::Full, degraded: false },
        configuration: Some(usb::Configuration {
            value: 1,
            self_powered: false,
            remote_wakeup: false,
            max_milliamps: 100,
        }),
        configurations: 1,
        interfaces: (0..2)
            .map(|number| usb::UsbInterface {
                number,
                alternate: 0,
                codes,
                name: Some("Enhanced Com Port".into()),
                function: Some(0),
                driver: Some("cp210x".into()),
                endpoints: (0..2)
                    .map(|at| usb::Endpoint {
                        address: 0x81 + at,
                        transfer: usb::Transfer::Bulk,
                        max_packet: 64,
                        interval: 0,
                    })
                    .collect(),
            })
            .collect(),
        nodes: ["usb_device", "tty"]
            .map(|subsystem| usb::Node {
                path: format!("/dev/{subsystem}{n}"),
                kind: usb::NodeKind::Character,
                major: 188,
                minor: 0,
                subsystem: subsystem.into(),
                of_interface: None,
                position: 0,
                links: vec![format!("/dev/serial/by-id/usb-Silicon_Labs_{n:08}-if00")],
                uid: 0,
                gid: 20,
                mode: 0o660,
                in_use: false,
            })
            .into(),
        network: Vec::new(),
        access: usb::Access { authorised: true, openable: true, over_current: false },
        power: usb::Power { state: usb::PowerState::Active, autosuspend_milliseconds: Some(2000) },
        life: usb::Life {
            presence: usb::Presence::Present,
            for_milliseconds: 60_000,
            generation: 1,
            replugs: 0,
            before: Vec::new(),
        },
        extra: Vec::new(),
    };
    usb::Snapshot { number: 2, devices: (0..devices).map(device).collect(), trouble: Vec::new() }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}
