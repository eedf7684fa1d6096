//! The cases: what each does, and the messages that an agent must see then.

mod absence;
mod hotplug;
mod identity;
mod speed;

use std::pin::Pin;

use crate::plugin::Setup;

/// What a case has to say beyond "ok", line by line.
pub(crate) type Remarks = anyhow::Result<Vec<String>>;

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What holds if it passes.
    pub(crate) holds: &'static str,
    pub(crate) run: fn(Setup) -> Pin<Box<dyn Future<Output = Remarks>>>,
}

/// In the order in which they run: what others rest on comes first.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "plug",
        holds: "a plug is one message, complete, after the device has settled",
        run: |setup| Box::pin(hotplug::plug(setup)),
    },
    Case {
        name: "unplug",
        holds: "an unplug is one message, and the device's id comes back with it",
        run: |setup| Box::pin(hotplug::unplug(setup)),
    },
    Case {
        name: "hub",
        holds: "a hub goes with all that hangs from it, and with nothing else",
        run: |setup| Box::pin(hotplug::hub(setup)),
    },
    Case {
        name: "flicker",
        holds: "200 plugs and unplugs of one port in a row end with what is there",
        run: |setup| Box::pin(hotplug::flicker(setup)),
    },
    Case { name: "burst", holds: "200 devices at once are all offered", run: |setup| Box::pin(hotplug::burst(setup)) },
    Case {
        name: "no-bus",
        holds: "without a bus nothing is offered; the bus that comes later is found",
        run: |setup| Box::pin(absence::no_bus(setup)),
    },
    Case {
        name: "no-event",
        holds: "a device whose events were lost is found by the next full look",
        run: |setup| Box::pin(absence::no_event(setup)),
    },
    Case {
        name: "swap",
        holds: "another device at the same port is another device, at an equal count",
        run: |setup| Box::pin(identity::swap(setup)),
    },
    Case {
        name: "same-serial",
        holds: "of two sticks with one serial, who was first keeps its id",
        run: |setup| Box::pin(identity::same_serial(setup)),
    },
    Case {
        name: "no-strings",
        holds: "a device without strings is named by its numbers and its port",
        run: |setup| Box::pin(identity::no_strings(setup)),
    },
    Case {
        name: "latency",
        holds: "plug to FingerprintResponse: median at most 50 ms beyond settling",
        run: |setup| Box::pin(speed::latency(setup)),
    },
    Case {
        name: "snapshots",
        holds: "127 devices: all of them within 60 ms, one event within 2 ms",
        run: |_| Box::pin(speed::snapshots()),
    },
];

/// By name.
pub(crate) fn find(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|case| case.name == name)
}
