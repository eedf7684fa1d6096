//! Points in time and spans as messages, within what a Go agent takes for such.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// The end of year 9999: later times are not timestamps to a Go agent.
const LAST_SECOND: u64 = 253_402_300_799;
/// The first second of year 1, which Go has for "never".
const NEVER: i64 = -62_135_596_800;
/// Where the agent does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// Figures more often than this would measure the measuring.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longer ones would be a mistake; also keeps the timer's arithmetic in range.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A point in time; what a Go agent could not read becomes the present.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).ok().filter(|since| since.as_secs() <= LAST_SECOND);
    let since = since.or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or_default(),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// The same where there may be none: an agent takes an unset timestamp for an error.
pub(crate) fn timestamp_or_never(at: Option<SystemTime>) -> Timestamp {
    at.map_or(Timestamp { seconds: NEVER, nanos: 0 }, timestamp)
}

/// A peer's point in time; `None` before 1970, and with that for "never".
pub(crate) fn from_timestamp(at: &Timestamp) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// A peer's span; `None` where it is unset or negative.
pub(crate) fn from_span(span: Option<prost_types::Duration>) -> Option<Duration> {
    span.and_then(|span| Duration::try_from(span).ok())
}

/// A span, which only with billions of years does not fit.
pub(crate) fn span(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

/// The interval that is kept for what was asked: absent and zero mean one second, the rest is held between 100 ms and a day.
pub(crate) fn interval(asked: Option<Duration>) -> Duration {
    match asked {
        None | Some(Duration::ZERO) => DEFAULT_INTERVAL,
        Some(asked) => asked.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_held_between_a_tenth_of_a_second_and_a_day() {
        let second = Duration::from_secs(1);
        assert_eq!(interval(None), second);
        assert_eq!(interval(Some(Duration::ZERO)), second);
        assert_eq!(interval(Some(Duration::from_nanos(1))), Duration::from_millis(100));
        assert_eq!(interval(Some(Duration::from_millis(250))), Duration::from_millis(250));
        assert_eq!(interval(Some(Duration::MAX)), Duration::from_secs(86_400));
    }

    #[test]
    fn never_is_a_time_for_go_and_none_here() {
        assert_eq!(from_timestamp(&timestamp_or_never(None)), None);
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 7);
        assert_eq!(from_timestamp(&timestamp_or_never(Some(at))), Some(at));
    }
}
