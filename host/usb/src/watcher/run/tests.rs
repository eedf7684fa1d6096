use std::{
    sync::{Mutex, mpsc::channel},
    thread::{sleep, spawn},
};

use super::{super::looker::of, *};
use crate::Settings;
use crate::{
    facts::Presence,
    sim::{Bus, models},
};

#[test]
fn a_sick_device_hides_no_other_and_is_told_once_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();

    // The kernel holds the lock of 1-1 until it is released.
    let (release, hang) = channel::<()>();
    let hang = Mutex::new(hang);
    let reader = Arc::new(Reader::new(roots.clone()));
    let real = of(Arc::clone(&reader));
    let read = Arc::new(move |look: &Look, wanted: &dyn Fn(&str) -> bool| {
        real(look, &|key| {
            let wanted = wanted(key);
            if wanted && key == "1-1" {
                let _ = hang.lock().unwrap().recv();
            }
            wanted
        })
    });
    let inbox = Arc::new(Inbox::new().unwrap());
    let looker = Looker::start(read, Arc::clone(&inbox)).unwrap();
    let (sender, snapshots) = watch::channel(Arc::default());
    let settings =
        Settings { settle: Duration::from_millis(20), settle_max: Duration::from_millis(200), ..Settings::default() };
    let table = Table::new(settings, Past::default(), String::new());
    let told = Told { snapshots: sender, past: Arc::default() };
    let run = Run::new(roots, table, reader, Arc::clone(&inbox), looker, None, told);
    let watcher = spawn(move || run.run());
    let wait = |holds: &dyn Fn(&Snapshot) -> bool| {
        let begin = Instant::now();
        while !holds(&snapshots.borrow()) {
            assert!(begin.elapsed() < Duration::from_secs(20), "still waiting at {:#?}", snapshots.borrow());
            sleep(Duration::from_millis(2));
        }
    };
    let keys = |snapshot: &Snapshot| snapshot.devices.iter().map(|device| device.key.clone()).collect::<Vec<_>>();

    wait(&|snapshot| snapshot.number == 1);
    assert_eq!(keys(&snapshots.borrow()), ["1-2", "usb1"]);
    assert!(snapshots.borrow().trouble.concat().contains("port 1-1"), "{:?}", snapshots.borrow().trouble);

    // Life goes on meanwhile, partial looks and full ones.
    bus.plug("1-3", &models::memory_stick()).unwrap();
    wait(&|snapshot| keys(snapshot) == ["1-2", "1-3", "usb1"]);
    bus.unplug("1-2").unwrap();
    wait(&|snapshot| keys(snapshot) == ["1-3", "usb1"]);
    let number = snapshots.borrow().number;
    inbox.put(|news| news.rescan = true);
    wait(&|snapshot| snapshot.number > number);
    assert_eq!(keys(&snapshots.borrow()), ["1-3", "usb1"]);

    drop(release);
    wait(&|snapshot| {
        let well = snapshot.devices.iter().any(|d| d.key == "1-1" && d.life.presence == Presence::Present);
        well && snapshot.trouble.is_empty()
    });
    inbox.put(|news| news.stop = true);
    watcher.join().unwrap();
}
