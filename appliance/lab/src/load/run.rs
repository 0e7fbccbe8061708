//! The open loop: what is due is sent, and then it is counted what came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_dataplane_io::clock::monotonic_ns;

use super::outcome::Outcome;
use super::pace::Pace;
use super::receive::Receiver;
use super::tally::Tally;
use crate::error::LabError;
use crate::generate::Sender;
use crate::traffic::Traffic;

/// Frames given to a generator at once. More would spread the sending of frames that are due now.
pub(super) const BURST: usize = 64;
/// How long the last frames may take to arrive.
const DRAIN: Duration = Duration::from_secs(2);
/// A pause shorter than this is spun away, since a sleeping thread wakes up to 60 µs late.
const SPIN_NS: u64 = 100_000;

/// How long, and how to read the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How long frames are due.
    pub duration: Duration,
    /// Percentiles to report, 0 to 100.
    pub percentiles: Vec<f64>,
    /// Factor on the rates and on the duration; printed beside the result.
    pub scale: f64,
}

impl Plan {
    /// A full-scale plan of this duration with the usual percentiles.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        Self { duration, percentiles: vec![50.0, 90.0, 95.0, 99.0, 99.9], scale: 1.0 }
    }

    /// The duration that is run.
    fn scaled(&self) -> Duration {
        self.duration.mul_f64(self.scale.clamp(0.0, 1e6))
    }
}

/// Traffic with its rate.
pub struct Flow<'a> {
    /// What is sent.
    pub traffic: &'a mut Traffic,
    /// Frames a second at full scale; 0 for as many as go.
    pub per_second: f64,
}

/// The words that a result starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels<'a> {
    /// What the frames go through.
    pub rig: &'a str,
}

/// What sending came to.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    offered: u64,
    sent: u64,
    behind_ns: u64,
    seconds: f64,
}

