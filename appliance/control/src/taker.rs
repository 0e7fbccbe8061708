//! Who can take frames from a class's ring: the one list, from which configuration, classes and tables derive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// One who takes frames from a class's ring. The value is the taker's bit in a [`TakerSet`].
///
/// To add a feature: give it a line here and in [`Taker::ALL`], and say in [`Taker::kind`] that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Taker {
    /// Streaming analytics: windows per source and message type.
    Streaming = 1,
    /// Digital twin.
    Twin = 2,
    /// Multi-modal fusion.
    Fusion = 4,
    /// Neural architecture search.
    Nas = 8,
    /// The durable event log.
    Log = 16,
    /// The pool's own sender: it sends a mirrored frame on.
    Sender = 32,
    /// A worker of the test suite.
    Test1 = 64,
    /// A second worker of the test suite, for rings with several takers.
    Test2 = 128,
}

/// What sort of taker this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakerKind {
    /// A feature of this build: rules and flags may name it.
    Feature,
    /// A feature that only the test suite names; help and errors do not offer it.
    TestFeature,
    /// A feature whose bit is reserved and which this build does not have.
    Absent,
    /// Part of the data plane: no rule names it, actions imply it.
    Plumbing,
}

impl Taker {
    /// Every taker, by ascending bit.
    pub const ALL: [Self; 8] =
        [Self::Streaming, Self::Twin, Self::Fusion, Self::Nas, Self::Log, Self::Sender, Self::Test1, Self::Test2];

    /// The name in the configuration, on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Twin => "twin",
            Self::Fusion => "fusion",
            Self::Nas => "nas",
            Self::Log => "log",
            Self::Sender => "sender",
            Self::Test1 => "test1",
            Self::Test2 => "test2",
        }
    }

    /// What sort of taker this is.
    pub const fn kind(self) -> TakerKind {
        match self {
            Self::Streaming => TakerKind::Feature,
            Self::Test1 | Self::Test2 => TakerKind::TestFeature,
            Self::Twin | Self::Fusion | Self::Nas => TakerKind::Absent,
            Self::Log | Self::Sender => TakerKind::Plumbing,
        }
    }

    /// The taker's bit.
    pub const fn bit(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a feature that this build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureName(Taker);

impl FeatureName {
    /// Streaming analytics.
    pub const STREAMING: Self = Self(Taker::Streaming);

    /// The features of this build, without those of the test suite.
    pub fn all() -> impl Iterator<Item = Self> {
        Taker::ALL.into_iter().filter(|taker| taker.kind() == TakerKind::Feature).map(Self)
    }

    /// The feature as a taker of frames.
    pub const fn taker(self) -> Taker {
        self.0
    }

    /// The name, as in the configuration.
    pub const fn as_str(self) -> &'static str {
        self.0.name()
    }
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FeatureName {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let known: Vec<_> = Self::all().map(Self::as_str).collect();
        let cure = format!("name a feature of this build: {}", known.join(", "));
        let taker = Taker::ALL.into_iter().find(|taker| taker.name() == text);
        match taker.map(|taker| (taker, taker.kind())) {
            Some((taker, TakerKind::Feature | TakerKind::TestFeature)) => Ok(Self(taker)),
            Some((_, TakerKind::Absent)) => Err(Problem::new(text, "this build does not have this feature", cure)),
            Some((_, TakerKind::Plumbing)) => {
                Err(Problem::new(text, "the data plane adds this taker itself where an action needs it", cure))
            }
            None => Err(Problem::new(text, "no feature has this name", cure)),
        }
    }
}

impl TryFrom<String> for FeatureName {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<FeatureName> for String {
    fn from(name: FeatureName) -> Self {
        name.as_str().to_owned()
    }
}

impl From<FeatureName> for Taker {
    fn from(name: FeatureName) -> Self {
        name.0
    }
}

/// A set of takers: the identity of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TakerSet(u16);

impl TakerSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// The bits, as [`Taker::bit`] defines them.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// This set and one more taker.
    #[must_use]
    pub const fn with(self, taker: Taker) -> Self {
        Self(self.0 | taker.bit())
    }

    /// Who is in this set or the other.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Who is in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the taker is in the set.
    pub const fn contains(self, taker: Taker) -> bool {
        self.0 & taker.bit() != 0
    }

    /// Whether nobody is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The takers, by ascending bit.
    pub fn iter(self) -> impl Iterator<Item = Taker> {
        Taker::ALL.into_iter().filter(move |taker| self.contains(*taker))
    }

    /// The takers' names, by ascending bit.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|taker| taker.name().to_owned()).collect()
    }
}

impl<T: Into<Taker>> FromIterator<T> for TakerSet {
    fn from_iter<I: IntoIterator<Item = T>>(takers: I) -> Self {
        takers.into_iter().fold(Self::EMPTY, |set, taker| set.with(taker.into()))
    }
}

/// `streaming + sender`; `nobody` for the empty set.
impl fmt::Display for TakerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.pad("nobody") } else { f.pad(&self.names().join(" + ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_taker_has_one_bit_and_one_name_of_its_own() {
        let all: TakerSet = Taker::ALL.into_iter().collect();
        assert_eq!(all.bits().count_ones() as usize, Taker::ALL.len());
        assert!(Taker::ALL.iter().all(|taker| taker.bit().is_power_of_two()));
        let names: std::collections::BTreeSet<_> = Taker::ALL.iter().map(|taker| taker.name()).collect();
        assert_eq!(names.len(), Taker::ALL.len());
        assert_eq!(TakerSet::EMPTY.with(Taker::Sender).with(Taker::Streaming).to_string(), "streaming + sender");
    }

    #[test]
    fn a_refused_feature_says_which_there_are() {
        assert_eq!("streaming".parse(), Ok(FeatureName::STREAMING));
        for (text, cause) in
            [("fusion", "does not have"), ("sender", "itself"), ("Streaming", "no feature"), ("", "no feature")]
        {
            let problem = text.parse::<FeatureName>().expect_err(text);
            assert!(problem.cause.contains(cause) && problem.cure.ends_with("of this build: streaming"), "{problem}");
        }
    }
}
