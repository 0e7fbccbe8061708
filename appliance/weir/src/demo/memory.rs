//! The demo without privilege: generator and feature are threads of this process, joined by a ring of the kernel's layout.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use weir_appliance_console::demo::DemoArgs;
use weir_appliance_control::message::{BenchReport, Better};
use weir_appliance_lab::load;
use weir_appliance_lab::load::{MemoryRig, MemorySpec};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_dataplane_io::clock;
use weir_dataplane_ring::Record;
use weir_ebpf_abi::flow::FlowVerdict;
use weir_features_streaming::Streaming;
use weir_features_streaming::rows::{StreamRow, kind};
use weir_features_worker::feature::{Feature, TICK_NS};
use weir_features_worker::outputs::Outputs;
use weir_features_worker::taker::{Taker, TakerCounts, TakerRing};
use zerocopy::FromBytes;

use super::figures::{self, once};
use crate::instructions;

/// Frames of 22 events a second: 220,000 events, a small part of what a core counts.
const BATCHES_PER_SECOND: f64 = 10_000.0;
/// Pause of a taker that found nothing.
const IDLE: Duration = Duration::from_micros(200);

/// Runs the demo on a ring in memory.
pub(super) fn run(args: &DemoArgs, out: &mut dyn Write) -> Result<BenchReport> {
    let rig = MemoryRig::new(&MemorySpec::default())?;
    let described = rig.describe();
    let batches = TrafficSpec { producers: 4, ..TrafficSpec::pair(Content::Batch { events: 22, event_bytes: 64 }) };
    let mut traffic = Traffic::new(&batches)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut sender, sending) = (rig.sender, Arc::clone(&stop));
    let generator = std::thread::spawn(move || load::drive(&mut sender, &mut traffic, BATCHES_PER_SECOND, &sending));
    let parts = rig.taker;
    let ring = TakerRing::new(parts.reader, parts.slot, 0);
    let taker = Taker::new(vec![ring], parts.view, parts.cursors, None, u32::MAX);
    let taken = work(taker, args, out);
    stop.store(true, Ordering::Relaxed);
    let sent = generator.join().map_err(|_| anyhow!("the generator panicked; run again with RUST_BACKTRACE=1"))??;
    let taken = taken?;
    let per_second = |count: u64| count as f64 / taken.seconds.max(f64::EPSILON);
    let micros = |ns: u64| ns as f64 / 1000.0;
    Ok(figures::report(
        described,
        vec![
            once("sent", "1/s", Better::Higher, per_second(sent)),
            once("taken", "1/s", Better::Higher, per_second(taken.counts.frames)),
            once("bytes", "MB/s", Better::Higher, per_second(taken.counts.bytes) / 1e6),
            once("no metadata", "frames", Better::Lower, taken.counts.without_metadata as f64),
            once("records", "1/s", Better::Higher, per_second(taken.records)),
            once("latency p50", "us", Better::Lower, micros(taken.p50_ns)),
            once("latency p99", "us", Better::Lower, micros(taken.p99_ns)),
        ],
    ))
}

#[derive(Default)]
struct Taken {
    counts: TakerCounts,
    records: u64,
    p50_ns: u64,
    p99_ns: u64,
    seconds: f64,
}

/// The worker's loop as a thread of this process, with a line a second.
fn work(mut taker: Taker, args: &DemoArgs, out: &mut dyn Write) -> Result<Taken> {
    let mut feature = Streaming::make(&instructions::settings()?);
    let (mut records, mut verdicts): (Vec<Record>, Vec<FlowVerdict>) = (Vec::new(), Vec::new());
    let mut taken = Taken::default();
    let start = Instant::now();
    let mut next_tick = clock::monotonic_ns() + TICK_NS;
    let mut next_line = start + Duration::from_secs(1);
    while start.elapsed() < args.minutes {
        let mut outputs = Outputs::new(Streaming::ID, &mut records, &mut verdicts);
        let handed = taker.poll(&mut feature, &mut outputs, clock::monotonic_ns);
        let now = clock::monotonic_ns();
        if now >= next_tick {
            feature.on_tick(now, &mut outputs);
            next_tick = now + TICK_NS;
        }
        for record in records.drain(..) {
            note(&mut taken, &record);
        }
        if Instant::now() >= next_line {
            next_line += Duration::from_secs(1);
            let frames = taker.counts().frames - taken.counts.frames;
            taken.counts = taker.counts();
            if !args.json {
                writeln!(out, "{:>5.0} s  taken {frames}  records {}", start.elapsed().as_secs_f64(), taken.records)?;
            }
        }
        if handed == 0 {
            std::thread::sleep(IDLE);
        }
    }
    taken.counts = taker.counts();
    taken.seconds = start.elapsed().as_secs_f64();
    Ok(taken)
}

fn note(taken: &mut Taken, record: &Record) {
    taken.records += 1;
    if record.kind != kind::WINDOW_1S {
        return;
    }
    if let Ok((row, _)) = StreamRow::read_from_prefix(&record.body) {
        taken.p50_ns = taken.p50_ns.max(row.latency_p50_ns);
        taken.p99_ns = taken.p99_ns.max(row.latency_p99_ns);
    }
}
