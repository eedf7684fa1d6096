//! Which devices are offered: the first rule that matches decides.

use yurt_sdk::facts::UsbDevice;

use crate::classes::ClassPattern;
use crate::glob;

/// What a rule does with a device that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Action {
    /// Offer it.
    #[default]
    Allow,
    /// Do not.
    Deny,
}

/// A rule; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rule {
    pub(crate) vendor: Option<u16>,
    pub(crate) product: Option<u16>,
    pub(crate) class: Option<ClassPattern>,
    /// Globs; a device without a serial or a name does not match one.
    pub(crate) serial: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) action: Action,
    /// What to call the group.
    pub(crate) vendor_name: Option<String>,
    pub(crate) group: Option<String>,
}

/// The rule that offers this device; none: it is not offered. Without any rule nothing is.
pub(crate) fn allowing<'a>(rules: &'a [Rule], device: &UsbDevice) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.matches(device)).filter(|rule| rule.action == Action::Allow)
}

impl Rule {
    /// Whether it says anything of the device.
    pub(crate) fn has_condition(&self) -> bool {
        self.vendor.is_some()
            || self.product.is_some()
            || self.class.is_some()
            || self.serial.is_some()
            || self.port.is_some()
            || self.name.is_some()
    }

    fn matches(&self, device: &UsbDevice) -> bool {
        let mut names = [device.product.as_ref().map(|label| label.text.as_str()), device.product_name.as_deref()]
            .into_iter()
            .flatten();
        // Whoever reserves a hub could reset what hangs from it: only by name.
        (!device.is_hub || self.class.is_some_and(ClassPattern::is_of_hubs))
            && self.vendor.is_none_or(|vendor| vendor == device.vendor_id)
            && self.product.is_none_or(|product| product == device.product_id)
            && self.class.is_none_or(|class| class.matches(device))
            && self.port.as_ref().is_none_or(|port| glob::matches(port, &device.key))
            && self
                .serial
                .as_ref()
                .is_none_or(|want| device.serial.as_ref().is_some_and(|serial| glob::matches(want, &serial.text)))
            && self.name.as_ref().is_none_or(|want| names.any(|name| glob::matches_any_case(want, name)))
    }
}
