//! The noise floor: how much worse the control arm looks than itself.
//!
//! Two halves of one arm differ, although nothing does: their flows are others, and the machine does other things meanwhile. A
//! latency is compared between the flows with even and with odd buckets, in the same slice. Where counts are of the arm as a
//! whole, a slice is compared with the next.

use crate::metric::Metric;
use crate::reading::{compare, latency, value};
use crate::window::Window;
use crate::{SLICES, SLICES_WITH_DATA};

/// Standard errors of the mean that are added to it: what equals differ by must be below the floor, not about it.
const STANDARD_ERRORS: f64 = 2.0;

/// The comparisons of the control arm with itself in one window.
fn with_itself(metric: Metric, window: &Window) -> Vec<f64> {
    let arms = window.slices.iter().map(|slice| &slice.control);
    if metric.is_latency() {
        let halves = |figures: &crate::window::Figures| {
            let [even, odd] = &figures.waits;
            Some(compare(metric, latency(metric, even)?, latency(metric, odd)?))
        };
        return arms.filter_map(halves).collect();
    }
    let values: Vec<Option<f64>> = arms.map(|figures| value(metric, figures)).collect();
    let pair = |pair: &[Option<f64>]| match pair {
        [Some(one), Some(other)] => Some(compare(metric, *one, *other)),
        _ => None,
    };
    values.chunks(2).filter_map(pair).collect()
}

/// Whether a window has enough of a metric to say how noisy it is: half of what it could have.
#[must_use]
pub fn is_measured(metric: Metric, window: &Window) -> bool {
    let most = if metric.is_latency() { SLICES } else { SLICES / 2 };
    with_itself(metric, window).len() >= most * SLICES_WITH_DATA / SLICES
}

/// The floor over some windows: how far the mean of the comparisons is from 0, and two of its standard errors. `None` without a
/// comparison.
#[must_use]
pub fn floor<'a>(metric: Metric, windows: impl Iterator<Item = &'a Window>) -> Option<f64> {
    let found: Vec<f64> = windows.flat_map(|window| with_itself(metric, window)).collect();
    of(&found)
}

/// The floor of comparisons of equals.
pub(crate) fn of(found: &[f64]) -> Option<f64> {
    if found.len() < 2 {
        return None;
    }
    let count = found.len() as f64;
    let mean = found.iter().sum::<f64>() / count;
    let variance = found.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(mean.abs() + STANDARD_ERRORS * (variance / count).sqrt())
}
