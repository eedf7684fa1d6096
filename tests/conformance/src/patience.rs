//! How long to wait, on machines that are slower than most.

use std::time::Duration;

/// How long something may take that usually takes less than this: longer where `YURT_TEST_PATIENCE` says that the machine is slow by
/// that factor, as an emulated one is.
pub fn patience(usual: Duration) -> Duration {
    usual * std::env::var("YURT_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}
