//! Doors for the fuzz targets to what reads a device's own bytes. Not part of the interface: it may change any day.

use crate::descriptors::Descriptors;
use crate::facts::{Interface, Label, Speed};
use crate::{descriptors, text};

/// sysfs' `descriptors`: the value of each configuration, and its settings in the order sent, without name and driver.
#[must_use]
pub fn descriptors(blob: &[u8]) -> Vec<(u8, Vec<Interface>)> {
    let read = Descriptors::parse(blob);
    let configurations = read.configurations.iter().map(|configuration| {
        let settings = configuration.settings.iter().map(|setting| Interface {
            number: setting.number,
            alternate: setting.alternate,
            codes: setting.codes,
            name: None,
            function: configuration.function(setting.number),
            driver: None,
            endpoints: setting.endpoints.clone(),
        });
        (configuration.value, settings.collect())
    });
    configurations.collect()
}

/// sysfs' `bos_descriptors`.
#[must_use]
pub fn fastest(bos: &[u8]) -> Speed {
    descriptors::fastest(bos)
}

/// A string attribute.
#[must_use]
pub fn label(attribute: &[u8]) -> Option<Label> {
    text::label(attribute)
}
