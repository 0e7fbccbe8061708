//! What the box watches of its base path.

use super::super::{ConfigError, GATE_FRAMES, GATE_MINUTES, PRESERVATION_LOSS, PRESERVATION_SECONDS, PreservationSpec};
use super::raw::{self, Text};
use super::{optional, typed, within};
use crate::problem::Problem;
use crate::share::Share;

pub(super) fn preservation(raw: &raw::Preservation) -> Result<PreservationSpec, ConfigError> {
    let default = PreservationSpec::default();
    let frames = "frames a second";
    Ok(PreservationSpec {
        watch: optional(raw.watch.as_ref())?.unwrap_or_default(),
        gate: optional(raw.gate.as_ref())?.unwrap_or_default(),
        window_seconds: within(
            raw.window_seconds.as_ref(),
            "a time in seconds",
            PRESERVATION_SECONDS,
            default.window_seconds,
        )?,
        every_minutes: within(raw.every_minutes.as_ref(), "a time in minutes", GATE_MINUTES, default.every_minutes)?,
        most_frames_per_second: within(
            raw.most_frames_per_second.as_ref(),
            frames,
            GATE_FRAMES,
            default.most_frames_per_second,
        )?,
        throughput_loss: loss(raw.throughput_loss.as_ref(), default.throughput_loss)?,
        late_more: loss(raw.late_more.as_ref(), default.late_more)?,
    })
}

/// Nothing at all cannot be asked for: equals differ too. Half is more than anybody means.
fn loss(text: Option<&Text>, default: Share) -> Result<Share, ConfigError> {
    let read = |text: &str| {
        let share: Share = text.parse()?;
        if PRESERVATION_LOSS.contains(&share.basis_points()) {
            return Ok(share);
        }
        Err(Problem::new(text, "what may be lost is 0.01% to 50%", format!("write {default}")))
    };
    text.map_or(Ok(default), |text| typed(text, read))
}