/// Sends every flow at its rate through one generator, waits until the receiver has seen everything that was sent (or
/// nothing more comes for 2 s), and accounts for it. Several flows share the generator's thread: the background and
/// the probes of a latency test, for one.
///
/// # Errors
/// Sender or receiver are gone.
pub fn run(
    labels: Labels<'_>,
    plan: &Plan,
    sender: &mut dyn Sender,
    flows: &mut [Flow<'_>],
    receiver: &mut dyn Receiver,
) -> Result<Outcome, LabError> {
    watched(labels, plan, sender, flows, receiver, &Tally::default())
}

/// As [`run`], with a tally for who watches. Nothing is shed: a frame that finds the way full is sent later.
///
/// # Errors
/// Sender or receiver are gone.
pub fn watched(
    labels: Labels<'_>,
    plan: &Plan,
    sender: &mut dyn Sender,
    flows: &mut [Flow<'_>],
    receiver: &mut dyn Receiver,
    tally: &Tally,
) -> Result<Outcome, LabError> {
    let mut outcome = Outcome {
        rig: labels.rig.to_owned(),
        generator: sender.describe(),
        mode: receiver.mode(),
        scale: plan.scale,
        ..Outcome::default()
    };
    let sent = send(plan, sender, flows, &AtomicBool::new(false), &mut |offered| {
        tally.write(offered, 0, receiver.frames()?);
        Ok(())
    })?;
    drain(receiver, sent.sent)?;
    let meter = receiver.finish()?;
    let by_source: Vec<(u32, u64)> = flows.iter().flat_map(|flow| flow.traffic.sent()).collect();
    outcome.offered = sent.offered;
    outcome.sent = sent.sent;
    outcome.seconds = sent.seconds;
    outcome.behind_ns = sent.behind_ns;
    outcome.events_sent = flows.iter().map(|flow| flow.traffic.events()).sum();
    outcome.enter(&meter, &by_source, &plan.percentiles);
    Ok(outcome)
}

/// Sends one flow until `stop`, for who does the receiving elsewhere; gives the frames sent. For a demo's background.
///
/// # Errors
/// The sender is gone.
pub fn drive(
    sender: &mut dyn Sender,
    traffic: &mut Traffic,
    per_second: f64,
    stop: &AtomicBool,
) -> Result<u64, LabError> {
    // A duration beyond any demo: the flag ends it.
    let plan = Plan::new(Duration::from_secs(86_400 * 365));
    Ok(send(&plan, sender, &mut [Flow { traffic, per_second }], stop, &mut |_| Ok(()))?.sent)
}

/// Sends until the plan ends or `stop` is set; `watch` is told the frames offered after each round.
fn send(
    plan: &Plan,
    sender: &mut dyn Sender,
    flows: &mut [Flow<'_>],
    stop: &AtomicBool,
    watch: &mut dyn FnMut(u64) -> Result<(), LabError>,
) -> Result<Sent, LabError> {
    let start_ns = monotonic_ns();
    let end_ns = start_ns.saturating_add(plan.scaled().as_nanos() as u64);
    let mut lanes: Vec<Schedule> =
        flows.iter().map(|flow| Schedule::new(start_ns, flow.per_second * plan.scale)).collect();
    let mut sent = Sent::default();
    let mut last_ns = start_ns;
    loop {
        let now = monotonic_ns();
        if now >= end_ns || stop.load(Ordering::Relaxed) {
            break;
        }
        let mut idle = true;
        for (flow, lane) in flows.iter_mut().zip(&mut lanes) {
            let taken = lane.step(now, flow.traffic, sender)?;
            idle &= taken == 0;
            sent.behind_ns = sent.behind_ns.max(lane.behind_ns);
        }
        watch(lanes.iter().map(|lane| lane.offered(now)).sum())?;
        if idle {
            sender.flush()?;
            rest(now, lanes.iter().map(Schedule::next_ns).min().unwrap_or(now));
        } else {
            last_ns = now;
        }
    }
    for lane in &lanes {
        // What became due in the last moment without being sent counts as offered: an open loop forgives nothing but
        // the frames of its last burst.
        sent.offered += lane.offered(last_ns);
        sent.sent += lane.done;
    }
    sender.flush()?;
    sent.seconds = last_ns.saturating_sub(start_ns) as f64 / 1e9;
    Ok(sent)
}

/// One flow's place in its schedule.
struct Schedule {
    pace: Pace,
    done: u64,
    behind_ns: u64,
    stamps: Vec<u64>,
}

impl Schedule {
    fn new(start_ns: u64, per_second: f64) -> Self {
        Self { pace: Pace::new(start_ns, per_second), done: 0, behind_ns: 0, stamps: Vec::with_capacity(BURST) }
    }

    /// Sends what is due, at most a burst.
    fn step(&mut self, now: u64, traffic: &mut Traffic, sender: &mut dyn Sender) -> Result<usize, LabError> {
        self.stamps.clear();
        if self.pace.is_paced() {
            let due = self.pace.due(now).saturating_sub(self.done).min(BURST as u64);
            self.stamps.extend((self.done..self.done + due).map(|number| self.pace.time(number)));
            if let Some(first) = self.stamps.first() {
                self.behind_ns = self.behind_ns.max(now.saturating_sub(*first));
            }
        } else {
            self.stamps.resize(BURST, now);
        }
        if self.stamps.is_empty() {
            return Ok(0);
        }
        let taken = sender.send(traffic, &self.stamps)?;
        self.done += taken as u64;
        Ok(taken)
    }

    /// Frames due by `now`; without a schedule those that were sent.
    fn offered(&self, now: u64) -> u64 {
        let due = if self.pace.is_paced() { self.pace.due(now) } else { self.done };
        due.max(self.done)
    }

    /// When the next frame is due.
    fn next_ns(&self) -> u64 {
        self.pace.time(self.done)
    }
}

/// Waits for `until`, or gives the core away for a moment when that is past and the way is full.
pub(super) fn rest(now: u64, until: u64) {
    match until.checked_sub(now) {
        Some(pause) if pause > SPIN_NS => std::thread::sleep(Duration::from_nanos(pause - SPIN_NS / 2)),
        Some(pause) if pause > 0 => std::hint::spin_loop(),
        _ => std::thread::yield_now(),
    }
}

/// Waits until `frames` have arrived, or none has for a while.
fn drain(receiver: &mut dyn Receiver, frames: u64) -> Result<(), LabError> {
    let mut seen = receiver.frames()?;
    let mut moved = Instant::now();
    while seen < frames && moved.elapsed() < DRAIN {
        std::thread::sleep(Duration::from_millis(1));
        let now = receiver.frames()?;
        if now != seen {
            (seen, moved) = (now, Instant::now());
        }
    }
    Ok(())
}
