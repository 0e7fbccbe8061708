//! What a benchmark or a load tool measured: the line of JSON that ends its output. Fields are only added.

use serde::{Deserialize, Serialize};

use super::Host;

/// One run: `{"bench","rig","host":{…},"rows":[…]}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// The benchmark's name.
    pub bench: String,
    /// What it ran on: namespaces and veth pairs, memory only, a wire.
    pub rig: String,
    /// The host.
    pub host: Host,
    /// The figures.
    pub rows: Vec<BenchRow>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// One figure: the median of `n` runs between `min` and `max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// What was measured.
    pub case: String,
    /// In what.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// Median.
    pub value: f64,
    /// Least.
    pub min: f64,
    /// Most.
    pub max: f64,
    /// Runs.
    pub n: u32,
    /// Tool and version beside which it was measured.
    pub peer: Option<String>,
    /// The peer's median.
    pub peer_value: Option<f64>,
    /// Ours to the peer's, turned so that more is better; `null` without a peer.
    pub ratio: Option<f64>,
    /// The least ratio where there is a peer, else the bound on `value`; `null` if none is set.
    pub goal: Option<f64>,
}

impl BenchRow {
    /// A figure from its runs, without peer and goal: `None` if there is no run or one is not a number.
    pub fn of_runs(case: impl Into<String>, unit: impl Into<String>, better: Better, runs: &[f64]) -> Option<Self> {
        let (value, min, max) = median_and_range(runs)?;
        let n = u32::try_from(runs.len()).ok()?;
        let (case, unit) = (case.into(), unit.into());
        Some(Self { case, unit, better, value, min, max, n, peer: None, peer_value: None, ratio: None, goal: None })
    }

    /// The figure beside a peer's runs, with the least ratio that is good enough.
    #[must_use]
    pub fn beside(mut self, peer: impl Into<String>, runs: &[f64], goal: f64) -> Self {
        self.peer = Some(peer.into());
        self.peer_value = median_and_range(runs).map(|(value, _, _)| value);
        let ratio = |peer: f64| match self.better {
            Better::Higher => self.value / peer,
            Better::Lower => peer / self.value,
        };
        self.ratio = self.peer_value.map(ratio).filter(|ratio| ratio.is_finite());
        self.goal = Some(goal);
        self
    }

    /// The figure with a bound on its value.
    #[must_use]
    pub fn bounded(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Whether the goal is reached; `None` if none is set, or there is a peer but no ratio.
    pub fn is_met(&self) -> Option<bool> {
        let goal = self.goal?;
        match (&self.peer, self.better) {
            (Some(_), _) => self.ratio.map(|ratio| ratio >= goal),
            (None, Better::Higher) => Some(self.value >= goal),
            (None, Better::Lower) => Some(self.value <= goal),
        }
    }
}

fn median_and_range(runs: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = runs.to_vec();
    if sorted.iter().any(|run| !run.is_finite()) {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    let lower = if sorted.len().is_multiple_of(2) { *sorted.get(half.checked_sub(1)?)? } else { upper };
    Some((f64::midpoint(lower, upper), *sorted.first()?, *sorted.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_better_when_higher() {
        let rate = BenchRow::of_runs("rx", "pps", Better::Higher, &[3.0, 1.0, 2.0]).expect("runs").beside(
            "peer 1.0",
            &[4.0, 4.0],
            0.5,
        );
        assert_eq!((rate.value, rate.min, rate.max, rate.n, rate.ratio), (2.0, 1.0, 3.0, 3, Some(0.5)));
        assert_eq!(rate.is_met(), Some(true));
        let time = BenchRow::of_runs("p99", "us", Better::Lower, &[4.0]).expect("runs").beside("peer 1.0", &[2.0], 0.9);
        assert_eq!((time.ratio, time.is_met()), (Some(0.5), Some(false)));
        assert_eq!(
            BenchRow::of_runs("p99", "us", Better::Lower, &[4.0]).expect("runs").bounded(5.0).is_met(),
            Some(true)
        );
        assert_eq!(BenchRow::of_runs("p99", "us", Better::Lower, &[]), None);
        assert_eq!(BenchRow::of_runs("p99", "us", Better::Lower, &[f64::NAN]), None);
    }
}
