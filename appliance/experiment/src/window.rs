//! Raw figures, as the box read them: a window of slices, in each what happened to the frames of both arms.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::spec::Spec;
use crate::{CLOCK_SLACK_MS, SLICES};

/// Where an experiment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The noise floor is measured.
    Noise,
    /// At this step of the ramp, from 0.
    Step(u32),
    /// It is over.
    Ended,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds of the clock that nobody can set.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 of the clock that people read.
    pub wall_ms: u64,
}

/// What happened to the frames of one arm in one slice. Counts are differences over the slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Figures {
    /// Frames that the classifier gave to the arm.
    pub offered: u64,
    /// Frames of these that were dropped at a ring, or died with who had them.
    pub lost: u64,
    /// Frames that features have finished; absent where a feature was not there for the whole slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// Times from the classifier to the feature, of flows with an even bucket and of flows with an odd one: two halves of the
    /// same arm, to see how much equals differ.
    #[serde(skip_serializing_if = "are_empty")]
    pub waits: [Histogram; 2],
}

impl Figures {
    /// Puts both halves of the times together, which nobody can take apart again.
    pub fn join_halves(&mut self) {
        let [even, odd] = &self.waits;
        self.waits = [even.with(odd), Histogram::default()];
    }
}

fn are_empty(waits: &[Histogram; 2]) -> bool {
    waits.iter().all(Histogram::is_empty)
}

/// Both arms over the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Its end; it began where the one before ended.
    pub end: Moment,
    /// The control arm.
    pub control: Figures,
    /// The candidate arm.
    pub candidate: Figures,
}

/// A window: what was measured at one stage between two moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its number, from 1.
    pub number: u32,
    /// The stage at which it was measured.
    pub stage: Stage,
    /// Its begin.
    pub begin: Moment,
    /// Why it must not be used, where who measured it knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// Its slices in their order; a window that is not over has fewer than [`SLICES`].
    pub slices: Vec<Slice>,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub const fn new(number: u32, stage: Stage, begin: Moment) -> Self {
        Self { number, stage, begin, void: None, slices: Vec::new() }
    }

    /// Whether all its slices are there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.slices.len() >= SLICES
    }

    /// Why it must not be used: what who measured it said, or clocks that disagree.
    #[must_use]
    pub fn fault(&self, spec: &Spec) -> Option<String> {
        self.void.clone().or_else(|| self.clock_jump(spec))
    }

    /// The wall clock's lead over the other must stay the same: neither an operator nor a time server may have moved it, and the
    /// box may not have been suspended.
    fn clock_jump(&self, spec: &Spec) -> Option<String> {
        let lead = |moment: &Moment| i128::from(moment.wall_ms) - i128::from(moment.monotonic_ms);
        let ends = || self.slices.iter().map(|slice| &slice.end);
        let slack = CLOCK_SLACK_MS.max(spec.window_ms / 2_000);
        let leads = || std::iter::once(&self.begin).chain(ends()).map(lead);
        let (least, most) = (leads().min()?, leads().max()?);
        if most - least > i128::from(slack) {
            return Some(format!("the wall clock jumped by {} ms in this window", most - least));
        }
        let times = || std::iter::once(&self.begin).chain(ends()).map(|moment| moment.monotonic_ms);
        if times().zip(times().skip(1)).any(|(earlier, later)| later < earlier) {
            return Some("the box was started anew in this window".to_owned());
        }
        None
    }
}
