//! Rates over a veth pair: live frames from one core, counted at the far end while they flow.

use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weir_appliance_lab::Node;
use weir_appliance_lab::generate::live::Live;
use weir_dataplane_io::clock::monotonic_ns;

use crate::noise;

/// Core of the generator, on which the kernel handles the frames too.
pub const GENERATOR: u32 = 0;
/// Core of the counter, and of a receiver.
pub const RECEIVER: u32 = 1;

/// Frames a second that the generator makes at most here; decides how many make a burst.
const FASTEST: f64 = 9e6;
/// From the start of a burst to the first look: the kernel needs 25 ms to set up, and caches settle.
const WARM_UP: Duration = Duration::from_millis(120);
/// Between the two looks.
const WINDOW: Duration = Duration::from_millis(300);

/// Sends a burst out of `from` and gives the frames a second, in millions, that `count` rose by between two looks.
///
/// # Errors
/// The kernel refuses, or the burst ended before the second look.
pub fn rate(from: &Node, live: &mut Live, count: impl Fn() -> Result<u64> + Sync) -> Result<f64> {
    let frames = (FASTEST * (WARM_UP + WINDOW).as_secs_f64()) as u32; // below 4 million
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<u64> {
            let sent = from.run(|| -> Result<u64> {
                let placed = noise::measuring_thread(GENERATOR);
                start.wait();
                placed?;
                live.send(frames)?;
                Ok(monotonic_ns())
            });
            sent?
        });
        let looking = scope.spawn(|| -> Result<(f64, u64)> {
            let placed = noise::measuring_thread(RECEIVER);
            start.wait();
            placed?;
            std::thread::sleep(WARM_UP);
            let (first, first_ns) = (count()?, monotonic_ns());
            std::thread::sleep(WINDOW);
            let (second, second_ns) = (count()?, monotonic_ns());
            Ok(((second - first) as f64 * 1e3 / (second_ns - first_ns) as f64, second_ns))
        });
        let looked = looking.join().unwrap_or_else(|_| bail!("the counting thread panicked"));
        let ended_ns = sending.join().unwrap_or_else(|_| bail!("the generating thread panicked"))?;
        let (rate, looked_ns) = looked?;
        ensure!(ended_ns > looked_ns, "the burst of {frames} frames ended before it was measured");
        Ok(rate)
    })
}
