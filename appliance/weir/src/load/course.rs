//! What the load tools that shed have in common: a watched run through the box or over a ring in memory, its figures and its course.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use weir_appliance_console::load::{COLUMNS, Course, Point, Progress, Reading, RigWish};
use weir_appliance_control::message::{BenchReport, BenchRow, Better};
use weir_appliance_control::problem::Problem;
use weir_appliance_lab::load::{Ledger, Overload, PhaseBooks, Tally, overload};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};

use super::{count, crowded, events_per_frame};
use crate::demo;

/// How often the line of progress is renewed.
const RENEW: Duration = Duration::from_millis(100);
/// Source agents that take turns.
const PRODUCERS: u32 = 16;
/// Most bytes that a run may add to the process: its ring, frames and histograms are below 16 MiB, the rest is slack.
const GROWTH_BYTES: u64 = 32 << 20;
/// A 99th percentile has come back when it is at most this many times what it was.
const FACTOR: f64 = 2.0;
/// Below this, in microseconds, a 99th percentile is that of the host's scheduler, and counts as come back.
const FLOOR_US: f64 = 1000.0;
/// Stands for the latency of a phase of which nothing came, in microseconds: the longest that is told apart.
const NEVER_US: f64 = 60e6;
/// Parts of a run in its chart.
pub(super) const SLICES: usize = COLUMNS;

/// What a run goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rig {
    /// The box itself, on veth pairs.
    Wired,
    /// A ring in memory, and why not the box where that was not wished.
    Memory(Option<String>),
}

/// The rig that was wished, as far as `fits`: what stands in the way of the box with this plan, if anything does.
pub(super) fn rig(wish: RigWish, fits: Result<(), Problem>) -> Result<Rig> {
    let refused = match demo::missing() {
        Some(missing) => Some(missing),
        None => fits.as_ref().err().map(ToString::to_string),
    };
    match (wish, refused) {
        (RigWish::Memory, _) => Ok(Rig::Memory(None)),
        (_, None) => Ok(Rig::Wired),
        (RigWish::Auto, why) => Ok(Rig::Memory(why)),
        (RigWish::Wired, Some(why)) => bail!("--rig wired: {why}"),
    }
}

/// Runs what is specified on `rig`, with a line of progress on a terminal.
pub(super) fn run(rig: &Rig, spec: &Overload, content: Content) -> Result<Ledger> {
    match rig {
        Rig::Wired => crowded::run(spec, content, PRODUCERS),
        Rig::Memory(why) => {
            let mut ledger = in_memory(spec, content)?;
            if let Some(why) = why {
                ledger.rig += &format!(" (not the box: {why})");
            }
            Ok(ledger)
        }
    }
}

fn in_memory(spec: &Overload, content: Content) -> Result<Ledger> {
    let mut traffic = Traffic::new(&TrafficSpec { producers: PRODUCERS, ..TrafficSpec::pair(content) })?;
    let tally = Tally::default();
    let events = events_per_frame(content);
    Ok(watch(spec.duration(), events, &tally, || overload(spec, &mut traffic, &tally))??)
}

/// Does `work` in a thread of its own and shows on a terminal how far it is, of `total`. A frame counts as `events`.
pub(super) fn watch<T: Send>(
    total: Duration,
    events: f64,
    tally: &Tally,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    let start = Instant::now();
    let mut progress = Progress::on_stderr();
    let done = std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            std::thread::sleep(RENEW);
            let counts = <[u64; 3]>::from(tally.read()).map(|frames| (frames as f64 * events) as u64);
            let [offered, shed, delivered] = counts;
            progress.show(Reading { elapsed: start.elapsed(), total, offered, delivered, shed });
        }
        working.join()
    });
    progress.clear();
    done.map_err(|_| anyhow!("the sender panicked; run again with RUST_BACKTRACE=1 and report it"))
}

/// The figures that every such tool shows, in events: what was offered, what came, what was shed and why, what is missing.
pub(super) fn rows(ledger: &Ledger, content: Content) -> Vec<Option<BenchRow>> {
    let events = |frames: u64| frames as f64 * events_per_frame(content);
    let row = |case: &str, value: f64, better| BenchRow::of_runs(case, "events", better, &[value]);
    let ((total, unaccounted), shed) = (ledger.total(), ledger.shed());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let memory = |case: &str, bytes: u64| BenchRow::of_runs(case, "MiB", Better::Lower, &[mib(bytes)]);
    vec![
        row("offered", events(total.offered), Better::Higher),
        row("delivered", events(total.delivered), Better::Higher),
        row("shed: ring full", events(shed.ring_full), Better::Lower),
        row("shed: sender late", events(shed.sender_late), Better::Lower),
        row("lost without a count", events(unaccounted), Better::Lower).map(|row| row.bounded(0.0)),
        count("doubled", total.doubled).map(|row| row.bounded(0.0)),
        BenchRow::of_runs("sender late at worst", "us", Better::Lower, &[ledger.behind_ns as f64 / 1000.0]),
        memory("resident before", ledger.footprint.before),
        memory("resident at most", ledger.footprint.highest),
        memory("resident grown", ledger.footprint.grown()).map(|row| row.bounded(mib(GROWTH_BYTES))),
    ]
}

/// The 99th percentile of a phase in microseconds.
pub(super) fn p99_us(phase: &PhaseBooks) -> f64 {
    phase.latency.at(99.0).map_or(NEVER_US, |ns| ns as f64 / 1000.0)
}

/// The most that a 99th percentile may be to count as come back to what it was, in microseconds.
pub(super) fn back_us(before_us: f64) -> f64 {
    (before_us * FACTOR).max(FLOOR_US)
}

/// A latency in microseconds.
pub(super) fn latency(case: impl Into<String>, us: f64) -> Option<BenchRow> {
    BenchRow::of_runs(case, "us", Better::Lower, &[us])
}

/// A tool's report, with what it went through and what held it back.
pub(super) fn report(bench: &str, ledger: &Ledger, consumer: &str, rows: Vec<Option<BenchRow>>) -> BenchReport {
    let Ledger { rig, generator, .. } = ledger;
    BenchReport {
        bench: bench.into(),
        rig: format!("{rig}; generator: {generator}; consumer: {consumer}; bottleneck: {}", ledger.bottleneck()),
        host: weir_appliance_lab::host::read(),
        rows: rows.into_iter().flatten().collect(),
    }
}

/// How the run went over time, in events.
pub(super) fn course(ledger: &Ledger, content: Content) -> Course {
    let per_second = |frames: u64| frames as f64 * events_per_frame(content) / ledger.slice.as_secs_f64();
    let points = ledger.slices.iter().map(|slice| Point {
        offered: per_second(slice.offered),
        delivered: per_second(slice.delivered),
        shed: per_second(slice.shed),
        p99_us: slice.p99_ns.map(|ns| ns as f64 / 1000.0),
    });
    Course { step: ledger.slice, points: points.collect() }
}
