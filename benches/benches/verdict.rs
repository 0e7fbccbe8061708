//! How long a feature's verdict takes to act: from the store into the mapped table to the first frame that the classifier
//! drops because of it.
//!
//! What is fair: the classifier runs on one core, one frame after the other by the kernel's test-run, while another core
//! stores the verdict; the time ends when the run that dropped has returned. So it includes up to one run of a frame with
//! its system call, which is what stands in for the next frame's arrival, and nothing of a wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_benches::noise;
use weir_benches::report::{self, Words};
use weir_dataplane_io::Mapping;
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_ring::FlowTable;
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::flow::{FLOW_SLOTS, FlowVerdict};
use weir_ebpf_loader::{Classifier, LoadOptions, Verdict};

/// Cores of the storing thread and of the classifier.
const CORES: (u32, u32) = (1, 0);
/// Verdicts in each run.
const VERDICTS: usize = 2_000;

/// Times in nanoseconds from each store to its effect.
fn one_run(classifier: &Classifier, table: &FlowTable, frame: &[u8], flow: u64) -> Result<Vec<f64>> {
    let (dropped_ns, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| -> Result<()> {
            noise::measuring_thread(CORES.1)?;
            while !stop.load(Ordering::Relaxed) {
                let verdict = classifier.run(frame)?.verdict;
                let now = if verdict == Verdict::Drop { monotonic_ns() } else { 0 };
                dropped_ns.store(now, Ordering::Release);
            }
            Ok(())
        });
        let stored = (|| {
            noise::measuring_thread(CORES.0)?;
            let mut times = Vec::with_capacity(VERDICTS);
            for _ in 0..VERDICTS {
                let start = monotonic_ns();
                table.store(flow, FlowVerdict::new(flow, Action::Drop, 0, 0).verdict);
                let end = loop {
                    let at = dropped_ns.load(Ordering::Acquire);
                    if at >= start {
                        break at;
                    }
                    if monotonic_ns() - start > 1_000_000_000 || runner.is_finished() {
                        bail!("a verdict had no effect within a second");
                    }
                    std::hint::spin_loop();
                };
                times.push((end - start) as f64);
                table.store(flow, 0);
                while dropped_ns.load(Ordering::Acquire) != 0 && !runner.is_finished() {
                    std::hint::spin_loop();
                }
            }
            Ok(times)
        })();
        stop.store(true, Ordering::Relaxed);
        runner.join().unwrap_or_else(|_| bail!("the classifier's thread panicked"))?;
        stored
    })
}

fn percentile(times: &mut [f64], percent: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let place = (times.len() as f64 * percent / 100.0) as usize;
    times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or(0.0) / 1000.0
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    let classifier = Classifier::load(LoadOptions { pin_root: None })?;
    let length = FlowTable::length(FLOW_SLOTS as u32).next_multiple_of(4096);
    let mapping = Mapping::map_shared(classifier.flow_map_fd(), length, 0, true)?;
    let table = FlowTable::new(Arc::new(mapping), FLOW_SLOTS as u32)?;
    let mut traffic = Traffic::new(&TrafficSpec::pair(Content::Message { frame_bytes: 128 }))?;
    let frame = traffic.next(1).template.frame().to_vec();
    let flow = classifier.explain(&frame)?.flow;
    let (mut halves, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..words.runs {
        let mut times = one_run(&classifier, &table, &frame, flow)?;
        halves.push(percentile(&mut times, 50.0));
        tails.push(percentile(&mut times, 99.0));
    }
    let row = |case: &str, runs: &[f64]| BenchRow::of_runs(case, "us", Better::Lower, runs).context("no run counted");
    let rows = vec![row("store to drop, p50", &halves)?, row("store to drop, p99", &tails)?];
    report::print("verdict", "mapped table, classifier by test-run on another core", rows, &[])
}
