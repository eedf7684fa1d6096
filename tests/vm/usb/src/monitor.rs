//! QEMU's monitor (QMP), which `run.sh` has put behind a port of the VM: it plugs what QEMU emulates itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

/// The monitor. One at a time.
#[derive(Debug)]
pub struct Monitor {
    port: BufReader<File>,
    asked: u64,
}

impl Monitor {
    /// Opens the port of that name.
    ///
    /// # Errors
    /// This is not the VM of `run.sh`, or somebody has the port open.
    pub fn open() -> io::Result<Self> {
        for entry in fs::read_dir("/sys/class/virtio-ports")? {
            let entry = entry?;
            if fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim_end() == "monitor") {
                let node = format!("/dev/{}", entry.file_name().display());
                let port = OpenOptions::new().read(true).write(true).open(node)?;
                // The answers of this session have numbers of their own.
                let asked = u64::from(std::process::id()) << 32;
                let mut monitor = Self { port: BufReader::new(port), asked };
                // Refused where an earlier session has done it already.
                let _ = monitor.ask("qmp_capabilities", &json!({}));
                return Ok(monitor);
            }
        }
        Err(io::Error::other("no port `monitor`: this runs in the VM of tests/vm/run.sh"))
    }

    /// Plugs a device of QEMU's: driver, port (`1`, or `1.2` behind a hub), further properties. Its name is the port's.
    ///
    /// # Errors
    /// As QEMU says.
    pub fn plug(&mut self, driver: &str, port: &str, more: Value) -> io::Result<()> {
        let mut properties = json!({"driver": driver, "id": name(port), "bus": "xhci.0", "port": port});
        if let (Some(all), Value::Object(more)) = (properties.as_object_mut(), more) {
            all.extend(more);
        }
        self.ask("device_add", &properties)
    }

    /// Pulls a device out.
    ///
    /// # Errors
    /// As QEMU says.
    pub fn unplug(&mut self, port: &str) -> io::Result<()> {
        self.ask("device_del", &json!({"id": name(port)}))
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        self.asked += 1;
        let question = json!({"execute": command, "arguments": arguments, "id": self.asked});
        writeln!(self.port.get_mut(), "{question}")?;
        let mut line = String::new();
        loop {
            line.clear();
            self.port.read_line(&mut line)?;
            // Between them: its greeting, and what happened.
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if said["id"] == self.asked {
                let why = &said["error"]["desc"];
                return if why.is_null() { Ok(()) } else { Err(io::Error::other(format!("{command}: {why}"))) };
            }
        }
    }
}

fn name(port: &str) -> String {
    format!("at-{}", port.replace('.', "-"))
}
