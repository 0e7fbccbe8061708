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
    /// Another version of streaming analytics, beside the one that is relied on.
    StreamingCandidate = 256,
}

/// What sort of taker this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakerKind {
    /// A feature of this build: rules and flags may name it.
    Feature,
    /// Another version of a feature of this build: rules and flags may name it; it runs where a file asks for it.
    Candidate,
    /// A feature that only the test suite names; help and errors do not offer it.
    TestFeature,
    /// A feature whose bit is reserved and which this build does not have.
    Absent,
    /// Part of the data plane: no rule names it, actions imply it.
    Plumbing,
}

impl Taker {
    /// Every taker, by ascending bit.
    pub const ALL: [Self; 9] = [
        Self::Streaming,
        Self::Twin,
        Self::Fusion,
        Self::Nas,
        Self::Log,
        Self::Sender,
        Self::Test1,
        Self::Test2,
        Self::StreamingCandidate,
    ];

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
            Self::StreamingCandidate => "streaming-candidate",
        }
    }

    /// What sort of taker this is.
    pub const fn kind(self) -> TakerKind {
        match self {
            Self::Streaming => TakerKind::Feature,
            Self::StreamingCandidate => TakerKind::Candidate,
            Self::Test1 | Self::Test2 => TakerKind::TestFeature,
            Self::Twin | Self::Fusion | Self::Nas => TakerKind::Absent,
            Self::Log | Self::Sender => TakerKind::Plumbing,
        }
    }

    /// Whether it is a feature, of whatever sort, that rules and flags may name.
    pub const fn is_feature(self) -> bool {
        matches!(self.kind(), TakerKind::Feature | TakerKind::Candidate | TakerKind::TestFeature)
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

    /// The features of this build, which run unless a file says otherwise; neither their candidates nor those of the test
    /// suite.
    pub fn all() -> impl Iterator<Item = Self> {
        Taker::ALL.into_iter().filter(|taker| taker.kind() == TakerKind::Feature).map(Self)
    }

    /// What people may name: the features of this build and their candidates.
    pub fn offered() -> impl Iterator<Item = Self> {
        let is_offered = |taker: &Taker| matches!(taker.kind(), TakerKind::Feature | TakerKind::Candidate);
        Taker::ALL.into_iter().filter(is_offered).map(Self)
    }

    /// The feature that this one is another version of; itself if it is no candidate.
    #[must_use]
    pub const fn base(self) -> Self {
        match self.0 {
            Taker::StreamingCandidate => Self::STREAMING,
            _ => self,
        }
    }

    /// Whether this is another version of a feature.
    pub const fn is_candidate(self) -> bool {
        matches!(self.0.kind(), TakerKind::Candidate)
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
        let known: Vec<_> = Self::offered().map(Self::as_str).collect();
        let cure = format!("name a feature of this build: {}", known.join(", "));
        let taker = Taker::ALL.into_iter().find(|taker| taker.name() == text);
        match taker {
            Some(taker) if taker.is_feature() => Ok(Self(taker)),
            Some(taker) if taker.kind() == TakerKind::Absent => {
                Err(Problem::new(text, "this build does not have this feature", cure))
            }
            Some(_) => Err(Problem::new(text, "the data plane adds this taker itself where an action needs it", cure)),
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
            let offered = "of this build: streaming, streaming-candidate";
            assert!(problem.cause.contains(cause) && problem.cure.ends_with(offered), "{problem}");
        }
    }

    #[test]
    fn a_candidate_is_a_version_of_its_feature_and_runs_only_where_a_file_asks_for_it() {
        let candidate: FeatureName = "streaming-candidate".parse().expect("a feature");
        assert!(candidate.is_candidate() && !FeatureName::STREAMING.is_candidate());
        assert_eq!((candidate.base(), FeatureName::STREAMING.base()), (FeatureName::STREAMING, FeatureName::STREAMING));
        assert!(FeatureName::all().all(|name| !name.is_candidate()));
        let bases = FeatureName::offered().filter(|name| name.is_candidate()).map(FeatureName::base);
        assert!(bases.eq(FeatureName::all()), "each feature has one");
    }
}
