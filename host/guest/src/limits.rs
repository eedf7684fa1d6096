//! What a guest may use, in one table: default, key in the host's configuration block, unit, range, and what happens at the limit.

use std::time::Duration;

/// What one call may use and one answer may hold. Every field has a row in [`TABLE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of one `describe`, instantiation included.
    pub describe_deadline: Duration,
    /// Wall time of one `check-config`, instantiation included.
    pub check_config_deadline: Duration,
    /// Wall time of one `group`, instantiation included.
    pub group_deadline: Duration,
    /// Wall time of one `reserve`, instantiation included.
    pub reserve_deadline: Duration,
    /// Wall time of one `stats`, instantiation included.
    pub stats_deadline: Duration,
    /// Wall time of one `check-task`, instantiation included.
    pub check_task_deadline: Duration,
    /// Wall time of one `probes`, instantiation included.
    pub probes_deadline: Duration,
    /// Wall time of one `judge`, instantiation included.
    pub judge_deadline: Duration,
    /// Wall time of one `plan`, instantiation included.
    pub plan_deadline: Duration,
    /// Bytes of all linear memories of one instance together.
    pub memory: u64,
    /// Elements of all tables of one instance together.
    pub table_elements: u64,
    /// Core modules instantiated within one instance.
    pub instances: u64,
    /// Linear memories of one instance.
    pub memories: u64,
    /// Tables of one instance.
    pub tables: u64,
    /// Handles that one instance holds, of the host's things and of its own types.
    pub handles: u64,
    /// Bytes that one call or one answer may have copied out of the guest, as the host will hold them.
    pub transfer: u64,
    /// Log lines of one call.
    pub log_lines: u64,
    /// Bytes of log text of one call.
    pub log_bytes: u64,
    /// Bytes of one text in an answer.
    pub text: u64,
    /// Bytes of the `memory` in an offer.
    pub remembered: u64,
    /// Groups of one offer.
    pub groups: u64,
    /// Instances of one offer, all groups together.
    pub offered_instances: u64,
    /// Attributes of one group or of a driver; figures of one instance.
    pub attributes: u64,
    /// Members of one instance.
    pub members: u64,
    /// Entries of each list in a reservation, diagnostics of one configuration, and entries of each list in a plan that has no limit of
    /// its own.
    pub entries: u64,
    /// Probes that a driver asks for at once.
    pub probes: u64,
    /// Words of one command line in a plan or a probe.
    pub arguments: u64,
    /// Steps before a task's program, and steps of its stop.
    pub steps: u64,
    /// Bytes of a component file.
    pub component: u64,
    /// Wall time of compiling one component.
    pub compile_deadline: Duration,
    /// Bytes of memory for compiling one component, and of the machine code that comes of it.
    pub compile_memory: u64,
    /// Bytes of the compiled-code cache.
    pub cache: u64,
}

/// One row of [`TABLE`].
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Key in the host's block `limits { … }`.
    pub key: &'static str,
    /// `ms`, `bytes`, or what is counted.
    pub unit: &'static str,
    /// What holds where nothing is configured.
    pub default: u64,
    /// Smallest value that makes sense.
    pub min: u64,
    /// Largest value that may be configured.
    pub max: u64,
    /// What happens when it is hit.
    pub then: &'static str,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

