//! Room 9c: experiments. Frames come from no room and leave to none: here figures of two arms of a flag become a decision.
//!
//! ```text
//!  Spec, Window, Window, … ── decide ──► Decision {verdict, next, reason, evidence}
//! ```
//!
//! [`decide`] is a function of what it is given and of nothing else: no clock, no input or output, no state that is kept.
//! So the raw windows of an experiment, given again, give the same decisions to the byte ([`replay`]).
//!
//! What the box itself watches, its base path before and after each change, is judged in [`base`] by the same bets.
//!
//! The rule is a sequential test by betting, valid at any look ([`betting`]), on pairs of slices: candidate and control in
//! the same time, of the same traffic. How much two halves of the control arm differ is measured first ([`floor`]); a
//! candidate is worse only by what goes beyond that and beyond what the guardrail tolerates.

pub mod base;
pub mod betting;
mod decide;
mod evidence;
pub mod floor;
mod histogram;
mod metric;
mod reading;
mod replay;
mod spec;
mod window;

pub use decide::{Decision, Verdict, decide};
pub use evidence::Evidence;
pub use histogram::{BUCKETS, Histogram, bucket, edges};
pub use metric::{Direction, Metric};
pub use reading::compare;
pub use replay::{Replayed, replay};
pub use spec::{Arms, Guardrail, Refusal, Spec};
pub use window::{Figures, Moment, Slice, Stage, Window};

/// Slices of a window: pairs of figures, one of each arm.
pub const SLICES: usize = 40;
/// Slices of a window that must have a metric in both arms for the window to have it.
pub const SLICES_WITH_DATA: usize = SLICES / 2;
/// How far the wall clock may move against the clock that nobody can set within a window, in milliseconds. A time server that
/// slews moves it by at most 0.05 %, and 250 ms is that over eight minutes; longer windows have that share of their length.
pub const CLOCK_SLACK_MS: u64 = 250;
