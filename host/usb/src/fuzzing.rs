//! The readers of foreign bytes that are private to this room, for the fuzz targets. No interface: it may change any day.

use crate::{descriptors, text};

/// sysfs' `descriptors` and `bos_descriptors`.
pub fn descriptors(bytes: &[u8]) {
    let read = descriptors::Descriptors::parse(bytes);
    for configuration in &read.configurations {
        for setting in &configuration.settings {
            assert!(configuration.setting(setting.number, setting.alternate).is_some());
            configuration.function(setting.number);
        }
    }
    descriptors::fastest(bytes);
}

/// A string attribute: whatever is left of it is clean.
pub fn string(bytes: &[u8]) {
    let label = text::label(bytes);
    text::serial_quality(label.as_ref());
    if let Some(label) = label {
        assert!(!label.text.is_empty() && label.text.chars().count() <= 126);
        assert!(!label.text.chars().any(char::is_control));
        assert_eq!(label.text.trim(), label.text);
    }
}

/// A datagram of the uevent socket.
pub fn uevent(bytes: &[u8]) {
    if let Some(event) = crate::uevent::Uevent::parse(bytes)
        && let Some(key) = event.device_key()
    {
        assert!(crate::key::is_device(key));
    }
}
