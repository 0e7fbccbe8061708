//! `weir worker NAME`: one feature in a process of its own.

use std::convert::Infallible;

use anyhow::{Context, Result, bail};
use weir_appliance_control::taker::{FeatureName, Taker};
use weir_dataplane_io::fds::Channel;
use weir_features_streaming::Streaming;
use weir_features_worker::attach::Hello;
use weir_features_worker::audit::Audit;
use weir_features_worker::process::{self, Ending};
use zerocopy::IntoBytes;

use crate::instructions;
use crate::place::Place;
use crate::supervise::Hang;

/// Stands for ever at this point of a worker's start, as one does that waits for what never comes (`weir chaos hang`).
///
/// # Errors
/// The dataplane is not there to be told who hangs.
pub(crate) fn hang(name: &str, place: &Place, restarts: u32, hang: Hang) -> Result<Infallible> {
    tracing::warn!("worker {name} hangs on purpose");
    let connection = (hang == Hang::AfterHello).then(|| Channel::connect(&place.attach)).transpose()?;
    if let Some(connection) = &connection {
        connection.send(Hello::new(name, restarts).as_bytes(), &[])?;
    }
    loop {
        std::thread::park();
    }
}

/// Runs the worker of the feature `name` until the dataplane stops it or ends.
///
/// # Errors
/// When no feature has that name, or the worker and the dataplane do not come together.
pub(crate) fn run(name: &str, place: &Place, restarts: u32) -> Result<()> {
    let feature: FeatureName = name.parse().with_context(|| format!("worker {name}"))?;
    // A candidate is the same work under another name, and by another program if the configuration says so.
    let ending = match feature.base().taker() {
        Taker::Streaming => {
            let settings = instructions::settings()?;
            tracing::info!("worker {name} counts with {} instructions", settings.simd.name());
            process::run::<Streaming>(&settings, name, &place.attach, restarts)
        }
        // The audit stands in for features of the test suite; it may run twice beside itself.
        Taker::Test1 | Taker::Test2 => process::run::<Audit>(&(), name, &place.attach, restarts),
        taker => bail!("worker {name}: this program has no work for {taker}"),
    }
    .with_context(|| format!("worker {name}"))?;
    match ending {
        Ending::Stopped => tracing::info!("worker {name} stopped"),
        Ending::DataplaneGone => tracing::warn!("worker {name} ends: the dataplane is gone"),
    }
    Ok(())
}
