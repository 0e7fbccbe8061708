//! Flags with what becomes of them, and how they are changed.

use serde::{Deserialize, Serialize};
use weir_appliance_flags::Evaluation;

use crate::config::{FlagSpec, FlagState, FlagStep, VariantSpec};
use crate::matching::MatchExpression;
use crate::name::FlagName;
use crate::share::Share;
use crate::taker::FeatureName;

/// One flag: an item of `flags` in `weir status --json`, and of `weir flag list --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlagStatus {
    /// As in the configuration.
    pub flag: FlagSpec,
    /// The share of the flows that it has now: none while it is off or waits, at most that of those it requires.
    pub has: Share,
    /// The flag that it waits for, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<FlagName>,
}

/// Which variant of a flag that programs ask somebody gets: the answer of `weir flag ask --json` and `weir flag eval --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantAnswer {
    /// The flag.
    pub flag: String,
    /// Who asked.
    pub key: String,
    /// The variant's name; null where the program's own default holds.
    pub variant: Option<String>,
    /// Its value.
    pub value: serde_json::Value,
    /// Why, in flagd's words: STATIC, DEFAULT, TARGETING_MATCH, DISABLED, ERROR.
    pub reason: String,
    /// What is wrong, if the reason is ERROR.
    pub error: Option<VariantError>,
}

/// Why there is no variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantError {
    /// One of flagd's codes: FLAG_NOT_FOUND, PARSE_ERROR, …
    pub code: String,
    /// One line for people.
    pub message: String,
}

impl VariantAnswer {
    /// What an evaluation for `key` says.
    pub fn of(flag: &str, key: &str, found: Evaluation) -> Self {
        let error = found.error.map(|error| VariantError { code: error.code.as_str().into(), message: error.message });
        let (variant, value, reason) = (found.variant, found.value, found.reason.as_str().to_owned());
        Self { flag: flag.to_owned(), key: key.to_owned(), variant, value, reason, error }
    }
}

/// What changes of a flag; what is absent stays. A flag that is not there yet starts with no share, any match and no
/// takers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlagChange {
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<FlagState>,
    /// Who takes its flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<FeatureName>>,
    /// How many of the flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Of which flows.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<MatchExpression>,
    /// Flags without which it does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<Vec<FlagName>>,
    /// Its variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variants: Option<Vec<VariantSpec>>,
    /// Planned changes of its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<FlagStep>>,
}

impl FlagChange {
    /// The flag after this change.
    pub fn of(self, name: &FlagName, before: Option<&FlagSpec>) -> FlagSpec {
        let before = before.cloned().unwrap_or_else(|| FlagSpec {
            name: name.clone(),
            state: FlagState::On,
            to: Vec::new(),
            share: Share::NONE,
            matches: MatchExpression::ANY,
            requires: Vec::new(),
            variants: Vec::new(),
            schedule: Vec::new(),
        });
        // Takers stand in one of two places: who gives them in one takes them from the other.
        let (to, variants) = match (self.to, self.variants) {
            (Some(to), None) => (to, Vec::new()),
            (None, Some(variants)) if !variants.is_empty() => (Vec::new(), variants),
            (to, variants) => (to.unwrap_or(before.to), variants.unwrap_or(before.variants)),
        };
        FlagSpec {
            name: before.name,
            state: self.state.unwrap_or(before.state),
            to,
            share: self.share.unwrap_or(before.share),
            matches: self.matches.unwrap_or(before.matches),
            requires: self.requires.unwrap_or(before.requires),
            variants,
            schedule: self.schedule.unwrap_or(before.schedule),
        }
    }
}
