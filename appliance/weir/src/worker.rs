//! `weir worker NAME`: one feature in a process of its own.

use anyhow::{Context, Result, bail};
use weir_features_streaming::Streaming;
use weir_features_worker::audit::Audit;
use weir_features_worker::feature::Feature;
use weir_features_worker::process::{self, Ending};

use crate::instructions;
use crate::place::Place;

/// Runs the worker of the feature `name` until the dataplane stops it or ends.
///
/// # Errors
/// When no feature has that name, or the worker and the dataplane do not come together.
pub(crate) fn run(name: &str, place: &Place, restarts: u32) -> Result<()> {
    let ending = match name {
        Streaming::NAME => {
            let settings = instructions::settings()?;
            tracing::info!("worker {name} counts with {} instructions", settings.simd.name());
            process::run::<Streaming>(&settings, name, &place.attach, restarts)
        }
        // The audit stands in for features of the test suite; it may run twice beside itself.
        "test1" | "test2" => process::run::<Audit>(&(), name, &place.attach, restarts),
        _ => bail!("worker `{name}`: no feature has this name; name one of: streaming"),
    }
    .with_context(|| format!("worker {name}"))?;
    match ending {
        Ending::Stopped => tracing::info!("worker {name} stopped"),
        Ending::DataplaneGone => tracing::warn!("worker {name} ends: the dataplane is gone"),
    }
    Ok(())
}
