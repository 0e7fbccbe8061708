//! The preservation gate: what changes and features do to the base path, and what is done about that.
//!
//! ```text
//!  idle ── a slice now and then ──► reference
//!    ├─ a change is in force ─► slices without a gap ─► judge ─► worse: the change is taken back
//!    └─ the gate is due ─► parked · at work · parked · at work ─► judge ─► worse: the feature is parked
//! ```
//!
//! The main thread calls [`tick`]; nothing here runs for a frame. What is decided is [`weir_appliance_experiment::base`]'s
//! business. A feature that the gate has parked for a moment is parked in this process's memory only: whatever ends it, the next
//! one begins with the feature at work.

mod kept;
mod meter;
mod turns;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use weir_appliance_control::config::{Gate as GateWish, PreservationSpec, Watch};
use weir_appliance_control::experiments::reason as short_reason;
use weir_appliance_control::message::{Compared, Done, PreservationRun, PreservationStatus};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::resources::Revision;
use weir_appliance_control::taker::FeatureName;
use weir_appliance_experiment::base::{Judged, Limits, PAIRS, Ruling, SLICES, Sample, Trial, judge};

use super::{Dataplane, changes, lock};
use crate::place::Place;
use meter::{Meter, now_ms, wall_ms};
use turns::Turns;

/// Who takes changes back and parks features.
const AUTHOR: &str = "preservation";
/// Authors whose changes are not judged: what is given up or taken back must not come again.
const UNJUDGED: [&str; 3] = [AUTHOR, "supervisor", "weir"];
/// Comparisons that are kept, with their slices.
const KEPT: usize = 8;
/// While nothing is compared, one slice in so many is measured.
const ONE_IN: u64 = 10;
/// Changes of which one can be taken back after the other.
const CHANGES: usize = 8;

/// The gate.
#[derive(Default)]
pub(super) struct Gate {
    inner: Mutex<Inner>,
    /// When something is due, in milliseconds of the monotonic clock; 0 for nothing.
    due_ms: AtomicU64,
    /// How often something was put in force.
    installs: AtomicU64,
    /// Changes that shall stay whatever they do: the last [`CHANGES`].
    excused: Mutex<VecDeque<Revision>>,
}

/// A change whose effect is open.
struct Change {
    revision: Revision,
    author: String,
    /// What was in force before it.
    back_to: Revision,
    /// The newest revision at which it was the last one: its own, or that of one behind it which was taken back.
    last: Revision,
}

/// A comparison that is over.
struct Over {
    compared: Compared,
    limits: Limits,
    began_ms: u64,
    judged: Judged,
    done: String,
    trial: Trial,
}

/// What is compared now.
enum Work {
    /// What was changed, the last one last, with before.
    Change { changes: Vec<Change>, reference: Vec<Sample>, subject: Vec<Sample>, began_ms: u64 },
    /// A feature at work with itself parked.
    Feature(Turns),
}

#[derive(Default)]
struct Inner {
    meter: Meter,
    /// [`Gate::installs`], as it was last looked at.
    seen: u64,
    /// The newest change that is known; none before the first look.
    known: Option<Revision>,
    reference: VecDeque<Sample>,
    work: Option<Work>,
    /// Frames forwarded a second in the last slice.
    rate: Option<f64>,
    /// When the gate is due.
    gate_ms: Option<u64>,
    /// The feature whose turn it was last.
    last: Option<FeatureName>,
    /// Somebody wants the gate to run now: for this feature, or for whose turn it is.
    wish: Option<Option<FeatureName>>,
    /// Why the gate does not run although it is due.
    waits: Option<String>,
    runs: VecDeque<PreservationRun>,
    /// A feature that is still to be given back what the gate took.
    owed: Option<FeatureName>,
    complaint: Option<String>,
}

