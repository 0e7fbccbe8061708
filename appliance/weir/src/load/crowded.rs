//! Phases of load through the box itself: frames leave an AF_XDP transmit ring, and a worker that may be slow on purpose
//! takes them. What its ring cannot hold the kernel counts, and the books of both ends must agree.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use weir_appliance_console::load::{Progress, Reading};
use weir_appliance_control::message::{Counters, Request, Status};
use weir_appliance_lab::Lab;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::load::{
    Footprint, Latency, Ledger, Overload, PhaseBooks, PhaseSent, Shed, Slice, SourceBooks, Tally, drive_phases,
};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_dataplane_io::clock::monotonic_ns;

use super::wired::{self, DRAIN, SourceSeen};

/// From the moment at which everything stands to the first frame.
const LEAD: Duration = Duration::from_millis(200);
/// How often the box is asked: its auditing worker writes as often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who takes batches, and who takes messages.
const TAKERS: [&str; 2] = ["test2", "test1"];

/// What was seen of the box while frames came.
struct Seen {
    start_ns: u64,
    slices: Vec<Slice>,
    slice_ns: u64,
    /// Frames shed on the ring, by phase.
    shed: Vec<u64>,
    /// (until, p50, p99, longest) of the worker's intervals, in nanoseconds.
    intervals: BTreeMap<u64, [u64; 3]>,
    footprint: Footprint,
    last: Counters,
    /// When the box was asked last, from the start.
    looked_ns: u64,
    /// The first look after the last phase with losses at which the worker was not behind, from the start.
    drained_ns: Option<u64>,
    lost_until_ns: u64,
}

/// Offers frames of `content` from `producers` agents in phases, and keeps the books.
///
/// # Errors
/// The lab cannot be made, or the box does not run.
pub(super) fn run(spec: &Overload, content: Content, producers: u32) -> Result<Ledger> {
    let taker = if matches!(content, Content::Batch { .. }) { TAKERS[0] } else { TAKERS[1] };
    Lab::sweep()?;
    let lab = Lab::create(&weir_appliance_lab::LabSpec::line())?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let config = format!("{}memory: {{rx_ring: {}}}\n", wired::CONFIG, spec.ring);
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &program, &config)?;
    let _sink = wired::sink(&lab, "left")?;
    slow(&appliance, taker, spec)?;
    let mut sender = XdpSender::new(lab.node("left")?, "wire0")?;
    let bare = TrafficSpec { producers, ..TrafficSpec::pair(content) };
    let mut traffic = Traffic::new(&TrafficSpec { path: wired::path(&bare, 0), ..bare })?;
    let generator = sender.describe();
    let before = appliance.status()?;
    let start_ns = monotonic_ns() + LEAD.as_nanos() as u64;
    let tally = Tally::default();
    let mut seen = Seen::new(spec, start_ns, &before);
    let sent = std::thread::scope(|scope| -> Result<Vec<PhaseSent>> {
        let sending = scope.spawn(|| drive_phases(&mut sender, &mut traffic, &spec.phases, start_ns, &tally));
        let mut progress = Progress::on_stderr();
        while !sending.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            seen.look(&appliance, taker, spec)?;
            progress.show(seen.reading(spec, &tally, &before.counters));
        }
        progress.clear();
        sending.join().map_err(|_| anyhow!("the sender panicked; run again with RUST_BACKTRACE=1"))?.map_err(Into::into)
    })?;
    let total: u64 = sent.iter().map(|phase| phase.sent).sum();
    let taken = |counters: &Counters| counters.per_taker.values().sum::<u64>();
    let settled = appliance.wait_until("all frames are taken", DRAIN, |status| {
        let counters = &status.counters;
        counters.received >= before.counters.received + total && taken(counters) >= counters.delivered
    });
    let counters = settled.or_else(|_| appliance.status())?.counters;
    seen.look(&appliance, taker, spec)?;
    let account = wired::last_word(&appliance, taken(&counters))?;
    let dropped = ring_drops(&counters) - ring_drops(&before.counters);
    appliance.stop();
    let came: BTreeMap<u32, SourceSeen> = account.sources.into_iter().collect();
    let sources = traffic.sent().map(|(source, sent)| {
        let SourceSeen { delivered, doubled } = came.get(&source).copied().unwrap_or_default();
        // What did not come was shed on the ring; that their sum is what the box counted is asked below.
        SourceBooks { source, offered: sent, shed: sent.saturating_sub(delivered), delivered, doubled }
    });
    let mut sources: Vec<SourceBooks> = sources.collect();
    let missing: u64 = sources.iter().map(|source| source.shed).sum();
    // Frames the sender gave up have no number, so they belong to no source.
    let given_up: u64 = sent.iter().map(|phase| phase.offered - phase.sent).sum();
    sources.push(SourceBooks { source: 0, offered: given_up, shed: given_up, delivered: 0, doubled: 0 });
    let uncounted = missing.abs_diff(dropped);
    Ok(seen.ledger(spec, &sent, sources, generator, uncounted))
}

