//! `yurt:plugin@0.1`: the bindings of both worlds, written by the macro from `wit/0.1.0`.

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "usb-plugin",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        require_store_data_send: true,
    });
}

/// `common` and `log` are those of [`bindings`], so that an attribute or a diagnostic is one type whatever world it comes from.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub(crate) mod driver_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "driver-plugin",
        with: {
            "yurt:plugin/common": super::bindings::yurt::plugin::common,
            "yurt:plugin/log": super::bindings::yurt::plugin::log,
        },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        require_store_data_send: true,
    });
}

/// The records of `usb.wit` and `usb-policy.wit` as Rust types: what goes into a guest and what comes out.
///
/// `Snapshot`, `Attribute` and the like are the newest version's, whatever version the guest was built for.
pub mod usb {
    pub use super::bindings::exports::yurt::plugin::usb_policy::{
        DeviceGroup, DeviceModel, EnvValue, Figure, GrantedEnv, GroupName, Health, Instance, InstanceStats, MountGrant,
        NodeGrant, Offer, Reservation,
    };
    pub use super::bindings::yurt::plugin::common::{Attribute, Description, Diagnostic, Severity, Value};
    pub use super::bindings::yurt::plugin::usb::{
        Access, ClassCodes, Configuration, Counter, CounterSet, Endpoint, Former, Label, Life, Link, NetworkInterface,
        Node, NodeKind, Place, Power, PowerState, Presence, Removable, SerialQuality, Snapshot, Speed, Transfer,
        UsbDevice, UsbInterface,
    };
}

/// The records of `driver.wit` as Rust types: what goes into a task driver's guest and what comes out.
pub mod driver {
    pub use super::bindings::yurt::plugin::common::{Attribute, Description, Diagnostic, Severity, Value};
    pub use super::driver_bindings::exports::yurt::plugin::driver::{
        Capabilities, CgroupWish, ComponentRun, Directory, DriverDescription, DriverHealth, EnvEdit, EnvSource,
        ExitNote, FileText, Finding, Fingerprint, Found, IdRange, Isolation, LaunchPlan, Limit, Look, MountWish, Next,
        PathHead, PathKind, PathStatus, PlanError, Port, Probe, Program, ProgramOutput, RunStep, Sharing, SignalAction,
        SignalRule, Step, StopStep, TaskView, Trouble, Wishes,
    };
}