/// What may be lost.
fn limits(spec: &PreservationSpec) -> Limits {
    let ppm = |share: weir_appliance_control::share::Share| u32::from(share.basis_points()) * 100;
    Limits { throughput_ppm: ppm(spec.throughput_loss), late_ppm: ppm(spec.late_more), ..Limits::default() }
}

/// Length of a slice in milliseconds.
fn slice_ms(spec: &PreservationSpec) -> u64 {
    u64::from(spec.window_seconds) * 1000 / SLICES as u64
}

impl Gate {
    /// The gate with what is kept of earlier comparisons.
    pub(super) fn load(place: &Place) -> Self {
        let gate = Self::default();
        lock(&gate.inner).runs = kept::load(place);
        gate
    }

    /// Something was put in force.
    pub(super) fn installed(&self) {
        self.installs.fetch_add(1, Ordering::Release);
    }

    /// A change stays whatever it does to the base path.
    pub(super) fn excuse(&self, revision: Revision) {
        let mut excused = lock(&self.excused);
        excused.push_front(revision);
        excused.truncate(CHANGES);
    }

    /// How long the main thread may sleep, at most `longest`.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        match self.due_ms.load(Ordering::Relaxed) {
            0 => longest,
            due => Duration::from_millis(due.saturating_sub(now_ms()).max(1)).min(longest),
        }
    }

    /// How the base path is watched; `None` where it is not.
    pub(super) fn status(&self, dataplane: &Dataplane, raw: bool) -> Option<PreservationStatus> {
        let spec = lock(&dataplane.config).preservation();
        let is_off = spec.watch == Watch::Off && spec.gate == GateWish::Off;
        let shown = self.shown(dataplane, raw);
        (!is_off || !shown.runs.is_empty()).then_some(shown)
    }

    /// The same, also where it is not watched.
    pub(super) fn shown(&self, dataplane: &Dataplane, raw: bool) -> PreservationStatus {
        let spec = lock(&dataplane.config).preservation();
        let inner = lock(&self.inner);
        let runs =
            inner.runs.iter().map(|run| PreservationRun { trial: run.trial.clone().filter(|_| raw), ..run.clone() });
        PreservationStatus {
            watch: spec.watch,
            gate: spec.gate,
            now: inner.sentence(&spec),
            reference: inner.reference.len() as u32, // at most SLICES
            open: inner.open(&spec),
            runs: runs.collect(),
        }
    }
}

/// The gate shall run now.
///
/// # Errors
/// The feature is none that runs.
pub(super) fn ask(dataplane: &Dataplane, feature: Option<FeatureName>) -> Result<Done, Problem> {
    let mut inner = lock(&dataplane.gate.inner);
    if matches!(inner.work, Some(Work::Feature(_))) {
        return Err(Problem::new("preservation", "the gate is running", "see weir preservation show"));
    }
    let name = turns::next(dataplane, feature, inner.last)?;
    inner.wish = Some(feature);
    let text = format!("the gate runs: {name} is parked for moments, see weir preservation show");
    Ok(Done { text, saved: true, unsaved_because: None })
}

/// Measures, judges and acts. Called by the main thread, several times a second and when a slice ends.
pub(super) fn tick(dataplane: &Dataplane) {
    let mut inner = lock(&dataplane.gate.inner);
    let ticked = inner.tick(dataplane);
    let complaint = ticked.err().map(|error| format!("{error:#}"));
    if let Some(text) = complaint.as_ref().filter(|text| inner.complaint.as_ref() != Some(text)) {
        tracing::error!("the base path cannot be watched: {text}");
    }
    inner.complaint = complaint;
    dataplane.gate.due_ms.store(inner.meter.due_ms(), Ordering::Relaxed);
}

