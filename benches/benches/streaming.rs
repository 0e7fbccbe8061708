//! What the streaming feature costs: events and frames a second on one core, samples in cache.

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_benches::noise::{self, BURST};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_dataplane_io::clock::monotonic_ns;
use weir_ebpf_abi::batch::BATCH_HEADER;
use weir_features_streaming::events::{MessageHead, announced, walk};
use weir_features_streaming::windows::{Settings, Windows};

const CORE: u32 = 1;
/// Stream time between two frames: a million frames a second.
const STEP_NS: u64 = 1_000;

/// Payloads of whole rounds of traffic, stamped up to 1 ms before `now`.
fn payloads(spec: &TrafficSpec, now: u64) -> Result<Vec<Vec<u8>>> {
    let mut traffic = Traffic::new(spec)?;
    let count = traffic.templates().count() as u64;
    Ok((0..count).map(|number| traffic.next(now - number * 997 % 1_000_000).template.payload().to_vec()).collect())
}

/// Items a second that the engine counts, in millions; `events` says whether items are events or frames.
fn rate(spec: &TrafficSpec, events: bool) -> Result<f64> {
    let mut now = 1_000_000_000_000;
    let payloads = payloads(spec, now)?;
    let measuring = std::thread::spawn(move || -> Result<f64> {
        noise::measuring_thread(CORE)?;
        let mut windows = Windows::new(&Settings::default());
        let (mut items, start) = (0_u64, monotonic_ns());
        let mut elapsed = 0;
        while elapsed < BURST.as_nanos() as u64 {
            for payload in &payloads {
                now += STEP_NS;
                windows.advance(now, &mut |_, _| {});
                let Some(head) = MessageHead::read(payload) else { continue };
                windows.message(now, u64::from(head.source), payload.len() as u64 + 42, head);
                if events {
                    let count = announced(payload).unwrap_or(0);
                    let whole = walk(&payload[BATCH_HEADER..], count, |event| windows.event(now, event));
                    windows.batch(count, whole);
                    items += u64::from(whole);
                } else {
                    items += 1;
                }
            }
            elapsed = monotonic_ns() - start;
        }
        Ok(items as f64 * 1e3 / elapsed as f64)
    });
    measuring.join().unwrap_or_else(|_| anyhow::bail!("the measuring thread panicked"))
}

fn main() -> Result<()> {
    let words = Words::read(7)?;
    noise::settle();
    let spec = |producers, content| TrafficSpec { producers, ..TrafficSpec::pair(content) };
    let batches = Content::Batch { events: 22, event_bytes: 64 };
    let cases = [
        ("64-byte events, 22 a frame, 1 source", spec(1, batches), true, Some(20.0)),
        ("64-byte events, 22 a frame, 16 sources", spec(16, batches), true, Some(20.0)),
        (
            "1024-byte events, 1 a frame, 16 sources",
            spec(16, Content::Batch { events: 1, event_bytes: 1024 }),
            true,
            None,
        ),
        ("64-byte messages, 16 sources", spec(16, Content::Message { frame_bytes: 106 }), false, None),
    ];
    let mut runs: Vec<Case<'_>> =
        cases.iter().map(|(name, spec, events, _)| Case::new(*name, || rate(spec, *events))).collect();
    let measured = alternate(&mut runs, words.runs, &[CORE])?;
    let mut rows = Vec::new();
    for ((name, _, events, goal), runs) in cases.iter().zip(&measured.runs) {
        let unit = if *events { "M events/s" } else { "M frames/s" };
        let row = BenchRow::of_runs(*name, unit, Better::Higher, runs);
        rows.extend(row.map(|row| goal.map_or(row.clone(), |goal| row.bounded(goal))));
    }
    report::print("streaming", "memory: one thread on one core, payloads in cache", rows, &[measured.note()])
}
