//! Timestamps as hclog writes them: UTC, six digits of a second, nothing else will do.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59, the last second with a year of four digits.
const LAST: u64 = 253_402_300_799;
const DAY: u64 = 86_400;

/// Displays as `2026-03-01T12:00:00.000000Z`; a time outside 1970 to 9999 as the nearest within.
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(LAST);
        let (year, month, day) = date(seconds / DAY);
        let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
        let micros = since.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap day is the last.
fn date(day: u64) -> (u64, u64, u64) {
    const FOUR_CENTURIES: u64 = 146_097;
    const CENTURY: u64 = 36_524;
    const FOUR_YEARS: u64 = 1_461;
    // From 0000-03-01.
    let day = day + 719_468;
    let (eras, day) = (day / FOUR_CENTURIES, day % FOUR_CENTURIES);
    let year = (day - day / (FOUR_YEARS - 1) + day / CENTURY - day / (FOUR_CENTURIES - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, again and again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (eras * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(seconds: u64, micros: u32) -> String {
        Timestamp(UNIX_EPOCH + Duration::new(seconds, micros * 1000)).to_string()
    }

    #[test]
    fn a_timestamp_has_exactly_six_digits_of_a_second_and_a_z() {
        assert_eq!(shown(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(951_826_554, 123_456), "2000-02-29T12:15:54.123456Z");
        assert_eq!(shown(1_767_225_599, 999_999), "2025-12-31T23:59:59.999999Z");
        assert_eq!(shown(4_107_542_400, 1), "2100-03-01T00:00:00.000001Z");
    }

    #[test]
    fn times_that_have_no_such_form_become_the_nearest_that_has() {
        assert_eq!(Timestamp(UNIX_EPOCH - Duration::from_secs(5)).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(LAST, 0), "9999-12-31T23:59:59.000000Z");
        assert_eq!(shown(LAST + DAY * 400, 7), "9999-12-31T23:59:59.000007Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..146_097 {
            assert_eq!(date(number), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > days {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
