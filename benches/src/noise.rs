//! Quiet: what a benchmark does against its neighbours, and how it notices them.
//!
//! On a shared machine a neighbour's job can halve a rate without any counter showing it. So a benchmark runs in a
//! scheduling group of its own, measures in real-time bursts that are shorter than the kernel's limit for those, and
//! probes the cores before and after each round.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::cpu;

/// Longest real-time burst. The kernel takes the core away after 0.95 s of each second (`sched_rt_runtime_us`).
pub const BURST: Duration = Duration::from_millis(600);
/// Pause after a burst, in which ordinary tasks get the core.
pub const PAUSE: Duration = Duration::from_millis(250);
/// Real-time priority of measuring threads.
pub const PRIORITY: u8 = 50;

/// Length of a probe.
const PROBE_NS: u64 = 10_000_000;
/// A gap between two clock readings above this was somebody else's.
const GAP_NS: u64 = 5_000;
/// Least share of a probe that must have been ours. On an idle virtual machine the timer tick alone takes up to 2 %.
const QUIET_SHARE: f64 = 0.95;

/// Puts this process into a session, and so a scheduling group, of its own, at the highest ordinary priority. Without
/// the rights the benchmark runs on, noisier.
pub fn settle() {
    // Fails when the shell has made us a session already, which serves as well.
    let _ = rustix::process::setsid();
    let _ = rustix::process::setpriority_process(None, -20);
    let _ = std::fs::write("/proc/self/autogroup", "-20");
}

/// Makes the calling thread real-time and pins it, in this order: pinned first beside a spinning real-time thread, it
/// would wait for its first turn.
///
/// # Errors
/// The core is not ours. Without the right to real-time priority the thread stays ordinary.
pub fn measuring_thread(core: u32) -> Result<()> {
    let _ = cpu::fifo(PRIORITY);
    cpu::pin(core).with_context(|| format!("core {core}"))
}

/// Share of 10 ms on `core` that a real-time thread had for itself: what the host or the kernel took is missing.
#[must_use]
pub fn probe(core: u32) -> f64 {
    let probing = std::thread::spawn(move || {
        if measuring_thread(core).is_err() {
            return 1.0;
        }
        let start = monotonic_ns();
        let (mut last, mut lost) = (start, 0);
        while last - start < PROBE_NS {
            let now = monotonic_ns();
            if now - last > GAP_NS {
                lost += now - last;
            }
            last = now;
        }
        1.0 - lost as f64 / (last - start) as f64
    });
    probing.join().unwrap_or(0.0)
}

/// Round trips of a cache line between two cores in one measurement of their distance.
const ROUND_TRIPS: u64 = 10_000;

/// Nanoseconds that a cache line takes from `one` core to the `other` and back.
///
/// The host of a virtual machine moves its processors: two that shared a cache a second ago may be on different chips now,
/// ten times as far apart, and every rate between them is another one.
#[must_use]
pub fn distance_ns(one: u32, other: u32) -> f64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    #[repr(align(128))]
    struct Line(AtomicU64);
    let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    // Both are in their places before either spins: a thread born beside a spinning real-time one would not get to run.
    let placed = std::sync::Barrier::new(2);
    let wait_for = |line: &Line, turn: u64| {
        while line.0.load(Ordering::Acquire) < turn {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // An ordinary thread in its place does as well, only with more noise.
            let _ = measuring_thread(other);
            placed.wait();
            for turn in 1..=ROUND_TRIPS {
                wait_for(&there, turn);
                back.0.store(turn, Ordering::Release);
            }
        });
        let asking = scope.spawn(|| {
            let _ = measuring_thread(one);
            placed.wait();
            let start = monotonic_ns();
            for turn in 1..=ROUND_TRIPS {
                there.0.store(turn, Ordering::Release);
                wait_for(&back, turn);
            }
            (monotonic_ns() - start) as f64 / ROUND_TRIPS as f64
        });
        asking.join().unwrap_or(f64::INFINITY)
    })
}

/// Whether all of `cores` are quiet.
#[must_use]
pub fn is_quiet(cores: &[u32]) -> bool {
    cores.iter().all(|core| probe(*core) >= QUIET_SHARE)
}
