//! `yurt devices record`: the devices of this machine as a file. It holds all that a policy is told and nothing else, and opens no device.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use sha2::{Digest as _, Sha256};
use yurt_usb::facts::{Device, Snapshot};

use super::term::Out;
use super::under::Facts;

/// Digits of a hash that stand for a serial number.
const DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file, which must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put hashes in the place of serial numbers and hardware addresses: alike stay alike within the file
    #[arg(long)]
    hash_serials: bool,
    #[command(flatten)]
    facts: Facts,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut snapshot = arguments.facts.read()?;
    if arguments.hash_serials {
        hash(&mut snapshot, &salt());
    }
    let name = arguments.file.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&arguments.file)
        .with_context(|| name.to_string())?;
    let mut text = serde_json::to_string_pretty(&snapshot)?;
    text.push('\n');
    file.write_all(text.as_bytes()).with_context(|| name.to_string())?;
    let devices = snapshot.devices.len();
    Out::new().line(&format!("{name}: {devices} devices; look at them with `yurt devices --replay {name}`"))?;
    Ok(ExitCode::SUCCESS)
}

/// Different in every file, so that nobody can try serial numbers out against several.
fn salt() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let mut salt = now.to_ne_bytes().to_vec();
    salt.resize(48, 0);
    // What the kernel does not give, the clock has to do.
    let _ = rustix::rand::getrandom(salt.split_at_mut(16).1, rustix::rand::GetRandomFlags::empty());
    salt
}

fn hash(snapshot: &mut Snapshot, salt: &[u8]) {
    let hashed = |text: &str| {
        let digest = Sha256::new().chain_update(salt).chain_update(text.as_bytes()).finalize();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        // A letter in front: never a number to Nomad.
        format!("h{}", digits.get(..DIGITS).unwrap_or_default())
    };
    for device in &mut snapshot.devices {
        let device: &mut Device = Arc::make_mut(device);
        for former in &mut device.life.before {
            former.serial = former.serial.as_deref().map(hashed);
        }
        for network in device.network.iter_mut().filter(|network| !network.mac.is_empty()) {
            let digits = hashed(&network.mac);
            // Locally administered.
            let pairs: Vec<&str> = (1..11).step_by(2).filter_map(|at| digits.get(at..at + 2)).collect();
            network.mac = format!("02:{}", pairs.join(":"));
        }
        let Some(serial) = &mut device.serial else { continue };
        let (was, now) = (serial.text.clone(), hashed(&serial.text));
        serial.text.clone_from(&now);
        // udev puts it into names, with `_` for what a name cannot hold.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '#' | '+' | '-' | '.' | ':' | '=' | '@' | '_');
        let in_links: String = was.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        for link in device.nodes.iter_mut().flat_map(|node| &mut node.links) {
            *link = link.replace(&in_links, &now);
        }
        for (_, value) in &mut device.extra {
            *value = value.replace(&was, &now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use yurt_usb::sim::{Bus, models};
    use yurt_usb::{Roots, scan};

    #[test]
    fn no_serial_number_is_left_and_alike_stay_alike() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::simulated(dir.path());
        let bus = Bus::create(&roots).unwrap();
        bus.plug("usb1", &models::root_hub(4)).unwrap();
        bus.plug("1-1", &models::memory_stick()).unwrap();
        bus.plug("1-2", &models::memory_stick()).unwrap();
        let mut snapshot = scan(&roots);
        let find = |snapshot: &Snapshot, key: &str| {
            snapshot.devices.iter().find(|device| device.key == key).unwrap().serial.clone().unwrap().text
        };
        let was = find(&snapshot, "1-1");
        let link = format!("/dev/disk/by-id/usb-{was}-0:0");
        let mut device = (*snapshot.devices[0]).clone();
        device.nodes[0].links.push(link);
        device.serial.as_mut().unwrap().text = was.clone();
        snapshot.devices[0] = Arc::new(device);

        hash(&mut snapshot, b"salt");
        assert!(!serde_json::to_string(&snapshot).unwrap().contains(&was));
        assert_eq!(find(&snapshot, "1-1"), find(&snapshot, "1-2"));
        assert_ne!(find(&snapshot, "1-1"), was);
        let again = salt();
        assert_ne!(again, salt());
    }
}
