//! A directory follows its device through the kernel's own replug.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use yurt_conformance::patience;
use yurt_usb::sim::models;
use yurt_vm_usb::{Manners, Plugged};

use crate::stage::{median, node_of, port, serving};

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn the_path_in_the_directory_works_again_soon_after_the_kernel_has_bound_the_device() {
    let port = port(0);
    let mut stage = serving("rule {\n driver = \"cp210x\"\n expose = \"mount\"\n}").await;
    let mut device = Plugged::new(0, &models::cp2102(), Manners::default()).unwrap();
    stage.until_healthy(&["sn-0001"]).await;
    let reservation = stage.launched.device.reserve(vec!["sn-0001".into()]).await.unwrap();
    let tty = reservation.envs["YURT_USB_SN_0001_TTY"].clone();
    let mut spans = Vec::new();
    for round in 0..6u8 {
        drop(device);
        gone(&tty);
        // Every second time another one has taken the number meanwhile.
        let between = (round % 2 == 1)
            .then(|| Plugged::new(1, &models::cp2102().with_serial("TAKER"), Manners::default()).unwrap());
        between.iter().for_each(|_| drop(node_of(&crate::stage::port(1), "tty")));
        device = Plugged::new(0, &models::cp2102(), Manners::default()).unwrap();
        let node = node_of(&port, "tty");
        let bound = Instant::now();
        let opened = loop {
            if let Ok(opened) = OpenOptions::new().read(true).write(true).open(&tty) {
                break opened;
            }
            assert!(bound.elapsed() < patience(Duration::from_secs(5)), "{tty} is not back");
            sleep(Duration::from_millis(1));
        };
        spans.push(bound.elapsed());
        assert_eq!(fs::metadata(&tty).unwrap().rdev(), fs::metadata(&node).unwrap().rdev());
        let word = format!("round {round}\n");
        device.send(word.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(opened).read_line(&mut line).unwrap();
        assert_eq!(line, word);
    }
    println!("replug, from the kernel's node to the path that works: median {:?} of {spans:?}", median(spans.clone()));
}

fn gone(path: &str) {
    let since = Instant::now();
    while Path::new(path).exists() {
        assert!(since.elapsed() < patience(Duration::from_secs(5)), "{path} stays");
        sleep(Duration::from_millis(1));
    }
}
