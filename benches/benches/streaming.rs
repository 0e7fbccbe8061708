//! What the streaming feature costs: events and frames a second on one core, samples in cache.

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{counting, noise, wire};

/// M events a second of 64 bytes, whatever the number of sources.
const GOAL: f64 = 20.0;

fn main() -> Result<()> {
    let words = Words::read(7)?;
    noise::settle();
    let spec = |producers, content| TrafficSpec { producers, ..TrafficSpec::pair(content) };
    let batches = Content::Batch { events: 22, event_bytes: 64 };
    let cases = [
        ("64-byte events, 22 a frame, 1 source", spec(1, batches), Some(GOAL)),
        ("64-byte events, 22 a frame, 16 sources", spec(16, batches), Some(GOAL)),
        ("64-byte events, 22 a frame, 100 sources", spec(100, batches), Some(GOAL)),
        ("1024-byte events, 1 a frame, 16 sources", spec(16, Content::Batch { events: 1, event_bytes: 1024 }), None),
        ("64-byte messages, 16 sources", spec(16, Content::Message { frame_bytes: 106 }), None),
        ("64-byte messages, 1000 sources", spec(1000, Content::Message { frame_bytes: 106 }), None),
    ];
    let mut runs: Vec<Case<'_>> =
        cases.iter().map(|(name, spec, _)| Case::new(*name, || counting::rate(spec))).collect();
    let measured = alternate(&mut runs, words.runs, &[wire::RECEIVER])?;
    let mut rows = Vec::new();
    for ((name, spec, goal), runs) in cases.iter().zip(&measured.runs) {
        let unit = if matches!(spec.content, Content::Batch { .. }) { "M events/s" } else { "M frames/s" };
        let row = BenchRow::of_runs(*name, unit, Better::Higher, runs);
        rows.extend(row.map(|row| goal.map_or(row.clone(), |goal| row.bounded(goal))));
    }
    let rig =
        format!("memory: one thread on one core, payloads in cache, {} instructions", counting::instructions()?.name());
    report::print("streaming", &rig, rows, &[measured.note()])
}
