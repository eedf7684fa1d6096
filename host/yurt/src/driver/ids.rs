//! Ids that no task may have: `1-10,65534`.

use std::ops::RangeInclusive;

/// Users, or groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ids(Vec<RangeInclusive<u32>>);

impl Ids {
    /// What a text says; of an empty one none.
    pub(crate) fn parse(text: &str) -> Result<Ids, String> {
        if text.trim().is_empty() {
            return Ok(Ids::default());
        }
        let named = |part| range(part).map_err(|why| format!("invalid range {part:?}: {why}"));
        text.split(',').map(named).collect::<Result<_, _>>().map(Ids)
    }

    /// From the first to the last id of each.
    pub(crate) fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Ids {
        Ids(ranges.into_iter().map(|(first, last)| first..=last).collect())
    }

    pub(crate) fn has(&self, id: u32) -> bool {
        self.0.iter().any(|range| range.contains(&id))
    }
}

fn range(part: &str) -> Result<RangeInclusive<u32>, &'static str> {
    let bound = |text: &str| text.trim().parse::<u32>().map_err(|_| "range bound not valid");
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (bound(first)?, bound(last)?) {
        (first, last) if first > last => Err("lower bound cannot be greater than upper bound"),
        (first, last) => Ok(first..=last),
    }
}

/// What a task may not run as: by the operator's word for all tasks, or by the driver's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) uids: Ids,
    pub(crate) gids: Ids,
}

impl Denied {
    /// Why nobody with these ids may run; `by` says who denies it.
    pub(crate) fn refusal(&self, uid: u32, gids: &[u32], by: &str) -> Option<String> {
        if self.uids.has(uid) {
            return Some(format!("running as uid {uid} is disallowed: {by} denies it"));
        }
        let gid = gids.iter().find(|gid| self.gids.has(**gid))?;
        Some(format!("running as gid {gid} is disallowed: {by} denies it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ids_ranges_and_blanks_are_read() {
        assert_eq!(Ids::parse(""), Ok(Ids::default()));
        let ids = Ids::parse(" 1-10, 65534 ,20-20").unwrap();
        for (id, denied) in [(0, false), (1, true), (10, true), (11, false), (20, true), (65534, true), (65535, false)]
        {
            assert_eq!(ids.has(id), denied, "{id}");
        }
        assert!(Ids::parse("0-4294967295").unwrap().has(u32::MAX));
    }

    #[test]
    fn garbage_overflow_and_reversed_ranges_are_refused_by_the_range() {
        let why = |text| Ids::parse(text).unwrap_err();
        assert_eq!(why("3,10-1"), "invalid range \"10-1\": lower bound cannot be greater than upper bound");
        for wrong in ["-1", "1-", "x", "1,,2", "1-2-3", "4294967296", "1 2", ","] {
            assert!(why(wrong).ends_with(": range bound not valid"), "{wrong}");
        }
    }

    #[test]
    fn the_user_and_every_group_are_looked_at() {
        let denied = Denied { uids: Ids::of([(5, 6)]), gids: Ids::of([(7, 7)]) };
        let said = |uid, gids: &[u32]| denied.refusal(uid, gids, "yurt.denied_uids");
        assert_eq!(said(4, &[4, 8]), None);
        assert_eq!(said(6, &[4]).as_deref(), Some("running as uid 6 is disallowed: yurt.denied_uids denies it"));
        assert!(said(4, &[4, 7]).is_some_and(|why| why.starts_with("running as gid 7 is disallowed")));
    }
}
