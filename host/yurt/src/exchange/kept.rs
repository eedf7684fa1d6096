//! What a plugin remembers of its guests over restarts: the last that proved itself, the rules with it, what failed, and whether new
//! ones wait for a person.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use yurt_guest::Source;

use super::Rules;
use super::task::digest_of;
use crate::places::{self, Places};

/// Failed guests and rules that are remembered.
const REFUSED: usize = 32;

/// The memory of one plugin file, in its state directory. What cannot be written is said, and lost at the next start.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    places: Places,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct State {
    /// Check sums of guests and of rules that were rolled back, and why.
    refused: BTreeMap<String, String>,
    /// Of the guest that was loaded or approved last.
    served: Option<String>,
    /// Of the one that is kept in a file.
    kept: Option<String>,
    /// Of the only guest that may serve, by the agent's configuration.
    pinned: Option<String>,
    /// New ones wait for a person.
    approve: bool,
}

impl Kept {
    pub(crate) fn open(places: &Places) -> Kept {
        Kept { places: places.clone() }
    }

    /// Why a guest that is to be loaded at a start must not serve yet.
    pub(crate) fn objection(&self, digest: &str) -> Option<String> {
        let state = self.state();
        if let Some(pinned) = &state.pinned
            && pinned != digest
            && state.kept.as_ref() == Some(pinned)
        {
            return Some(format!("its digest is sha256:{digest}, and the configuration allowed sha256:{pinned} only"));
        }
        if let Some(why) = state.refused.get(digest) {
            return Some(format!("it was rolled back: {why}"));
        }
        let approved = state.served.is_none_or(|served| served == digest);
        (state.approve && !approved).then(|| "it waits for `yurt guest approve`".to_owned())
    }

    /// Why this guest or these rules are not tried again by themselves.
    pub(crate) fn refused(&self, digest: &str) -> Option<String> {
        self.state().refused.remove(digest)
    }

    /// Not to be tried again by themselves.
    pub(crate) fn refuse(&self, digest: &str, why: &str) {
        self.change(|state| {
            while state.refused.len() >= REFUSED {
                state.refused.pop_first();
            }
            state.refused.insert(digest.to_owned(), why.to_owned());
        });
    }

    /// A person wants them tried again.
    pub(crate) fn pardon(&self, digest: &str) {
        self.change(|state| {
            state.refused.remove(digest);
        });
    }

    /// What the operator's configuration says about new ones.
    pub(crate) fn wait_for_approval(&self, approve: bool) {
        self.change(|state| state.approve = approve);
    }

    /// The only guest that the agent's configuration allows; none: any. It is asked before there is a configuration.
    pub(crate) fn pin(&self, digest: Option<&str>) {
        self.change(|state| state.pinned = digest.map(str::to_owned));
    }

    /// This guest serves, and may at the next start. One that is built in is there anyway.
    pub(crate) fn serves(&self, source: &Source, digest: &str) {
        let Source::Read(component) = source else { return };
        let there = self.has(digest);
        self.change(|state| state.served = Some(digest.to_owned()));
        if !there {
            let kept = places::replace(&self.places.last_good_guest(), component.bytes());
            if kept.is_ok() {
                self.change(|state| state.kept = Some(digest.to_owned()));
            }
            said("the guest", kept);
        }
    }

