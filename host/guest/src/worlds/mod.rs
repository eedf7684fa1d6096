//! One module per version of the WIT package. Older versions will be conversions onto the newest.

pub(crate) mod v0_1_0;
