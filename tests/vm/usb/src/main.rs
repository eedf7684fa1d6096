//! `yurt-vm-usb`: plays devices as standard input tells, for drills in other languages. Each line is answered by one.
//!
//! `plug PORT MODEL [SERIAL]` answers with the kernel's name of the port; then `send PORT TEXT…`, `unplug PORT`. At its end all are pulled out.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};

use yurt_usb::sim::{Model, models};
use yurt_vm_usb::{Manners, Plugged, bus, load};

fn main() -> io::Result<()> {
    load()?;
    let mut plugged = BTreeMap::new();
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        match done(&line?, &mut plugged) {
            Ok(said) => writeln!(answers, "ok {said}")?,
            Err(why) => writeln!(answers, "error {why}")?,
        }
        answers.flush()?;
    }
    Ok(())
}

fn done(line: &str, plugged: &mut BTreeMap<u8, Plugged>) -> Result<String, String> {
    let mut words = line.splitn(3, ' ');
    let (what, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (port, rest): (u8, _) =
        (port.parse().map_err(|_| format!("no port: {line}"))?, words.next().unwrap_or_default());
    match what {
        "plug" => {
            let model = model(rest)?;
            let device = Plugged::new(port, &model, Manners::default()).map_err(|why| why.to_string())?;
            plugged.insert(port, device);
            Ok(format!("{}-{}", bus().map_err(|why| why.to_string())?, port + 1))
        }
        "send" => {
            let device = plugged.get(&port).ok_or("nothing is plugged")?;
            device.send(format!("{rest}\n").as_bytes()).map_err(|why| why.to_string())?;
            Ok(String::new())
        }
        "unplug" => plugged.remove(&port).map(|_| String::new()).ok_or_else(|| "nothing is plugged".to_owned()),
        _ => Err(format!("not understood: {line}")),
    }
}

fn model(words: &str) -> Result<Model, String> {
    let (name, serial) = words.split_once(' ').unwrap_or((words, ""));
    let model = match name {
        "cp2102" => models::cp2102(),
        "yubikey" => models::yubikey(),
        _ => return Err(format!("no model {name}")),
    };
    Ok(if serial.is_empty() { model } else { model.with_serial(serial) })
}