impl Limit {
    /// The value in `limits`, in the row's unit.
    pub fn of(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

macro_rules! row {
    ($key:literal, $field:ident, ms, $default:expr, $min:expr, $max:expr, $then:literal) => {
        Limit {
            key: $key,
            unit: "ms",
            default: $default,
            min: $min,
            max: $max,
            then: $then,
            get: |limits| u64::try_from(limits.$field.as_millis()).unwrap_or(u64::MAX),
            set: |limits, value| limits.$field = Duration::from_millis(value),
        }
    };
    ($key:literal, $field:ident, $unit:literal, $default:expr, $min:expr, $max:expr, $then:literal) => {
        Limit {
            key: $key,
            unit: $unit,
            default: $default,
            min: $min,
            max: $max,
            then: $then,
            get: |limits| limits.$field,
            set: |limits, value| limits.$field = value,
        }
    };
}

/// Every limit there is.
pub const TABLE: &[Limit] = &[
    row!("describe_deadline", describe_deadline, ms, 1000, 1, 60_000, "the call is ended; the guest is not loaded"),
    row!(
        "check_config_deadline",
        check_config_deadline,
        ms,
        1000,
        1,
        60_000,
        "the call is ended; the configuration counts as unchecked"
    ),
    row!("group_deadline", group_deadline, ms, 2000, 1, 60_000, "the call is ended; the last offer stands"),
    row!(
        "reserve_deadline",
        reserve_deadline,
        ms,
        1000,
        1,
        60_000,
        "the call is ended; the reservation fails and Nomad places the task again"
    ),
    row!("stats_deadline", stats_deadline, ms, 1000, 1, 60_000, "the call is ended; this round of figures is left out"),
    row!(
        "check_task_deadline",
        check_task_deadline,
        ms,
        1000,
        1,
        60_000,
        "the call is ended; the task's configuration counts as unchecked"
    ),
    row!("probes_deadline", probes_deadline, ms, 1000, 1, 60_000, "the call is ended; the driver is unhealthy"),
    row!("judge_deadline", judge_deadline, ms, 1000, 1, 60_000, "the call is ended; the driver is unhealthy"),
    row!("plan_deadline", plan_deadline, ms, 1000, 1, 60_000, "the call is ended; the task is not started"),
    row!(
        "memory",
        memory,
        "bytes",
        64 * MIB,
        MIB,
        1024 * MIB,
        "growing fails inside the guest; a call that then traps says so"
    ),
    row!(
        "table_elements",
        table_elements,
        "elements",
        65_536,
        64,
        65_536,
        "growing fails inside the guest; a call that then traps says so"
    ),
    row!("instances", instances, "core instances", 64, 1, 64, "the component does not instantiate"),
    row!("memories", memories, "memories", 4, 1, 4, "the component does not instantiate"),
    row!("tables", tables, "tables", 16, 1, 16, "the component does not instantiate"),
    row!("handles", handles, "handles", 1024, 16, 65_536, "the call traps"),
    row!("transfer", transfer, "bytes", MIB, 64 * KIB, 64 * MIB, "the call fails before the data is copied"),
    row!("log_lines", log_lines, "lines", 64, 0, 10_000, "further lines are counted, and the count is logged once"),
    row!(
        "log_bytes",
        log_bytes,
        "bytes",
        16 * KIB,
        0,
        MIB,
        "the line is cut; further lines are counted, and the count is logged once"
    ),
    row!("text", text, "bytes", 32 * KIB, 256, 64 * KIB, "the answer is refused"),
    row!("remembered", remembered, "bytes", 64 * KIB, KIB, MIB, "the answer is refused"),
    row!("groups", groups, "groups", 1024, 1, 16_384, "the answer is refused"),
    row!("offered_instances", offered_instances, "instances", 4096, 1, 65_536, "the answer is refused"),
    row!("attributes", attributes, "attributes", 256, 1, 4096, "the answer is refused"),
    row!("members", members, "members", 127, 1, 1024, "the answer is refused"),
    row!("entries", entries, "entries", 1024, 1, 16_384, "the answer is refused"),
    row!("probes", probes, "probes", 64, 1, 1024, "the answer is refused"),
    row!("arguments", arguments, "words", 4096, 1, 65_536, "the answer is refused"),
    row!("steps", steps, "steps", 64, 1, 1024, "the answer is refused"),
    row!("component", component, "bytes", 64 * MIB, 64 * KIB, 256 * MIB, "the file is not loaded"),
    // Less than the minute that an agent waits for a plugin to start: the last good guest then has time left.
    row!(
        "compile_deadline",
        compile_deadline,
        ms,
        45_000,
        100,
        600_000,
        "the compiler is killed; the guest is not loaded"
    ),
    row!(
        "compile_memory",
        compile_memory,
        "bytes",
        2048 * MIB,
        64 * MIB,
        16_384 * MIB,
        "the compiler ends; the guest is not loaded"
    ),
    row!("cache", cache, "bytes", 256 * MIB, 0, 4096 * MIB, "the entries not used for longest are deleted"),
];

impl Default for Limits {
    fn default() -> Limits {
        let none = Duration::ZERO;
        let mut limits = Limits {
            describe_deadline: none,
            check_config_deadline: none,
            group_deadline: none,
            reserve_deadline: none,
            stats_deadline: none,
            check_task_deadline: none,
            probes_deadline: none,
            judge_deadline: none,
            plan_deadline: none,
            memory: 0,
            table_elements: 0,
            instances: 0,
            memories: 0,
            tables: 0,
            handles: 0,
            transfer: 0,
            log_lines: 0,
            log_bytes: 0,
            text: 0,
            remembered: 0,
            groups: 0,
            offered_instances: 0,
            attributes: 0,
            members: 0,
            entries: 0,
            probes: 0,
            arguments: 0,
            steps: 0,
            component: 0,
            compile_deadline: none,
            compile_memory: 0,
            cache: 0,
        };
        for row in TABLE {
            (row.set)(&mut limits, row.default);
        }
        limits
    }
}

/// A limit that cannot be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no such row.
    #[error("limits: there is no limit {0:?}")]
    Unknown(String),
    /// Outside the row's range.
    #[error("limits: {key} = {value} is outside {min} to {max} {unit}")]
    Range {
        /// The row's key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// The row's least value.
        min: u64,
        /// The row's largest value.
        max: u64,
        /// The row's unit.
        unit: &'static str,
    },
}

impl Limits {
    /// Sets one limit by its key, in the row's unit.
    pub fn set(&mut self, key: &str, value: u64) -> Result<(), LimitError> {
        let row = TABLE.iter().find(|row| row.key == key).ok_or_else(|| LimitError::Unknown(key.to_owned()))?;
        if !(row.min..=row.max).contains(&value) {
            return Err(LimitError::Range { key: row.key, value, min: row.min, max: row.max, unit: row.unit });
        }
        (row.set)(self, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_sets_its_own_field_and_its_default_is_in_range() {
        for row in TABLE {
            assert!((row.min..=row.max).contains(&row.default), "{}", row.key);
            assert_eq!(row.of(&Limits::default()), row.default, "{}", row.key);
            let mut changed = Limits::default();
            changed.set(row.key, row.min).unwrap();
            for other in TABLE {
                let expected = if other.key == row.key { row.min } else { other.default };
                assert_eq!(other.of(&changed), expected, "{} after {} was set", other.key, row.key);
            }
        }
    }

    #[test]
    fn a_limit_out_of_range_names_key_value_and_range() {
        let why = Limits::default().set("memory", 1).unwrap_err().to_string();
        assert_eq!(why, "limits: memory = 1 is outside 1048576 to 1073741824 bytes");
        assert!(Limits::default().set("speed", 1).is_err());
    }
}
