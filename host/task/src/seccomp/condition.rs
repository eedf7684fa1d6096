//! What an argument of a system call has to be, and the instructions that find it out.
//!
//! The kernel's machine for filters has words of 32 bits and an argument two of them. The instructions of a condition go on behind their end where it
//! holds, and else jump over as many instructions as follow there.

use seccompiler::sock_filter;

use super::program::{and, if_above, if_at_least, if_equal, load};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// From 0.
    pub(super) argument: u8,
    pub(super) comparison: Comparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    AtMost(u64),
    AtLeast(u64),
    More(u64),
    /// Mask, and what is left under it.
    Masked(u64, u64),
}

impl Comparison {
    /// By the name that profiles have for it.
    pub(super) fn of(name: &str, value: u64, second: u64) -> Option<Comparison> {
        Some(match name {
            "SCMP_CMP_EQ" => Comparison::Equal(value),
            "SCMP_CMP_NE" => Comparison::NotEqual(value),
            "SCMP_CMP_LT" => Comparison::Less(value),
            "SCMP_CMP_LE" => Comparison::AtMost(value),
            "SCMP_CMP_GE" => Comparison::AtLeast(value),
            "SCMP_CMP_GT" => Comparison::More(value),
            "SCMP_CMP_MASKED_EQ" => Comparison::Masked(value, second),
            _ => return None,
        })
    }
}

impl Condition {
    /// Goes on, or jumps over `rest` instructions.
    pub(super) fn instructions(self, rest: u8) -> Vec<sock_filter> {
        match self.comparison {
            Comparison::Equal(value) => self.equal(u64::MAX, value, 0, rest),
            Comparison::Masked(mask, value) => self.equal(mask, value, 0, rest),
            Comparison::NotEqual(value) => self.equal(u64::MAX, value, rest, 0),
            Comparison::More(value) => self.ordered(if_above, value, 0, rest),
            Comparison::AtLeast(value) => self.ordered(if_at_least, value, 0, rest),
            Comparison::AtMost(value) => self.ordered(if_above, value, rest, 0),
            Comparison::Less(value) => self.ordered(if_at_least, value, rest, 0),
        }
    }

    /// Jumps over `yes` or `no` instructions behind its end.
    fn equal(self, mask: u64, value: u64, yes: u8, no: u8) -> Vec<sock_filter> {
        let ((high, low), (high_mask, low_mask)) = (halves(value & mask), halves(mask));
        let [of_high, of_low] = self.words();
        vec![
            load(of_high),
            and(high_mask),
            if_equal(high, 0, no + 3),
            load(of_low),
            and(low_mask),
            if_equal(low, yes, no),
        ]
    }

    fn ordered(self, low_is: fn(u32, u8, u8) -> sock_filter, value: u64, yes: u8, no: u8) -> Vec<sock_filter> {
        let (high, low) = halves(value);
        let [of_high, of_low] = self.words();
        vec![load(of_high), if_above(high, yes + 3, 0), if_equal(high, 0, no + 2), load(of_low), low_is(low, yes, no)]
    }

    /// Where its upper and its lower word stand: `struct seccomp_data` of a machine whose numbers begin with the lower one.
    fn words(self) -> [u32; 2] {
        let at = 16 + 8 * u32::from(self.argument);
        [at + 4, at]
    }
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
