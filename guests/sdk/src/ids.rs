//! Ids that tasks must not have, by the keys `denied_host_uids` and `denied_host_gids` that Nomad's drivers have in common, with their words:
//! `1-10,65534`. The host resolves users and groups, so it is the host that holds a task against them.

use crate::Said;
use crate::driver::{IdRange, Wishes};

/// What the operator says.
#[derive(Debug, Clone, Copy)]
pub struct Denied<'a> {
    /// Of users.
    pub uids: &'a str,
    /// Of groups.
    pub gids: &'a str,
}

impl Denied<'_> {
    /// What is wrong with the keys.
    pub fn check(&self, said: &mut Said) {
        for (key, text) in [("denied_host_uids", self.uids), ("denied_host_gids", self.gids)] {
            if let Err(why) = ranges(text) {
                said.error(key, format!("{key} = {text:?}: {why}"), Some("for example \"0,1000-1999\""));
            }
        }
    }

    /// The same for the host. What is wrong denies nothing: [`Denied::check`] refuses it.
    pub fn added_to(&self, wishes: Wishes) -> Wishes {
        let list = |text| ranges(text).unwrap_or_default();
        Wishes { deny_uids: list(self.uids), deny_gids: list(self.gids), ..wishes }
    }
}

/// `1-10,65534`; none in an empty text.
pub fn ranges(text: &str) -> Result<Vec<IdRange>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| range(part).map_err(|why| format!("invalid range {part:?}: {why}"))).collect()
}

fn range(part: &str) -> Result<IdRange, &'static str> {
    let bound = |text: &str| text.trim().parse::<u32>().map_err(|_| "range bound not valid");
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (bound(first)?, bound(last)?) {
        (first, last) if first > last => Err("lower bound cannot be greater than upper bound"),
        (first, last) => Ok(IdRange { first, last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_single_ones_and_ranges() {
        let read = |text| ranges(text).unwrap().into_iter().map(|range| (range.first, range.last)).collect::<Vec<_>>();
        assert_eq!(read(""), []);
        assert_eq!(read(" 1-10, 65534 ,7-7"), [(1, 10), (65534, 65534), (7, 7)]);
        assert_eq!(read("0-4294967295"), [(0, u32::MAX)]);
    }

    #[test]
    fn what_is_no_range_is_refused_in_nomad_s_words() {
        let why = |text| ranges(text).unwrap_err();
        assert_eq!(why("3,10-1"), "invalid range \"10-1\": lower bound cannot be greater than upper bound");
        for wrong in ["-1", "1-", "x", "1,,2", "1-2-3", "4294967296", "+1-x", ","] {
            assert!(why(wrong).ends_with(": range bound not valid"), "{wrong}");
        }
    }
}
