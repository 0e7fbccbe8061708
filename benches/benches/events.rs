//! Events from the wire to per-source counts of one minute: frames of many small events, and of one large event each.
//!
//! The whole path on two cores: one makes the frames, runs the kernel's receive path and the classifier; the other has the
//! worker, a process without privileges, and the pool. A rate is of events that were counted, over the time of sending.
//! Every run checks the books: each event that was made was counted in a window or its frame is in a drop counter, and the
//! windows of one minute say the same of every source.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_appliance_control::message::{BenchRow, Better, Counters};
use weir_appliance_control::taker::FeatureName;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::live::Live;
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{boxed, counting, noise, wire};

const SOURCES: u32 = 16;
/// Records asked for: more than a run's seconds give.
const RECORDS: u32 = 4096;
/// Hugepages for the frames.
const HUGEPAGES: u64 = 64;
/// How long the windows of a burst may take to close, the minute's included.
const CLOSED_WITHIN: Duration = Duration::from_secs(150);

const CONFIG: &str = "features: {streaming: {enabled: true, wait: spin}}
rules: [{name: batches, match: \"udp dport 48102\", action: deliver, to: [streaming]}]
";

/// What a frame carries, and how much is asked.
struct Shape {
    name: &'static str,
    events: u32,
    event_bytes: u32,
    /// Frames of a burst: about half a second.
    frames: u32,
    /// Least millions of events a second, on the wire and of the feature alone.
    goal: f64,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "64-byte events", events: 22, event_bytes: 64, frames: 1 << 20, goal: 20.0 },
    Shape { name: "1024-byte events", events: 1, event_bytes: 1024, frames: 1 << 20, goal: 2.0 },
];

impl Shape {
    fn traffic(&self) -> TrafficSpec {
        let content = Content::Batch { events: self.events, event_bytes: self.event_bytes };
        TrafficSpec { producers: SOURCES, ..TrafficSpec::pair(content) }
    }
}

/// What one burst came to.
#[derive(Clone, Debug)]
struct Burst {
    seconds: f64,
    /// Events made.
    offered: u64,
    /// Events counted in windows of one second.
    counted: u64,
    /// Frames between the generator and the classifier that nobody saw: the wire's own queue.
    unseen: u64,
    /// Frames that the classifier saw and no worker got, by reason.
    dropped: BTreeMap<String, u64>,
}

impl Burst {
    /// Millions of events counted for each second of sending.
    fn rate(&self) -> f64 {
        self.counted as f64 / self.seconds / 1e6
    }

    /// Events lost, in hundredths of those offered.
    fn lost(&self) -> f64 {
        (1.0 - self.counted as f64 / self.offered.max(1) as f64) * 100.0
    }
}

/// Events of every source in the windows of this length that the feature has closed.
fn counts(appliance: &Appliance, window_ms: u64) -> Result<BTreeMap<u64, u64>> {
    let feature: FeatureName = "streaming".parse()?;
    let mut counts = BTreeMap::new();
    for row in appliance.records(feature, RECORDS)? {
        let number = |field: &str| row[field].as_u64();
        if row["scope"] == "event" && number("window_ms") == Some(window_ms) {
            let (source, count) = (number("source").context("a row's source")?, number("count").unwrap_or(0));
            *counts.entry(source).or_default() += count;
        }
    }
    Ok(counts)
}

/// Waits until the closed windows of this length hold `events` events; gives them by source.
fn closed(appliance: &Appliance, window_ms: u64, events: u64) -> Result<BTreeMap<u64, u64>> {
    let end = Instant::now() + CLOSED_WITHIN;
    loop {
        let counts = counts(appliance, window_ms)?;
        let sum: u64 = counts.values().sum();
        ensure!(sum <= events, "windows of {window_ms} ms counted {sum} events, {events} were delivered");
        if sum == events {
            return Ok(counts);
        }
        ensure!(
            Instant::now() < end,
            "windows of {window_ms} ms counted {sum} of {events} delivered events within {CLOSED_WITHIN:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn dropped(before: &Counters, after: &Counters) -> BTreeMap<String, u64> {
    let more =
        |(reason, count): (&String, &u64)| (reason.clone(), count - before.dropped.get(reason).copied().unwrap_or(0));
    after.dropped.iter().map(more).filter(|(_, count)| *count > 0).collect()
}

/// One burst through a fresh appliance; with `minute`, until the window of one minute has closed over it.
fn burst(lab: &Lab, shape: &Shape, minute: bool) -> Result<Burst> {
    let (outside, inside) = (lab.node("outside")?, lab.node("box")?);
    let mut appliance = boxed::start(lab, inside, CONFIG)?;
    let mut live = Live::new(outside, "wire0", &shape.traffic())?;
    let before = boxed::at_rest(&appliance)?;
    boxed::set_real_time(&before, true)?;
    let seconds = boxed::timed_burst(outside, &mut live, shape.frames);
    boxed::set_real_time(&before, false)?;
    let seconds = seconds?;
    let after = boxed::at_rest(&appliance)?;
    let received = after.counters.received - before.counters.received;
    let delivered = (after.counters.delivered - before.counters.delivered) * u64::from(shape.events);
    let offered = live.events()?;
    let counted = closed(&appliance, 1_000, delivered)?;
    if minute {
        let minutes = closed(&appliance, 60_000, delivered)?;
        ensure!(minutes == counted, "the minute says {minutes:?}, its seconds say {counted:?}");
        ensure!(minutes.len() == SOURCES as usize, "{} sources were counted, {SOURCES} sent", minutes.len());
    }
    appliance.stop();
    let burst = Burst {
        seconds,
        offered,
        counted: counted.values().sum(),
        unseen: live.sent()?.saturating_sub(received),
        dropped: dropped(&before.counters, &after.counters),
    };
    let lost = (burst.unseen + burst.dropped.values().sum::<u64>()) * u64::from(shape.events);
    ensure!(burst.offered == burst.counted + lost, "{offered} events were offered, {delivered} counted, {lost} lost");
    Ok(burst)
}

/// The worst of all runs, disturbed ones included: how much of what was offered was lost, and where.
fn losses(bursts: &[Burst]) -> String {
    let Some(worst) = bursts.iter().max_by(|one, other| one.lost().total_cmp(&other.lost())) else {
        return "no run".to_owned();
    };
    let reasons: Vec<String> = worst.dropped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let reasons = if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") };
    format!(
        "worst run: offered {} events, counted {}, lost {:.1} %; frames dropped: {reasons}; frames lost before the classifier: {}",
        worst.offered,
        worst.counted,
        worst.lost(),
        worst.unseen
    )
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    Lab::sweep()?;
    let mut lab = Lab::create(&LabSpec::pair())?;
    let pages = lab.reserve_hugepages(HUGEPAGES)?;
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for shape in &SHAPES {
        let bursts = RefCell::new(Vec::new());
        let mut cases = [
            Case::new(shape.name, || {
                let burst = burst(&lab, shape, false)?;
                let figures = (burst.rate(), burst.lost());
                bursts.borrow_mut().push(burst);
                Ok(figures)
            }),
            Case::new("the feature alone", || Ok((counting::rate(&shape.traffic())?, 0.0))),
        ];
        let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
        drop(cases);
        let row = |case: &str, unit: &str, runs: &[f64]| {
            BenchRow::of_runs(format!("{}, {case}", shape.name), unit, Better::Higher, runs)
        };
        let [wired, alone] = [0, 1].map(|case| measured.runs[case].iter().map(|(rate, _)| *rate).collect::<Vec<f64>>());
        let frames: Vec<f64> = wired.iter().map(|rate| rate / f64::from(shape.events)).collect();
        let lost: Vec<f64> = measured.runs[0].iter().map(|(_, lost)| *lost).collect();
        rows.extend(row("wire to counts", "M events/s", &wired).map(|row| row.bounded(shape.goal)));
        rows.extend(row("frames counted", "M frames/s", &frames));
        rows.extend(BenchRow::of_runs(format!("{}, lost", shape.name), "% of offered", Better::Lower, &lost));
        rows.extend(row("feature alone", "M events/s", &alone).map(|row| row.bounded(shape.goal)));
        notes.push(format!("{}: {} a frame; {}", shape.name, shape.events, measured.note()));
        notes.push(format!("{}: {}", shape.name, losses(&bursts.borrow())));
        let whole = burst(&lab, shape, true)?;
        notes.push(format!(
            "{}: the minute's windows hold all {} events of {SOURCES} sources that were not lost",
            shape.name, whole.counted
        ));
    }
    let rig = format!(
        "veth pair, native XDP, AF_XDP copy mode, {pages} hugepages, live frames on core {}, worker on core {}, {} instructions; alone: memory",
        wire::GENERATOR,
        wire::RECEIVER,
        counting::instructions()?.name()
    );
    report::print("events", &rig, rows, &notes)
}
