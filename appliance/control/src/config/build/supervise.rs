//! When a process counts as stalled, and when a feature is given up.

use super::super::{ConfigError, PARK_DEATHS, PARK_WITHIN_SECONDS, STALL_SECONDS, SuperviseSpec};
use super::{raw, within};

pub(super) fn supervise(raw: &raw::Supervise) -> Result<SuperviseSpec, ConfigError> {
    let default = SuperviseSpec::default();
    let seconds = "a time in seconds";
    Ok(SuperviseSpec {
        stall_seconds: within(raw.stall_seconds.as_ref(), seconds, STALL_SECONDS, default.stall_seconds)?,
        park_deaths: within(raw.park_deaths.as_ref(), "a number of deaths", PARK_DEATHS, default.park_deaths)?,
        park_within_seconds: within(
            raw.park_within_seconds.as_ref(),
            seconds,
            PARK_WITHIN_SECONDS,
            default.park_within_seconds,
        )?,
    })
}
