//! The two plugins, each in directories of its own and with as many devices as the other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use yurt_nomad::client::{Agent, Launched};
use yurt_nomad::config::from_hcl;
use yurt_usb::Roots;
use yurt_usb::sim::{Bus, models};

/// Devices of each.
pub const DEVICES: usize = 8;
/// Seconds between two looks at the devices, the same for both.
pub const PERIOD: u64 = 10;

/// A plugin file in a plugin directory, and what to configure it with.
#[derive(Debug)]
pub struct Peer {
    /// For people.
    pub name: &'static str,
    /// How an agent starts it.
    pub agent: Agent,
    /// The stanza's `config`.
    config: String,
    /// Bytes of its file.
    pub size: u64,
    _dir: TempDir,
}

impl Peer {
    /// Yurt with its built-in guest, an empty state directory and a simulated bus: most machines that measure have no USB devices.
    pub fn yurt(binary: &Path) -> Result<Peer> {
        let dir = tempfile::tempdir()?;
        let usb = dir.path().join("usb");
        let bus = Bus::create(&Roots::simulated(&usb)).context("a USB bus cannot be simulated")?;
        bus.plug("usb1", &models::root_hub(u8::try_from(DEVICES)?))?;
        for port in 1..=DEVICES {
            let mut model = models::cp2102();
            model.serial = Some(format!("{port:08}").into_bytes());
            bus.plug(&format!("1-{port}"), &model)?;
        }
        let model = models::cp2102();
        let config = format!(
            "fingerprint_period = \"{PERIOD}s\"\ntarget_vendor_id = {}\ntarget_product_id = {}\n",
            model.vendor_id, model.product_id
        );
        let args = ["--usb-root".into(), usb.into_os_string()];
        let env = ("YURT_STATE_DIR".into(), dir.path().join("state").into());
        Peer::new("yurt", binary, "usb", config, dir, |agent| Agent { args: args.into(), env: vec![env], ..agent })
    }

    /// Nomad's example device plugin: files are its devices.
    pub fn fsdev(binary: &Path) -> Result<Peer> {
        let dir = tempfile::tempdir()?;
        let devices = dir.path().join("devices");
        fs::create_dir(&devices)?;
        for number in 0..DEVICES {
            fs::write(devices.join(format!("device-{number}")), b"")?;
        }
        let config = format!("dir = {:?}\nlist_period = \"{PERIOD}s\"\n", devices.display().to_string());
        Peer::new("fsdev", binary, "fsdev", config, dir, |agent| agent)
    }

    fn new(
        name: &'static str,
        binary: &Path,
        link: &str,
        config: String,
        dir: TempDir,
        more: impl FnOnce(Agent) -> Agent,
    ) -> Result<Peer> {
        let binary = fs::canonicalize(binary).with_context(|| format!("no plugin {}", binary.display()))?;
        let size = fs::metadata(&binary)?.len();
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins)?;
        let program = plugins.join(link);
        symlink(&binary, &program)?;
        Ok(Peer { name, agent: more(Agent::new(program)), config, size, _dir: dir })
    }

    /// The launch of the copy that serves, configured.
    pub async fn start(&self) -> Result<Launched> {
        let Some(schema) = self.agent.interrogate().await?.schema else { bail!("{} has no schema", self.name) };
        let config = from_hcl(&self.config, "the stanza", &schema)?;
        Ok(self.agent.start(&config).await?)
    }
}
