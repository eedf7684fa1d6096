//! What a component may take of its process.

use wasmtime::ResourceLimiter;

/// Bytes of one entry of a table.
const ENTRY: usize = 8;

/// Bounds memories and tables of one component, all of them together.
#[derive(Debug)]
pub(crate) struct Limits {
    left: usize,
    most: Option<u64>,
    /// What it would have had in bytes, had it got what it was refused last.
    pub(crate) refused: Option<u64>,
}

impl Limits {
    /// None: the task's control group is the bound.
    pub(crate) fn new(most: Option<u64>) -> Limits {
        let left = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        Limits { left, most, refused: None }
    }

    /// Bytes of all together.
    pub(crate) fn most(&self) -> u64 {
        self.most.unwrap_or(u64::MAX)
    }

    fn take(&mut self, now: usize, wanted: usize) -> bool {
        let more = wanted.saturating_sub(now);
        match self.left.checked_sub(more) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                let had = self.most().saturating_sub(self.left as u64);
                self.refused = Some(had.saturating_add(more as u64));
                false
            }
        }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(most.is_none_or(|most| desired <= most) && self.take(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |entries: usize| entries.saturating_mul(ENTRY);
        Ok(most.is_none_or(|most| desired <= most) && self.take(bytes(current), bytes(desired)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_bound_and_what_is_refused_is_known() {
        let mut limits = Limits::new(Some(100));
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 41, None).unwrap());
        assert_eq!(limits.refused, Some(101));
        assert!(limits.table_growing(0, 5, None).unwrap());
        assert!(!limits.memory_growing(60, 61, None).unwrap());
        assert!(Limits::new(None).memory_growing(0, 1 << 40, None).unwrap());
        // Beyond what it declared itself: nothing that was refused for want of memory.
        let mut limits = Limits::new(None);
        assert!(!limits.memory_growing(0, 10, Some(5)).unwrap() && limits.refused.is_none());
    }
}
