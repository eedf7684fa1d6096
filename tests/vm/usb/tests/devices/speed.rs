//! How long an agent waits for what the kernel has. Printed; a machine that is emulated holds no goal.

use std::time::Instant;

use yurt_usb::sim::models;
use yurt_vm_usb::{Manners, Plugged};

use crate::stage::{median, node_of, port, serving};

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn from_the_plug_to_the_offer() {
    let port = port(0);
    let mut stage = serving("rule {\n driver = \"cp210x\"\n}").await;
    let (mut kernels, mut ours, mut away) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        let plugged = Instant::now();
        let device = Plugged::new(0, &models::cp2102(), Manners::default()).unwrap();
        node_of(&port, "tty");
        let bound = Instant::now();
        stage.until_healthy(&["sn-0001"]).await;
        ours.push(bound.elapsed());
        kernels.push(bound - plugged);
        let pulled = Instant::now();
        drop(device);
        stage.until_healthy(&[]).await;
        away.push(pulled.elapsed());
    }
    println!("plug to the driver's node (kernel): median {:?} of {}", median(kernels.clone()), kernels.len());
    println!("node to FingerprintResponse:        median {:?}", median(ours));
    println!("unplug to FingerprintResponse:      median {:?}", median(away));
}