/// Has the worker rest after each batch as long as `spec` says.
fn slow(appliance: &Appliance, taker: &str, spec: &Overload) -> Result<()> {
    let delay_us = spec.consumer.delay.as_micros() as u64; // a second at most
    if delay_us == 0 {
        return Ok(());
    }
    let feature = taker.parse().map_err(|problem| anyhow!("{problem}"))?;
    let seconds = (spec.duration() + LEAD + DRAIN).as_secs() + 1;
    appliance.ask(&Request::ChaosSlow { feature, delay_us, seconds })?;
    Ok(())
}

/// Frames that the box dropped because a ring was full.
fn ring_drops(counters: &Counters) -> u64 {
    counters.dropped.values().sum()
}

impl Seen {
    fn new(spec: &Overload, start_ns: u64, before: &Status) -> Self {
        let slice_ns = (spec.duration().as_nanos() as u64 / spec.slices.max(1) as u64).max(1);
        let mut slices = vec![Slice::default(); spec.slices];
        let mut from = 0.0;
        for phase in &spec.phases {
            // What was due is known beforehand, by the schedule.
            let until = from + phase.duration.as_secs_f64();
            for (slice, number) in slices.iter_mut().zip(0_u32..) {
                let (start, end) =
                    (f64::from(number) * slice_ns as f64 / 1e9, f64::from(number + 1) * slice_ns as f64 / 1e9);
                let shared = (end.min(until) - start.max(from)).max(0.0);
                slice.offered += (shared * phase.per_second) as u64;
            }
            from = until;
        }
        let held = memory(before);
        Self {
            start_ns,
            slices,
            slice_ns,
            shed: vec![0; spec.phases.len()],
            intervals: BTreeMap::new(),
            footprint: Footprint { before: held, highest: held },
            last: before.counters.clone(),
            looked_ns: 0,
            drained_ns: None,
            lost_until_ns: 0,
        }
    }

    /// Asks the box, and enters what has changed where it belongs.
    fn look(&mut self, appliance: &Appliance, taker: &str, spec: &Overload) -> Result<()> {
        let status = appliance.status()?;
        let now_ns = monotonic_ns().saturating_sub(self.start_ns);
        let counters = &status.counters;
        let (delivered, lost) =
            (counters.delivered - self.last.delivered, ring_drops(counters) - ring_drops(&self.last));
        self.spread(now_ns, delivered, lost);
        let phase = phase_at(spec, now_ns.saturating_sub(LOOK_EVERY.as_nanos() as u64 / 2));
        if let Some(shed) = self.shed.get_mut(phase) {
            *shed += lost;
        }
        if lost > 0 {
            (self.lost_until_ns, self.drained_ns) = (now_ns, None);
        }
        let feature = taker.parse().map_err(|problem| anyhow!("{problem}"))?;
        let behind = status.features.iter().find(|status| status.name == feature).map_or(0, |status| status.behind);
        if behind <= u64::from(spec.consumer.batch) && lost == 0 && self.drained_ns.is_none() {
            self.drained_ns = Some(now_ns);
        }
        self.footprint.highest = self.footprint.highest.max(memory(&status));
        self.last = status.counters;
        for row in appliance.records(feature, RECORDS)? {
            let number = |field: &str| row.get(field).and_then(serde_json::Value::as_u64).unwrap_or(0);
            if row.get("kind").and_then(serde_json::Value::as_str) == Some("interval") && number("stamped") > 0 {
                let figures = ["p50_ns", "p99_ns", "longest_ns"].map(number);
                self.intervals.insert(number("until_ns").saturating_sub(self.start_ns), figures);
            }
        }
        Ok(())
    }

    /// Enters what came and what was lost since the last look evenly into the slices between.
    fn spread(&mut self, now_ns: u64, delivered: u64, lost: u64) {
        let from_ns = std::mem::replace(&mut self.looked_ns, now_ns);
        let last = self.slices.len().saturating_sub(1);
        let first = ((from_ns / self.slice_ns) as usize).min(last);
        let until = ((now_ns.saturating_sub(1) / self.slice_ns) as usize).clamp(first, last);
        let count = (until - first + 1) as u64;
        for (index, slice) in self.slices.iter_mut().skip(first).take(count as usize).enumerate() {
            // Cumulative shares, so that nothing is lost to rounding.
            let share = |all: u64| all * (index as u64 + 1) / count - all * index as u64 / count;
            (slice.delivered, slice.shed) = (slice.delivered + share(delivered), slice.shed + share(lost));
        }
    }

