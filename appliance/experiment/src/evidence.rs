//! What a decision rests on, guardrail by guardrail.

use serde::{Deserialize, Serialize};

use crate::betting::{Against, Bound, Starts, Wealth};
use crate::metric::Metric;
use crate::reading::{comparisons, over};
use crate::spec::{Guardrail, Spec};
use crate::window::{Stage, Window};
use crate::{SLICES_WITH_DATA, floor};

/// Digits of the numbers in evidence: more say nothing, and numbers of so few read back as they were written.
const DIGITS: i32 = 6;

/// One guardrail's state after a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The metric.
    pub metric: Metric,
    /// What was tolerated, in millionths, as in the specification.
    pub tolerance_ppm: u32,
    /// The noise floor: how much worse the control arm looks than itself, as a share; absent until it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The control's value over the window, in the metric's unit: a share, or nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<f64>,
    /// The candidate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<f64>,
    /// The mean over the window's slices of how much worse the candidate was, -1 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Slices of the window that had the metric in both arms.
    pub slices: u32,
    /// Evidence that the candidate is worse than tolerated: at [`Evidence::worse_needs`] it is rolled back.
    pub worse: f64,
    /// See there.
    pub worse_needs: f64,
    /// Evidence, since the step began, that it is not: at [`Evidence::fine_needs`] this guardrail lets it pass.
    pub fine: f64,
    /// See there.
    pub fine_needs: f64,
    /// Why the window has no data of this metric, if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<String>,
}

impl Evidence {
    /// Whether the candidate is worse than tolerated.
    pub(crate) fn is_worse(&self) -> bool {
        self.worse >= self.worse_needs
    }

    /// Whether this guardrail lets it pass.
    pub(crate) fn is_fine(&self) -> bool {
        self.fine >= self.fine_needs && self.no_data.is_none()
    }

    /// The evidence of `guardrail` after the last of `windows`.
    pub(crate) fn of(spec: &Spec, guardrail: &Guardrail, windows: &[Window]) -> Self {
        let metric = guardrail.metric;
        let usable = |window: &&Window| window.fault(spec).is_none();
        let noise = windows.iter().filter(usable).filter(|window| window.stage == Stage::Noise);
        let floor = floor::floor(metric, noise);
        let bound = floor.and_then(|floor| Bound::new(guardrail.tolerance() + floor));
        let last = windows.last();
        let stage = last.map_or(Stage::Noise, |window| window.stage);
        let (mut worse, mut fine) = (Starts::over(spec.windows), Wealth::default());
        for window in windows.iter().filter(usable).filter(|window| matches!(window.stage, Stage::Step(_))) {
            let Some(bound) = bound else { break };
            worse.begin();
            for loss in comparisons(metric, window) {
                worse.observe(bound, loss);
                if window.stage == stage {
                    fine.observe(Against::Worse, bound, loss);
                }
            }
        }
        let found = last.map(|window| comparisons(metric, window)).unwrap_or_default();
        let mean = found.iter().sum::<f64>() / found.len().max(1) as f64;
        Self {
            metric,
            tolerance_ppm: guardrail.tolerance_ppm,
            floor: floor.map(rounded),
            control: last.and_then(|window| over(metric, window, |slice| &slice.control)).map(rounded),
            candidate: last.and_then(|window| over(metric, window, |slice| &slice.candidate)).map(rounded),
            loss: (!found.is_empty()).then(|| rounded(mean)),
            slices: found.len() as u32, // at most SLICES
            worse: rounded(worse.value()),
            worse_needs: rounded(spec.worse_needs()),
            fine: rounded(fine.value()),
            fine_needs: rounded(spec.fine_needs()),
            no_data: last.and_then(|window| no_data(metric, window, found.len(), floor, bound)),
        }
    }
}

/// Why a whole window says nothing of a metric.
fn no_data(metric: Metric, window: &Window, found: usize, floor: Option<f64>, bound: Option<Bound>) -> Option<String> {
    if !window.is_whole() {
        return None;
    }
    let frames = |arm: fn(&crate::window::Slice) -> u64| window.slices.iter().map(arm).sum::<u64>();
    for (name, frames) in
        [("control", frames(|slice| slice.control.offered)), ("candidate", frames(|slice| slice.candidate.offered))]
    {
        if frames == 0 {
            return Some(format!("arm {name} had no frame"));
        }
    }
    if window.stage == Stage::Noise {
        let measured = floor::is_measured(metric, window);
        return (!measured).then(|| format!("{metric} of the control's halves came in too few slices"));
    }
    if floor.is_some() && bound.is_none() {
        return Some(format!("{metric} is so noisy that nothing could be worse"));
    }
    (found < SLICES_WITH_DATA).then(|| format!("{metric} came in {found} of {} slices", window.slices.len()))
}

/// A number of [`DIGITS`] digits.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let text = format!("{value:.*e}", (DIGITS - 1) as usize);
    text.parse().unwrap_or(value)
}
