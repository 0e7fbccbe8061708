//! Flags: which share of the flows a feature sees.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::matching::MatchExpression;
use crate::name::{FlagName, VariantName};
use crate::problem::Problem;
use crate::share::Share;
use crate::taker::FeatureName;

words! {
    /// Whether a flag is on.
    #[derive(Default)]
    FlagState, "a flag's state" {
        /// Its share of the flows goes to its takers.
        #[default]
        On = "on",
        /// No flow does.
        Off = "off",
    }
}

/// A moment of the calendar, to the second: `2026-12-01T06:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(OffsetDateTime);

impl Moment {
    /// The moment so many seconds after 1970-01-01T00:00:00Z; `None` before it or after the year 9999.
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|utc| (1970..=9999).contains(&utc.year())).map(Self)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every year that was read has four digits, so there is always a text.
        f.pad(&self.0.format(&Rfc3339).unwrap_or_default())
    }
}

impl FromStr for Moment {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse =
            |cause: &str| Problem::new(text, cause, "write a date and a time, for example 2026-12-01T06:00:00Z");
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| refuse("this is not a moment (RFC 3339)"))?;
        if moment.nanosecond() != 0 {
            return Err(refuse("a moment is a whole second"));
        }
        // One text for each moment, so that a file reads back as it was written.
        let utc = moment.checked_to_offset(time::UtcOffset::UTC).filter(|utc| (1970..=9999).contains(&utc.year()));
        utc.map(Self).ok_or_else(|| refuse("the year is 1970 to 9999"))
    }
}

crate::name::as_text!(Moment);

/// One variant of a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Its name, unique in the flag.
    pub name: VariantName,
    /// Who takes its flows; nobody in a control arm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<FeatureName>,
    /// Its weight among the variants, 0 to 1000 (default 1).
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A planned change of a flag's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagStep {
    /// When.
    pub at: Moment,
    /// The share from then on.
    pub share: Share,
}

/// A flag: a share of the flows that no rule took, and who takes it. A flow is in the share for as long as the share does
/// not shrink below its bucket. Several flags decide each for itself: a flow goes to all who take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagSpec {
    /// Its name, unique.
    pub name: FlagName,
    /// Whether it is on (default on).
    #[serde(default)]
    pub state: FlagState,
    /// Who takes its flows: empty exactly if it has variants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<FeatureName>,
    /// How many of the flows.
    pub share: Share,
    /// Of which flows (default any).
    #[serde(rename = "match", default, skip_serializing_if = "MatchExpression::is_any")]
    pub matches: MatchExpression,
    /// Flags without which this one does nothing: a flow is this flag's only if it is theirs too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<FlagName>,
    /// Variants among which its flows are divided by weight, whatever the share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantSpec>,
    /// Planned changes of the share, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<FlagStep>,
}
