//! The same windows again: do they give the same decisions?

use crate::decide::{Decision, decide};
use crate::spec::Spec;
use crate::window::Window;

/// What came of deciding again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// The decisions after each window, as they come out now.
    pub decisions: Vec<Decision>,
    /// Position of the first that is not the one that was stored.
    pub differs_at: Option<usize>,
}

/// Decides after each of `windows` as it was decided then, and compares with what is `stored` in the order of the windows.
#[must_use]
pub fn replay(spec: &Spec, windows: &[Window], stored: &[Decision]) -> Replayed {
    let decisions: Vec<Decision> =
        (1..=windows.len()).map(|end| decide(spec, windows.get(..end).unwrap_or_default())).collect();
    let longest = decisions.len().max(stored.len());
    let differs_at = (0..longest).find(|at| decisions.get(*at) != stored.get(*at));
    Replayed { decisions, differs_at }
}