impl Inner {
    fn tick(&mut self, dataplane: &Dataplane) -> Result<()> {
        let spec = lock(&dataplane.config).preservation();
        self.give_back(dataplane)?;
        if self.known.is_none() {
            self.known = changes::newest(&lock(&dataplane.keeper)).ok().flatten().map(|change| change.revision);
        }
        let installs = dataplane.gate.installs.load(Ordering::Acquire);
        let changed = std::mem::replace(&mut self.seen, installs) != installs;
        if let Some(Work::Feature(_)) = &self.work {
            if changed {
                self.give_up(dataplane, "something was changed meanwhile");
            } else {
                return self.turn(dataplane, &spec);
            }
        }
        if spec.watch == Watch::Off && spec.gate == GateWish::Off && self.wish.is_none() {
            self.reference.clear();
            (self.work, self.rate, self.gate_ms) = (None, None, None);
            return self.meter.stop(dataplane);
        }
        if changed {
            self.changed(dataplane, &spec)?;
        }
        match &self.work {
            Some(Work::Change { .. }) => self.after_change(dataplane, &spec),
            _ => self.idle(dataplane, &spec),
        }
    }

    /// Something was put in force: what that does is compared with before.
    fn changed(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) -> Result<()> {
        let newer = changes::since(&lock(&dataplane.keeper), self.known, CHANGES);
        let newer = newer.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        for (revision, author) in newer {
            self.known = Some(revision);
            let excused = lock(&dataplane.gate.excused).contains(&revision);
            if excused || spec.watch == Watch::Off || UNJUDGED.contains(&author.as_str()) {
                // What is in force now is what later changes are compared with.
                self.reference.clear();
                self.work = None;
                self.meter.stop(dataplane)?;
                continue;
            }
            let (back_to, last) = (Revision(revision.0.saturating_sub(1)), revision);
            let change = Change { revision, author, back_to, last };
            let (mut changes, reference) = match self.work.take() {
                // The one before is still open: both are compared with what was before it.
                Some(Work::Change { changes, reference, .. }) => (changes, reference),
                _ => (Vec::new(), self.reference.iter().cloned().collect()),
            };
            if changes.len() >= CHANGES {
                changes.remove(0);
            }
            changes.push(change);
            self.work = Some(Work::Change { changes, reference, subject: Vec::new(), began_ms: wall_ms() });
            self.meter.begin(dataplane, slice_ms(spec))?;
        }
        Ok(())
    }

    /// The next slice after a change, if it is over.
    fn after_change(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) -> Result<()> {
        let Some(sample) = self.slice(dataplane, slice_ms(spec), 0)? else { return Ok(()) };
        let Some(Work::Change { reference, subject, .. }) = &mut self.work else { return Ok(()) };
        subject.push(sample);
        let trial = Trial { reference: reference.clone(), subject: subject.clone() };
        let judged = judge(&limits(spec), &trial);
        if judged.ruling == Ruling::Worse || trial.subject.len() >= SLICES {
            self.conclude(dataplane, spec, trial, judged);
        }
        Ok(())
    }

    /// The slice that is over now, if one is.
    fn slice(&mut self, dataplane: &Dataplane, slice_ms: u64, pause_ms: u64) -> Result<Option<Sample>> {
        let Some((sample, rate)) = self.meter.step(dataplane, slice_ms, pause_ms)? else { return Ok(None) };
        self.rate = Some(rate);
        Ok(Some(sample))
    }

