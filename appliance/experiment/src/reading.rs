//! From raw figures to numbers: what a metric was in a slice, and by how much one value is worse than another.

use crate::histogram::Histogram;
use crate::metric::{Direction, Metric};
use crate::window::{Figures, Window};

/// What `metric` was in one arm's slice: a share of the frames offered, or nanoseconds. `None` where there were too few frames,
/// or it was not measured.
#[must_use]
pub(crate) fn value(metric: Metric, figures: &Figures) -> Option<f64> {
    match metric {
        Metric::LatencyP50 | Metric::LatencyP99 => {
            let [even, odd] = &figures.waits;
            latency(metric, &even.with(odd))
        }
        _ if figures.offered < metric.least_frames() => None,
        Metric::Throughput => Some(figures.taken? as f64 / figures.offered as f64),
        Metric::Lost => Some((figures.lost as f64 / figures.offered as f64).min(1.0)),
    }
}

/// The percentile that `metric` is, if there are enough times for it.
pub(crate) fn latency(metric: Metric, waits: &Histogram) -> Option<f64> {
    let quantile = if metric == Metric::LatencyP50 { 0.5 } else { 0.99 };
    if waits.total() < metric.least_frames() { None } else { waits.quantile(quantile) }
}

/// By how much `candidate` is worse than `control`, from -1 to 1: the difference by the larger of the two, of lost frames the
/// difference itself. Either way the same with the opposite sign when the arms are exchanged, so that arms which are alike have
/// the mean 0 whatever their values are spread like.
#[must_use]
pub fn compare(metric: Metric, control: f64, candidate: f64) -> f64 {
    let more = candidate - control;
    let scale = if metric == Metric::Lost { 1.0 } else { control.max(candidate) };
    if scale <= 0.0 {
        return 0.0;
    }
    let relative = (more / scale).clamp(-1.0, 1.0);
    match metric.direction() {
        Direction::Lower => relative,
        Direction::Higher => -relative,
    }
}

/// One comparison for each slice of a window that has the metric in both arms.
pub(crate) fn comparisons(metric: Metric, window: &Window) -> Vec<f64> {
    let pair = |slice: &crate::window::Slice| {
        let (control, candidate) = (value(metric, &slice.control)?, value(metric, &slice.candidate)?);
        Some(compare(metric, control, candidate))
    };
    window.slices.iter().filter_map(pair).collect()
}

/// What a metric was over a whole window in one arm.
pub(crate) fn over(metric: Metric, window: &Window, arm: impl Fn(&crate::window::Slice) -> &Figures) -> Option<f64> {
    let mut sum = Figures::default();
    let counts = |figures: &&Figures| metric != Metric::Throughput || figures.taken.is_some();
    for figures in window.slices.iter().map(arm).filter(counts) {
        sum.offered = sum.offered.saturating_add(figures.offered);
        sum.lost = sum.lost.saturating_add(figures.lost);
        sum.taken = match (sum.taken, figures.taken) {
            (before, Some(taken)) => Some(before.unwrap_or(0).saturating_add(taken)),
            (before, None) => before,
        };
        let [even, odd] = &figures.waits;
        sum.waits = [sum.waits[0].with(even), sum.waits[1].with(odd)];
    }
    value(metric, &sum)
}
