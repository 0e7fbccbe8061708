//! The judgement of a trial.

use serde::{Deserialize, Serialize};

use super::{Figure, Limits, PAIRS, SLICES, Sample, Trial};
use crate::betting::{Against, Bound, Wealth};
use crate::evidence::rounded;
use crate::floor;

/// A loss counts at most as this many times what is tolerated. Fewer than in an experiment: a trial has one window, and what is
/// but a little beyond must be found within it.
const AT_MOST: f64 = 3.0;
/// Slices of which one has more than so many times the messages of the other are no pair: lateness and cost depend on the load.
const ALIKE: u64 = 2;
/// Confidence of the published bound.
const CONFIDENCE: f64 = 0.95;

/// What is said of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Worse than tolerated.
    Worse,
    /// No worse: the bound of every figure is within what is tolerated.
    Kept,
    /// Neither is shown.
    Open,
    /// Too little was measured of a figure.
    NoData,
}

impl Ruling {
    /// The words in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Kept => "no worse",
            Self::Open => "not shown",
            Self::NoData => "no data",
        }
    }
}

/// What is known of one figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub figure: Figure,
    /// Its value over the reference: a share, or nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
    /// Its value over the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<f64>,
    /// The mean over pairs of slices of how much worse the subject was: the difference by the larger of the two, -1 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// How much worse the reference looks than itself, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// What is tolerated beside the floor.
    pub tolerance: f64,
    /// The median loss is at most this, with 95 % confidence: an order statistic, which assumes nothing of how losses are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Pairs of slices that had it.
    pub pairs: u32,
    /// Evidence that it is worse than tolerated.
    pub evidence: f64,
    /// What that must reach.
    pub needs: f64,
}

/// A judgement, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What is said of the subject.
    pub ruling: Ruling,
    /// Why, in a line.
    pub reason: String,
    /// Every figure.
    pub findings: Vec<Finding>,
}

/// Judges a trial. One whose subject is not whole can only be found worse.
#[must_use]
pub fn judge(limits: &Limits, trial: &Trial) -> Judged {
    let findings: Vec<Finding> = Figure::ALL.into_iter().map(|figure| finding(limits, figure, trial)).collect();
    let (ruling, reason) = ruling(trial, &findings);
    Judged { ruling, reason, findings }
}

/// By how much `subject` is worse than `reference`, from -1 to 1: exchanging the two turns the sign, so equals have the mean 0.
fn loss(figure: Figure, reference: &Sample, subject: &Sample) -> Option<f64> {
    let (before, after) = (reference.value(figure)?, subject.value(figure)?);
    let (least, most) = (reference.forwarded.min(subject.forwarded), reference.forwarded.max(subject.forwarded));
    if figure != Figure::Forwarded && most > least.saturating_mul(ALIKE) {
        return None;
    }
    let larger = before.max(after);
    if larger <= 0.0 {
        return Some(0.0);
    }
    let more = (after - before) / larger;
    Some(if figure == Figure::Forwarded { -more } else { more })
}

fn losses<'a>(figure: Figure, pairs: impl Iterator<Item = (&'a Sample, &'a Sample)>) -> Vec<f64> {
    pairs.filter_map(|(reference, subject)| loss(figure, reference, subject)).collect()
}

fn finding(limits: &Limits, figure: Figure, trial: &Trial) -> Finding {
    let half = trial.reference.len() / 2;
    let (first, second) = trial.reference.split_at(half);
    let floor = floor::of(&losses(figure, first.iter().zip(second)));
    let found = losses(figure, trial.reference.iter().zip(&trial.subject));
    let tolerance = limits.tolerance(figure);
    let mut wealth = Wealth::default();
    if let Some(bound) = floor.and_then(|floor| Bound::within(tolerance + floor, AT_MOST)) {
        found.iter().for_each(|loss| wealth.observe(Against::Fine, bound, *loss));
    }
    let over = |samples: &[Sample]| samples.iter().fold(Sample::default(), |sum, sample| sum.with(sample));
    let mean = found.iter().sum::<f64>() / found.len().max(1) as f64;
    Finding {
        figure,
        reference: over(&trial.reference).value(figure).map(rounded),
        subject: over(&trial.subject).value(figure).map(rounded),
        loss: (!found.is_empty()).then(|| rounded(mean)),
        floor: floor.map(rounded),
        tolerance: rounded(tolerance),
        bound: upper_bound(&found).map(rounded),
        pairs: found.len() as u32, // at most SLICES
        evidence: rounded(wealth.value()),
        needs: rounded(Figure::ALL.len() as f64 * 1e6 / f64::from(limits.alpha_ppm.max(1))),
    }
}

/// The least of the values that the median is not above with [`CONFIDENCE`]: the k-th of n is above it unless fewer than k of n
/// fair coins fall one way.
fn upper_bound(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let mut chance = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut below = chance;
    for (k, value) in (1..=count).zip(sorted) {
        if below >= CONFIDENCE {
            return Some(value);
        }
        chance *= (count + 1 - k) as f64 / k as f64;
        below += chance;
    }
    None
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A value of a figure in its unit.
fn value(figure: Figure, value: Option<f64>) -> String {
    match (figure, value) {
        (_, None) => "no data".to_owned(),
        (Figure::Forwarded, Some(value)) => percent(value),
        (Figure::Cost, Some(value)) => format!("{value:.0} ns"),
        (Figure::LateP99, Some(value)) => format!("{:.1} us", value / 1000.0),
    }
}

fn ruling(trial: &Trial, findings: &[Finding]) -> (Ruling, String) {
    if let Some(worst) = findings.iter().find(|finding| finding.evidence >= finding.needs) {
        let Finding { figure, reference, subject, tolerance, floor, .. } = worst;
        let reason = format!(
            "{figure} {} instead of {}: worse by {}, where {} and a noise floor of {} are tolerated",
            value(*figure, *subject),
            value(*figure, *reference),
            percent(worst.loss.unwrap_or(0.0)),
            percent(*tolerance),
            percent(floor.unwrap_or(0.0)),
        );
        return (Ruling::Worse, reason);
    }
    if trial.subject.len() < SLICES {
        return (Ruling::Open, format!("slice {} of {SLICES} is measured", trial.subject.len() + 1));
    }
    if let Some(lacking) = findings.iter().find(|finding| (finding.pairs as usize) < PAIRS || finding.floor.is_none()) {
        let reason = format!("no data: {} came in {} of {SLICES} pairs of slices", lacking.figure, lacking.pairs);
        return (Ruling::NoData, reason);
    }
    let within = |finding: &Finding| {
        finding.bound.is_some_and(|bound| bound <= finding.tolerance + finding.floor.unwrap_or(0.0))
    };
    let said = |finding: &Finding| {
        let bound = finding.bound.map_or_else(|| "-".to_owned(), percent);
        format!("{} loses at most {bound}", finding.figure)
    };
    let all: Vec<String> = findings.iter().map(said).collect();
    let ruling = if findings.iter().all(within) { Ruling::Kept } else { Ruling::Open };
    (ruling, all.join(", "))
}
