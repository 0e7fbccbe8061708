//! What the journey is measured beside.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_appliance_lab::Lab;
use weir_appliance_lab::generate::live::Live;
use weir_benches::bare::{Bare, Front};
use weir_benches::testpmd::Testpmd;
use weir_benches::{boxed, noise, wire};

/// Where a message's header begins: behind Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;

/// Millions of frames a second through bare AF_XDP. The reader looks at the message's first word, as any reader must.
pub(crate) fn bare(lab: &Lab, live: &mut Live, frames: u32, front: Front<'_>) -> Result<f64> {
    let mut reader = Bare::new(lab.node("box")?, "eth0", front)?;
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(2));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| -> Result<u64> {
            let placed = noise::measuring_thread(wire::RECEIVER);
            ready.wait();
            placed?;
            let mut words = 0_u8;
            let mut look = |frame: &[u8]| words ^= frame.get(HEADERS).copied().unwrap_or_default();
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += reader.poll(&mut look);
            }
            count += reader.poll(&mut look);
            std::hint::black_box(words);
            Ok(count)
        });
        ready.wait();
        let seconds = boxed::timed_burst(lab.node("outside")?, live, frames);
        stop.store(true, Ordering::Relaxed);
        let count = reading.join().unwrap_or_else(|_| bail!("the reading thread panicked"))?;
        Ok(count as f64 / seconds? / 1e6)
    })
}

/// Millions of frames a second through testpmd, which prints its count once a second.
pub(crate) fn testpmd(lab: &Lab, live: &mut Live, frames: u32) -> Result<f64> {
    let (outside, inside) = (lab.node("outside")?, lab.node("box")?);
    let testpmd = Testpmd::start(lab, inside, "rxonly")?;
    let result = measure(&testpmd, || {
        boxed::chrt("--fifo", "5", testpmd.pid())?;
        let seconds = boxed::timed_burst(outside, live, frames);
        boxed::chrt("--other", "0", testpmd.pid())?;
        seconds
    });
    testpmd.stop()?;
    result
}

/// Waits until testpmd counts, runs `burst`, and reads how much the count rose.
fn measure(testpmd: &Testpmd<'_>, burst: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let end = Instant::now() + Duration::from_secs(15);
    let before = loop {
        if let Some(count) = testpmd.received()? {
            break count;
        }
        ensure!(Instant::now() < end, "testpmd did not start: {}", testpmd.text()?.replace('\n', " "));
        std::thread::sleep(Duration::from_millis(100));
    };
    let seconds = burst()?;
    std::thread::sleep(Duration::from_millis(2500)); // two of its prints
    let after = testpmd.received()?.context("testpmd's count")?;
    Ok((after - before) as f64 / seconds / 1e6)
}
