//! Inner loops with each set of instructions that the processor has, beside what every processor has.
//!
//! What is fair: the same compiled functions as in the feature, with the set forced; words and events are in the cache,
//! so memory does not hide what instructions save. Cases are alternated.

use std::hint::black_box;

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_benches::counting;
use weir_benches::noise::{self, BURST};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_dataplane_io::clock::monotonic_ns;
use weir_ebpf_abi::batch::BATCH_HEADER;
use weir_features_streaming::columns::Columns;
use weir_features_streaming::events::{announced, walk};
use weir_features_streaming::filter::{COLUMN, Column};
use weir_features_streaming::histogram::{LATENCY_LIMIT_NS, bucket};
use weir_features_streaming::simd::Simd;
use weir_features_streaming::windows::{Settings, Windows};

const CORE: u32 = 1;
/// Clock of the traffic.
const NOW: u64 = 1_000_000_000_000;
/// Turns between two looks at the clock.
const TURNS: u64 = 2_000;
/// A wider set has to be faster than none to stay.
const GOAL: f64 = 1.0;

/// An inner loop.
#[derive(Clone, Copy)]
enum Loop {
    /// Headers of 22 events into columns with latencies and buckets; walked where there are no columns.
    HeaderScan,
    /// The same, and counted in the table of 16 sources.
    CountEvents,
    /// A flow among 64 that is the 40th.
    FindFlow,
    /// A flow that is not among 64, and the least of them, which makes room.
    EvictFlow,
}

const LOOPS: [(Loop, &str, u64); 4] = [
    (Loop::HeaderScan, "22 events of 64 bytes, headers", 22),
    (Loop::CountEvents, "22 events of 64 bytes, counted", 22),
    (Loop::FindFlow, "a flow of 64, found", 1),
    (Loop::EvictFlow, "a flow of 64, evicted", 1),
];

/// Calls `turn` for one burst on the measuring core; nanoseconds of each call.
fn time(mut turn: impl FnMut(u64)) -> Result<f64> {
    noise::measuring_thread(CORE)?;
    let (mut turns, start) = (0, monotonic_ns());
    loop {
        for number in 0..TURNS {
            turn(turns + number);
        }
        turns += TURNS;
        let elapsed = monotonic_ns() - start;
        if elapsed >= BURST.as_nanos() as u64 / 2 {
            return Ok(elapsed as f64 / turns as f64);
        }
    }
}

/// What the header scan finds without columns: the same words, one event after the other.
fn walked(columns: &mut Columns, events: &[u8], count: u16) {
    let mut at = 0;
    walk(events, count, |event| {
        let latency = NOW.wrapping_sub(event.stamp_ns);
        columns.keys[at] = u64::from(event.source) << 32 | u64::from(event.kind);
        columns.latencies[at] = latency;
        columns.buckets[at] = if latency < LATENCY_LIMIT_NS { bucket(latency) as u64 } else { 0 };
        at += 1;
    });
}

/// Nanoseconds for each item of one loop.
fn nanoseconds(which: Loop, items: u64, simd: Simd, batches: &[Vec<u8>]) -> Result<f64> {
    let mut columns = Columns::new();
    let mut windows = Windows::new(&Settings { simd, ..Settings::default() });
    let column = Column(std::array::from_fn::<u64, COLUMN, _>(|place| (place as u64 + 1) << 20 | 0xfff));
    let events = |number: u64| {
        let batch = &batches[number as usize % batches.len()];
        (batch.get(BATCH_HEADER..).unwrap_or_default(), announced(batch).unwrap_or(0))
    };
    let each = match which {
        Loop::HeaderScan => time(|number| {
            let (events, count) = events(number);
            if columns.take(simd, NOW, events, count).is_none() {
                walked(&mut columns, events, count);
            }
            black_box(&mut columns);
        }),
        Loop::CountEvents => time(|number| {
            let (events, count) = events(number);
            black_box(windows.events(NOW, events, count));
        }),
        Loop::FindFlow => time(|_| {
            black_box(black_box(&column).position(simd, COLUMN, black_box(40 << 20 | 0xfff)));
        }),
        Loop::EvictFlow => time(|number| {
            black_box(black_box(&column).position(simd, COLUMN, black_box(number)));
            black_box(black_box(&column).least(simd));
        }),
    }?;
    Ok(each / items as f64)
}

fn main() -> Result<()> {
    let words = Words::read(7)?;
    noise::settle();
    let content = Content::Batch { events: 22, event_bytes: 64 };
    let batches = counting::payloads(&TrafficSpec { producers: 16, ..TrafficSpec::pair(content) }, NOW)?;
    let sets = Simd::available();
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (which, name, items) in LOOPS {
        let measured_on_a_thread = |simd: Simd| {
            std::thread::scope(|scope| {
                let measuring = scope.spawn(|| nanoseconds(which, items, simd, &batches));
                measuring.join().unwrap_or_else(|_| anyhow::bail!("the measuring thread panicked"))
            })
        };
        let mut cases: Vec<Case<'_>> =
            sets.iter().map(|simd| Case::new(simd.name(), move || measured_on_a_thread(*simd))).collect();
        let measured = alternate(&mut cases, words.runs, &[CORE])?;
        for (simd, runs) in sets.iter().zip(&measured.runs).skip(1) {
            let case = format!("{name}: {}", simd.name());
            let row = BenchRow::of_runs(case, "ns", Better::Lower, runs);
            rows.extend(row.map(|row| row.beside("scalar", &measured.runs[0], GOAL)));
        }
        notes.push(format!("{name}: {}", measured.note()));
    }
    let names: Vec<&str> = sets.iter().map(|simd| simd.name()).collect();
    report::print("simd", &format!("memory: one core, in cache; the processor has {}", names.join(", ")), rows, &notes)
}