    fn reading(&self, spec: &Overload, tally: &Tally, before: &Counters) -> Reading {
        let [offered, ..] = <[u64; 3]>::from(tally.read());
        let elapsed = Duration::from_nanos(monotonic_ns().saturating_sub(self.start_ns));
        let (delivered, shed) = (self.last.delivered - before.delivered, ring_drops(&self.last) - ring_drops(before));
        Reading { elapsed, total: spec.duration(), offered, delivered, shed }
    }

    fn ledger(
        mut self,
        spec: &Overload,
        sent: &[PhaseSent],
        sources: Vec<SourceBooks>,
        generator: String,
        uncounted: u64,
    ) -> Ledger {
        for (until_ns, [_, p99_ns, _]) in &self.intervals {
            // An interval is a tenth of a second, which may be more than one slice.
            let first = (until_ns.saturating_sub(LOOK_EVERY.as_nanos() as u64) / self.slice_ns) as usize;
            let last = (until_ns / self.slice_ns) as usize;
            for slice in self.slices.iter_mut().take(last + 1).skip(first) {
                slice.p99_ns = slice.p99_ns.max(Some(*p99_ns));
            }
        }
        let phases = sent.iter().zip(&self.shed).enumerate().map(|(index, (phase, ring_full))| PhaseBooks {
            phase: phase.phase,
            offered: phase.offered,
            shed: Shed { ring_full: *ring_full, sender_late: phase.offered - phase.sent },
            latency: self.latency_in(spec, index),
        });
        // Drained means: after the last loss. Its place on the time line counts from the end of the phase that lost it.
        let lost_phase = phase_at(spec, self.lost_until_ns.saturating_sub(LOOK_EVERY.as_nanos() as u64 / 2));
        let ended: Duration = spec.phases.iter().take(lost_phase + 1).map(|phase| phase.duration).sum();
        let drained = (self.lost_until_ns > 0).then_some(self.drained_ns).flatten();
        Ledger {
            rig: "namespaces and veth pairs, one queue, native XDP, AF_XDP copy mode, worker in its sandbox; p99 of a \
                  phase: the median over its tenths of a second"
                .to_owned(),
            generator,
            phases: phases.collect(),
            sources,
            slice: Duration::from_nanos(self.slice_ns),
            behind_ns: sent.iter().map(|phase| phase.behind_ns).max().unwrap_or(0),
            drained_after: drained.map(|at| Duration::from_nanos(at).saturating_sub(ended)),
            footprint: self.footprint,
            uncounted,
            slices: self.slices,
        }
    }

    /// Latencies of the intervals that lie in phase `index` as a whole.
    fn latency_in(&self, spec: &Overload, index: usize) -> Latency {
        let from: Duration = spec.phases.iter().take(index).map(|phase| phase.duration).sum();
        let until = from + spec.phases.get(index).map_or(Duration::ZERO, |phase| phase.duration);
        let (from, until) = ((from + LOOK_EVERY).as_nanos() as u64, until.as_nanos() as u64);
        let within: Vec<[u64; 3]> = self.intervals.range(from..=until.max(from)).map(|(_, figures)| *figures).collect();
        let median = |which: usize| {
            let mut values: Vec<u64> = within.iter().map(|figures| figures[which]).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        let (Some(p50), Some(p99)) = (median(0), median(1)) else { return Latency::default() };
        let max_ns = within.iter().map(|figures| figures[2]).max().unwrap_or(0);
        Latency { samples: within.len() as u64, percentiles: vec![(50.0, p50), (99.0, p99)], max_ns }
    }
}

/// Records asked for at once: three intervals of a worker that writes a row for each of sixteen sources.
const RECORDS: u32 = 64;

/// The phase at `since_ns` from the start; the last one afterwards.
fn phase_at(spec: &Overload, since_ns: u64) -> usize {
    let mut end = Duration::ZERO;
    let ended = spec.phases.iter().take_while(|phase| {
        end += phase.duration;
        end.as_nanos() as u64 <= since_ns
    });
    ended.count().min(spec.phases.len().saturating_sub(1))
}

/// What the box's processes hold beside the frames' memory, in bytes.
fn memory(status: &Status) -> u64 {
    status.processes.iter().map(|process| process.pss_bytes).sum()
}
