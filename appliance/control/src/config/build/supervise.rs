//! When a process counts as stalled, how soon it is started again, and when a feature is given up.

use super::super::{
    ConfigError, PARK_DEATHS, PARK_WITHIN_SECONDS, RESTART_MS, STALL_SECONDS, START_SECONDS, SuperviseSpec,
};
use super::{raw, typed, within};
use crate::problem::Problem;

pub(super) fn supervise(raw: &raw::Supervise) -> Result<SuperviseSpec, ConfigError> {
    let default = SuperviseSpec::default();
    let (seconds, pause) = ("a time in seconds", "a pause in milliseconds");
    let spec = SuperviseSpec {
        stall_seconds: within(raw.stall_seconds.as_ref(), seconds, STALL_SECONDS, default.stall_seconds)?,
        start_seconds: within(raw.start_seconds.as_ref(), seconds, START_SECONDS, default.start_seconds)?,
        park_deaths: within(raw.park_deaths.as_ref(), "a number of deaths", PARK_DEATHS, default.park_deaths)?,
        park_within_seconds: within(
            raw.park_within_seconds.as_ref(),
            seconds,
            PARK_WITHIN_SECONDS,
            default.park_within_seconds,
        )?,
        restart_first_ms: within(raw.restart_first_ms.as_ref(), pause, RESTART_MS, default.restart_first_ms)?,
        restart_most_ms: within(raw.restart_most_ms.as_ref(), pause, RESTART_MS, default.restart_most_ms)?,
    };
    let (first, most) = (spec.restart_first_ms, spec.restart_most_ms);
    if first <= most {
        return Ok(spec);
    }
    // Said where somebody wrote it: at the first pause, or at the longest one if the first is the default.
    let refuse = |cause: String, cure: String| move |text: &str| Err(Problem::new(text, cause, cure));
    match (&raw.restart_first_ms, &raw.restart_most_ms) {
        (Some(text), _) => {
            let cause =
                format!("the first pause before a restart is at most the longest one, and the longest is {most} ms");
            typed(text, refuse(cause, format!("write {most} or less, or restart_most_ms: {first}")))
        }
        (None, Some(text)) => {
            let cause = format!(
                "the longest pause before a restart is at least the first one, and the first pause is {first} ms"
            );
            typed(text, refuse(cause, format!("write {first} or more, or restart_first_ms: {most}")))
        }
        (None, None) => Ok(spec), // the defaults fit each other
    }
}
