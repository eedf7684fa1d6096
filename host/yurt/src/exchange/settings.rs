//! The `swap { … }` block: who decides whether a new guest or rule serves, and what speaks against it.

use std::time::Duration;

use serde_json::Value;

use super::turn::Budget;
use crate::host_config::duration_within;

/// What is done with a guest or a rule that passed every stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It serves.
    Auto,
    /// It waits for `yurt guest approve`.
    Approve,
    /// Files are not watched; `yurt guest swap` still works.
    Off,
}

/// The block, evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Swap {
    pub(crate) mode: Mode,
    pub(crate) refuse_if: Vec<Concern>,
    /// Above which [`Concern::Slower`] holds.
    pub(crate) slower_than: f64,
    pub(crate) budget: Budget,
}

/// What may speak against a candidate that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Concern {
    /// A device that is offered now would not be offered any more.
    LosesDevices,
    /// A device that is healthy now would be unhealthy.
    LosesHealth,
    /// What tasks get for the same reservation or job would differ.
    ChangesTasks,
    /// It imports what the present guest does not.
    NewImports,
    /// It takes longer than the present guest by more than a factor.
    Slower,
}

const CONCERNS: [(&str, Concern); 5] = [
    ("loses-devices", Concern::LosesDevices),
    ("loses-health", Concern::LosesHealth),
    ("changes-tasks", Concern::ChangesTasks),
    ("new-imports", Concern::NewImports),
    ("slower", Concern::Slower),
];

impl Concern {
    pub(crate) fn name(self) -> &'static str {
        CONCERNS.iter().find(|(_, concern)| *concern == self).map_or("", |(name, _)| name)
    }
}

impl Default for Swap {
    fn default() -> Swap {
        Swap {
            mode: Mode::Auto,
            refuse_if: Vec::new(),
            slower_than: 10.0,
            budget: Budget { errors: 1, within: Duration::from_secs(600) },
        }
    }
}

impl Swap {
    /// Reads the evaluated block; `null` is an absent one.
    pub(crate) fn from_json(block: &Value) -> Result<Swap, String> {
        let default = Swap::default();
        let text = |key: &str| block.get(key).and_then(Value::as_str);
        let mode = match text("mode") {
            None => default.mode,
            Some("auto") => Mode::Auto,
            Some("approve") => Mode::Approve,
            Some("off") => Mode::Off,
            Some(given) => {
                return Err(format!("yurt.swap.mode = {given:?}: must be \"auto\", \"approve\" or \"off\""));
            }
        };
        let named = block.get("refuse_if").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let refuse_if = named.iter().filter_map(Value::as_str).map(concern).collect::<Result<_, _>>()?;
        let slower_than = match block.get("slower_than").and_then(Value::as_f64) {
            None => default.slower_than,
            Some(factor) if (1.0..=1000.0).contains(&factor) => factor,
            Some(factor) => return Err(format!("yurt.swap.slower_than = {factor}: must be a factor from 1 to 1000")),
        };
        let errors = match block.get("errors").and_then(Value::as_u64) {
            None => default.budget.errors,
            Some(errors @ 1..=1000) => u32::try_from(errors).unwrap_or(u32::MAX),
            Some(errors) => return Err(format!("yurt.swap.errors = {errors}: must be from 1 to 1000")),
        };
        let within = text("probation").map_or(Ok(default.budget.within), |given| {
            duration_within("swap.probation", given, Duration::from_secs(1), Duration::from_secs(86_400))
        })?;
        Ok(Swap { mode, refuse_if, slower_than, budget: Budget { errors, within } })
    }
}

fn concern(name: &str) -> Result<Concern, String> {
    CONCERNS.iter().find(|(known, _)| *known == name).map(|(_, concern)| *concern).ok_or_else(|| {
        let names: Vec<&str> = CONCERNS.iter().map(|(name, _)| *name).collect();
        format!("yurt.swap.refuse_if: {name:?} is unknown; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_key_is_read() {
        assert_eq!(Swap::from_json(&Value::Null), Ok(Swap::default()));
        let swap = Swap::from_json(&json!({
            "mode": "approve", "refuse_if": ["loses-devices", "slower"], "slower_than": 2.5, "errors": 3, "probation": "1m"
        }));
        let swap = swap.unwrap();
        assert_eq!((swap.mode, swap.slower_than), (Mode::Approve, 2.5));
        assert_eq!(swap.refuse_if, [Concern::LosesDevices, Concern::Slower]);
        assert_eq!(swap.budget, Budget { errors: 3, within: Duration::from_secs(60) });
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        for (block, words) in [
            (json!({"mode": "maybe"}), ["yurt.swap.mode", "maybe", "approve"]),
            (json!({"refuse_if": ["rain"]}), ["yurt.swap.refuse_if", "rain", "loses-devices"]),
            (json!({"slower_than": 0.5}), ["yurt.swap.slower_than", "0.5", "1000"]),
            (json!({"errors": 0}), ["yurt.swap.errors", "0", "1000"]),
            (json!({"probation": "1ms"}), ["yurt.swap.probation", "1ms", "1s"]),
        ] {
            let why = Swap::from_json(&block).unwrap_err();
            for word in words {
                assert!(why.contains(word), "{why:?} lacks {word:?}");
            }
        }
    }
}