    /// The last change is judged.
    fn conclude(&mut self, dataplane: &Dataplane, spec: &PreservationSpec, trial: Trial, judged: Judged) {
        let Some(Work::Change { mut changes, reference, began_ms, .. }) = self.work.take() else { return };
        let Some(last) = changes.pop() else { return };
        let compared = Compared::Change { revision: last.revision, author: last.author };
        let mut done = String::new();
        if judged.ruling != Ruling::Worse {
            tracing::info!("preservation: {compared}: {}: {}", judged.ruling.as_str(), judged.reason);
            if judged.ruling != Ruling::NoData {
                self.reference = trial.subject.iter().cloned().collect();
            }
            return self.keep(dataplane, Over { compared, limits: limits(spec), began_ms, judged, done, trial });
        }
        tracing::warn!("preservation: {compared} made the base path worse: {}", judged.reason);
        if spec.watch == Watch::RollBack {
            let reason =
                short_reason(&format!("revision {} made the base path worse: {}", last.revision, judged.reason));
            match changes::take_back(dataplane, last.last, last.back_to, AUTHOR, &reason) {
                Ok(now) => {
                    done = format!("taken back as revision {now}");
                    tracing::warn!("preservation: revision {} is {done}", last.revision);
                    self.reference = reference.iter().cloned().collect();
                    self.known = Some(now);
                    // What was changed shortly before is judged in its turn, as it is in force now.
                    if let Some(earlier) = changes.last_mut() {
                        earlier.last = now;
                        let subject = Vec::new();
                        self.work = Some(Work::Change { changes, reference, subject, began_ms: wall_ms() });
                    }
                }
                Err(problem) => {
                    done = format!("not taken back: {problem}");
                    tracing::error!("preservation: revision {} is {done}", last.revision);
                    self.reference.clear();
                }
            }
        } else {
            self.reference.clear();
        }
        self.keep(dataplane, Over { compared, limits: limits(spec), began_ms, judged, done, trial });
    }

    /// Keeps what came of a comparison, with its slices.
    fn keep(&mut self, dataplane: &Dataplane, over: Over) {
        let Over { compared, limits, began_ms, judged, done, trial } = over;
        let number = self.runs.front().map_or(0, |run| run.number) + 1;
        let run = PreservationRun {
            number,
            compared,
            began_ms,
            ended_ms: wall_ms(),
            limits,
            judged,
            done,
            trial: Some(trial),
        };
        self.runs.push_front(run);
        self.runs.truncate(KEPT);
        if let Err(error) = kept::save(&dataplane.place, &self.runs) {
            tracing::error!("preservation: run {number} is known until the dataplane ends: {error:#}");
        }
    }

    /// Nothing is compared: a slice of the reference now and then, until a change or the gate is due.
    fn idle(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) -> Result<()> {
        let slice_ms = slice_ms(spec);
        // All slices at first and when traffic comes after none, and then one in so many.
        let usable = self.reference.iter().filter(|sample| sample.offered() > 0).count();
        let comes = usable < PAIRS && self.rate.is_some_and(|rate| rate > 0.0);
        let pause_ms = if self.reference.len() < SLICES || comes { 0 } else { slice_ms * (ONE_IN - 1) };
        if let Some(sample) = self.slice(dataplane, slice_ms, pause_ms)? {
            if self.reference.len() >= SLICES {
                self.reference.pop_front();
            }
            self.reference.push_back(sample);
            self.meter.age();
        }
        self.gate(dataplane, spec)
    }

    fn open(&self, spec: &PreservationSpec) -> Option<Judged> {
        let trial = match self.work.as_ref()? {
            Work::Change { reference, subject, .. } => Trial { reference: reference.clone(), subject: subject.clone() },
            Work::Feature(turns) => turns.trial(),
        };
        Some(judge(&limits(spec), &trial))
    }

    fn sentence(&self, spec: &PreservationSpec) -> String {
        match &self.work {
            Some(Work::Change { changes, subject, .. }) => {
                let last = changes.last().map_or(0, |change| change.revision.0);
                format!("revision {last} is watched: slice {} of {SLICES}", subject.len() + 1)
            }
            Some(Work::Feature(turns)) => turns.sentence(),
            _ if self.waits.is_some() => format!("the gate waits: {}", self.waits.clone().unwrap_or_default()),
            _ if spec.gate != GateWish::Off => {
                let left = self.gate_ms.map_or(0, |due| due.saturating_sub(now_ms())) / 1000;
                format!("the gate runs in {left} s")
            }
            _ if spec.watch != Watch::Off => "the next change is watched".to_owned(),
            _ => "nothing is watched".to_owned(),
        }
    }
}