    /// This very guest is kept.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.state().kept.as_deref() == Some(digest) && self.places.last_good_guest().exists()
    }

    /// The rules that proved themselves; none: there are none.
    pub(crate) fn keep_rules(&self, rules: Option<&Rules>) {
        let kept = self.places.last_good_rules();
        let before = std::fs::read(&kept).ok();
        let outcome = match rules {
            Some(rules) if before.as_deref() == Some(rules.text.as_bytes()) => Ok(()),
            Some(rules) => places::replace(&kept, rules.text.as_bytes()),
            None if before.is_none() => Ok(()),
            None => std::fs::remove_file(&kept),
        };
        said("the rules", outcome);
    }

    /// The rules to begin with: those of the file unless they failed before, then the last that proved themselves.
    pub(crate) fn rules_at_start(&self, file: Option<&Path>) -> Vec<Arc<Rules>> {
        let Some(file) = file else { return Vec::new() };
        let written = match Rules::read(file) {
            Ok(Some(rules)) => match self.refused(&digest_of(&rules)) {
                None => Some(Arc::new(rules)),
                Some(why) => {
                    tracing::error!("the policy file {} is left out: it was rolled back: {why}", file.display());
                    None
                }
            },
            // Without a file only the agent's configuration holds.
            Ok(None) => return Vec::new(),
            Err(why) => {
                tracing::error!("the policy file is left out: {why}");
                None
            }
        };
        written.into_iter().chain(self.rules(file)).collect()
    }

    /// The rules that proved themselves last, as if they stood in `file`.
    pub(crate) fn rules(&self, file: &Path) -> Option<Arc<Rules>> {
        let text = std::fs::read_to_string(self.places.last_good_rules()).ok()?;
        Some(Arc::new(Rules { file: file.to_owned(), text: text.into() }))
    }

    fn state(&self) -> State {
        let Ok(text) = std::fs::read(self.places.swap_state()) else { return State::default() };
        serde_json::from_slice(&text).unwrap_or_else(|why| {
            tracing::warn!("what was kept of earlier guests is damaged and forgotten: {why}");
            State::default()
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let before = self.state();
        let mut state = before.clone();
        change(&mut state);
        if state != before {
            let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
            said("what became of the guests", places::replace(&self.places.swap_state(), &text));
        }
    }
}

fn said(what: &str, outcome: io::Result<()>) {
    if let Err(why) = outcome {
        tracing::warn!(error = %why, "{what} could not be kept for the next start");
    }
}

#[cfg(test)]
mod tests {
    use yurt_guest::Component;

    use super::*;

    fn kept(dir: &Path) -> Kept {
        Kept::open(&Places::of_a_test(dir, "acme"))
    }

    #[test]
    fn what_was_rolled_back_does_not_come_back_with_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path());
        assert_eq!(kept.objection("aa"), None);
        kept.refuse("aa", "it trapped");
        assert_eq!(kept.objection("aa").as_deref(), Some("it was rolled back: it trapped"));
        assert_eq!(kept.objection("bb"), None);
        kept.pardon("aa");
        assert_eq!((kept.objection("aa"), kept.refused("aa")), (None, None));
    }

    #[test]
    fn approval_holds_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path());
        kept.wait_for_approval(true);
        assert_eq!(kept.objection("aa"), None, "the first is as the operator put it there");
        let source = Source::Read(Component::new("/x.wasm".into(), b"wasm".to_vec()));
        let digest = source.digest().unwrap();
        kept.serves(&source, &digest);
        assert_eq!(std::fs::read(kept.places.last_good_guest()).unwrap(), b"wasm");
        assert_eq!(kept.objection(&digest), None);
        assert!(kept.objection("bb").unwrap().contains("approve"));
        kept.wait_for_approval(false);
        assert_eq!(kept.objection("bb"), None);
    }

    #[test]
    fn a_pin_speaks_against_another_guest_only_while_the_pinned_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path());
        let source = Source::Read(Component::new("/x.wasm".into(), b"wasm".to_vec()));
        kept.pin(Some("aa"));
        assert_eq!(kept.objection("bb"), None, "who else would describe the plugin");
        kept.serves(&source, "aa");
        assert!(kept.has("aa"));
        assert!(kept.objection("bb").unwrap().contains("sha256:aa only"));
        assert_eq!(kept.objection("aa"), None);
        kept.pin(None);
        assert_eq!(kept.objection("bb"), None);
        std::fs::remove_file(kept.places.last_good_guest()).unwrap();
        assert!(!kept.has("aa"));
    }

    #[test]
    fn rules_are_kept_and_a_damaged_memory_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path());
        let file = Path::new("/etc/yurt/rules.hcl");
        let rules = Rules { file: file.to_owned(), text: "a = 1".into() };
        kept.keep_rules(Some(&rules));
        assert_eq!(kept.rules(file).as_deref(), Some(&rules));
        kept.keep_rules(None);
        assert_eq!(kept.rules(file), None);
        kept.refuse("aa", "x");
        std::fs::write(kept.places.swap_state(), "{").unwrap();
        kept.refuse("bb", "x");
        assert_eq!((kept.refused("aa"), kept.refused("bb").as_deref()), (None, Some("x")));
    }
}
