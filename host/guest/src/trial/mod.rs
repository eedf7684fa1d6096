//! One call of each kind with made-up facts, before anything depends on a guest.

pub(crate) mod driver;
pub(crate) mod usb;

pub use driver::DriverTrial;
pub use usb::Trial;
