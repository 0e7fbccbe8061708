//! The base path beside itself: forwarded messages before a change and after it, or with a feature parked and with it at work.
//!
//! ```text
//!  reference slices ─┬─ halves of it beside each other ──► noise floor ─┐
//!                    └─ beside the subject's slices ────► losses ───────┴─► bets ──► worse · no worse · not shown · no data
//! ```
//!
//! [`judge`] is a function of a [`Trial`] and [`Limits`] and of nothing else, so a stored trial is judged the same again.

mod judge;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

pub use judge::{Finding, Judged, Ruling, judge};

/// Slices of the reference, and of the subject.
pub const SLICES: usize = 100;
/// Pairs of slices that must have a figure for a whole trial to say something of it.
pub const PAIRS: usize = SLICES / 2;
/// Messages that a slice must have for a 99th percentile.
pub const LEAST_MESSAGES: u64 = 100;
/// Costs counted in a slice: the cheapest nine of ten. What is dearer was mostly interrupted.
const COUNTED: (u64, u64) = (9, 10);

/// What is compared of the base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Frames forwarded, of those that were to be: throughput where the box cannot do what is asked of it.
    Forwarded,
    /// Nanoseconds of a core for a forwarded frame; its inverse is what a core can forward: throughput at any load.
    Cost,
    /// 99th percentile of how late messages are: of their delay beyond the fastest of the same source, in nanoseconds.
    LateP99,
}

impl Figure {
    /// Every figure.
    pub const ALL: [Self; 3] = [Self::Forwarded, Self::Cost, Self::LateP99];

    /// The word in tables and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Cost => "cost",
            Self::LateP99 => "late_p99",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the base path did in one slice. Whole numbers, so that it reads back as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Frames forwarded.
    pub forwarded: u64,
    /// Frames that were to be forwarded and were not: no agent, no way out, lost on the way to a mirror.
    pub unforwarded: u64,
    /// Frames whose cost is counted.
    pub costed: u64,
    /// What they cost together, in nanoseconds.
    pub cost_ns: u64,
    /// How late messages were.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub late: Histogram,
}

impl Sample {
    /// Counts the cheapest of these frames, given as counts and sums by bucket of their cost.
    #[must_use]
    pub fn with_costs(self, costs: &[u64], cost_ns: &[u64]) -> Self {
        let all = costs.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        let counted = all.saturating_mul(COUNTED.0) / COUNTED.1;
        let (mut left, mut sum) = (counted, 0u64);
        for (count, ns) in costs.iter().zip(cost_ns).filter(|(count, _)| **count > 0) {
            let part = left.min(*count);
            let of_it = u128::from(*ns) * u128::from(part) / u128::from(*count);
            sum = sum.saturating_add(u64::try_from(of_it).unwrap_or(u64::MAX));
            left -= part;
        }
        Self { costed: counted, cost_ns: sum, ..self }
    }

    /// Frames that were to be forwarded.
    #[must_use]
    pub const fn offered(&self) -> u64 {
        self.forwarded.saturating_add(self.unforwarded)
    }

    /// Both together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            forwarded: self.forwarded.saturating_add(other.forwarded),
            unforwarded: self.unforwarded.saturating_add(other.unforwarded),
            costed: self.costed.saturating_add(other.costed),
            cost_ns: self.cost_ns.saturating_add(other.cost_ns),
            late: self.late.with(&other.late),
        }
    }

    /// What a figure was: a share, or nanoseconds; `None` where there was too little of it.
    #[must_use]
    pub fn value(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Forwarded => (self.offered() > 0).then(|| self.forwarded as f64 / self.offered() as f64),
            Figure::Cost => (self.costed > 0).then(|| self.cost_ns as f64 / self.costed as f64),
            Figure::LateP99 if self.late.total() < LEAST_MESSAGES => None,
            Figure::LateP99 => self.late.quantile(0.99),
        }
    }
}

/// Slices to compare, pair by pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Before the change, or with the feature parked. Its two halves are of different times, and equals all the same: how much
    /// they differ is the noise floor.
    pub reference: Vec<Sample>,
    /// After the change, or with the feature at work; fewer while it is measured.
    pub subject: Vec<Sample>,
}

/// What the subject may lose, and how sure one must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of the throughput, in millionths: of frames forwarded, and of frames that a core can forward.
    pub throughput_ppm: u32,
    /// What the 99th percentile of lateness may have more, in millionths.
    pub late_ppm: u32,
    /// Most probability of calling a subject worse that is no worse than tolerated, over all figures and looks of a trial, in
    /// millionths.
    pub alpha_ppm: u32,
}

impl Default for Limits {
    /// 1 % of throughput, 5 % of the 99th percentile, and one false alarm in a thousand trials.
    fn default() -> Self {
        Self { throughput_ppm: 10_000, late_ppm: 50_000, alpha_ppm: 1_000 }
    }
}

impl Limits {
    /// What may be lost of a figure, as the difference by the larger of two values.
    fn tolerance(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Forwarded | Figure::Cost => f64::from(self.throughput_ppm) / 1e6,
            Figure::LateP99 => {
                let more = f64::from(self.late_ppm) / 1e6;
                more / (1.0 + more)
            }
        }
    }
}
