//! Cranelift's code for a guest that serves by Winch's: made in the background, held against what the guest has said of itself, and
//! taken over between two calls.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use wasmtime::component::Component;

use crate::about;
use crate::guest::Guest;
use crate::load::{driver_ready, usb_ready};
use crate::logic::{self, DriverLogic};
use crate::policy::{self, UsbPolicy};
use crate::tier::Tier;

/// What is to be done for one guest.
pub(crate) struct Improving {
    guest: Arc<Guest>,
    bytes: Arc<[u8]>,
    /// Takes the code over, unless it is not the same guest's.
    take_over: TakeOver,
}

type TakeOver = Box<dyn FnOnce(&Guest, Arc<Tier>, &Component) -> Result<(), String> + Send>;

impl Improving {
    pub(crate) fn usb(policy: &UsbPolicy, bytes: Arc<[u8]>) -> Improving {
        let code = policy.code.clone();
        let take_over = move |guest: &Guest, tier, component: &Component| {
            let ready = usb_ready(tier, component, &guest.contract, &guest.imports).map_err(|why| why.to_string())?;
            let again = policy::describe(&guest.callee, &ready).map_err(|why| why.to_string())?;
            same(about::difference(&guest.about, &again))?;
            code.improve(ready);
            Ok(())
        };
        Improving { guest: Arc::clone(&policy.guest), bytes, take_over: Box::new(take_over) }
    }

    pub(crate) fn driver(driver: &DriverLogic, bytes: Arc<[u8]>) -> Improving {
        let (code, description) = (driver.code.clone(), Arc::clone(&driver.description));
        let take_over = move |guest: &Guest, tier, component: &Component| {
            let ready = driver_ready(tier, component, &guest.imports).map_err(|why| why.to_string())?;
            let again = logic::describe(&guest.callee, &ready).map_err(|why| why.to_string())?;
            same(about::difference_of_drivers(&description, &again))?;
            code.improve(ready);
            Ok(())
        };
        Improving { guest: Arc::clone(&driver.guest), bytes, take_over: Box::new(take_over) }
    }

    /// In the background. Whatever comes of it, the guest serves meanwhile and after it.
    pub(crate) fn begin(self) {
        let begun = thread::Builder::new().name("guest-improver".into()).spawn(|| {
            let (start, guest) = (Instant::now(), Arc::clone(&self.guest));
            match self.run() {
                Ok(()) => tracing::info!(
                    guest = %guest.callee.identity,
                    milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "it serves by Cranelift's code from now on"
                ),
                Err(why) => {
                    tracing::warn!(guest = %guest.callee.identity, "it serves by Winch's code until the next start: {why}");
                }
            }
        });
        if let Err(why) = begun {
            tracing::warn!("a guest serves by Winch's code until the next start: no thread to wait for better: {why}");
        }
    }

    fn run(self) -> Result<(), String> {
        let Improving { guest, bytes, take_over } = self;
        let shared = &guest.callee.shared;
        let limits = shared.limits();
        let component = shared
            .code(&shared.tier, &bytes, guest.digest(), &limits)
            .map_err(|why| format!("it cannot be compiled: {why}"))?;
        take_over(&guest, Arc::clone(&shared.tier), &component)?;
        if let Ok(winch) = shared.winch() {
            winch.cache.forget(guest.digest());
        }
        Ok(())
    }
}

fn same(differs: Option<&'static str>) -> Result<(), String> {
    differs.map_or(Ok(()), |part| {
        Err(format!("by Cranelift's code it describes itself differently ({part}), please report this"))
    })
}

impl fmt::Debug for Improving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Improving({})", self.guest.callee.identity)
    }
}
