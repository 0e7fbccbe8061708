//! Experiments: the figures of both arms of a flag, slice by slice, and what follows from them.
//!
//! ```text
//!  counters, cursors, waits ──► slice ──► window ──► decide ──► store ──► the flag's next share
//!                                                      └ worse ──────────► the flag as it was before, at once
//! ```
//!
//! The main thread calls [`tick`]; nothing here runs for a frame. What is decided is [`weir_appliance_experiment`]'s business,
//! what is kept stands in the store: a dataplane that starts again goes on with it, and measures the window in the middle anew.

mod arms;
mod commands;
mod figures;
mod keep;
mod waits;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_appliance_control::config::{Config, FlagSpec, FlagState, RuleSpec};
use weir_appliance_control::experiments::{Ending, Outcome, StoredExperiment, reason as short_reason};
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::name::{ExperimentName, FlagName};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::share::Share;
use weir_appliance_experiment::{Decision, Slice, Stage, Verdict, Window, decide};

use super::{Dataplane, changes, lock};
use arms::Arms;
use figures::Reading;
use waits::Waits;

pub(super) use commands::{answer, running};

/// All experiments.
#[derive(Default)]
pub(super) struct Experiments {
    all: Mutex<BTreeMap<ExperimentName, Known>>,
    waits: Waits,
    /// Whether the classifier was last told to stamp frames; it outlives this process, so at first nobody knows.
    stamps: Mutex<Option<bool>>,
    /// When the next slice ends, in milliseconds of the monotonic clock.
    due_ms: AtomicU64,
}

/// One experiment.
struct Known {
    stored: StoredExperiment,
    /// The flag, as its name was read.
    flag: FlagName,
    /// Windows of one that runs; the last one is open if `open` is there.
    windows: Vec<Window>,
    open: Option<Open>,
    /// What can be said now.
    latest: Option<Decision>,
    /// Why nothing is measured.
    waits: Option<String>,
    /// Bytes of its windows in the store.
    bytes: u64,
}

/// The window that is being measured.
struct Open {
    /// `None` where the arms cannot be told apart; the window is void then.
    arms: Option<Arms>,
    readings: Option<[Reading; 2]>,
    due_ms: u64,
    /// What the arms were found from.
    of: (Vec<FlagSpec>, Vec<RuleSpec>),
}

/// Who changes a flag for an experiment.
fn author(name: &ExperimentName) -> String {
    format!("experiment {name}")
}

impl Known {
    fn is_running(&self) -> bool {
        self.stored.outcome.is_none()
    }

    fn end(&mut self, ending: Ending, reason: String) {
        tracing::info!("experiment {} is over, {}: {reason}", self.stored.spec.name, ending.as_str());
        let time_ms = figures::now().wall_ms;
        self.stored.outcome = Some(Outcome { ending, reason: short_reason(&reason), time_ms });
        self.stored.stage = Stage::Ended;
        self.waits = None;
        if self.open.take().is_some() {
            self.windows.pop(); // it was never closed
        }
    }

    /// The flag with this share and on.
    fn flag_at(&self, share: u16) -> FlagSpec {
        let share = Share::from_basis_points(share).unwrap_or_default();
        FlagSpec { share, state: FlagState::On, ..self.stored.wanted.clone() }
    }
}

impl Experiments {
    /// Whether one runs, or still has to bring its flag where it belongs.
    pub(super) fn are_running(&self) -> bool {
        lock(&self.all).values().any(|known| known.is_running() || known.stored.before.is_some())
    }

    /// How long the main thread may sleep, at most `longest`.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        let left = self.due_ms.load(Ordering::Relaxed).saturating_sub(figures::now().monotonic_ms);
        Duration::from_millis(left.max(1)).min(longest)
    }

    /// Takes a record in that tells of waits; false for any other.
    pub(super) fn take(&self, taker: &str, record: &weir_dataplane_ring::Record) -> bool {
        self.waits.take(taker, record)
    }

    /// Has the classifier stamp frames exactly while somebody wants to know how long they wait.
    fn stamp(&self, dataplane: &Dataplane, all: &BTreeMap<ExperimentName, Known>) {
        let guarded =
            |known: &Known| known.stored.spec.guardrails.iter().any(|guardrail| guardrail.metric.is_latency());
        let wanted = all.values().any(|known| known.is_running() && guarded(known));
        let mut stamps = lock(&self.stamps);
        if *stamps == Some(wanted) {
            return;
        }
        match lock(&dataplane.classifier).stamp_frames(wanted) {
            Ok(()) => *stamps = Some(wanted),
            Err(error) => tracing::error!("frames cannot be stamped: {error}"),
        }
    }
}

/// Measures, decides and acts. Called by the main thread, several times a second and when a slice ends.
pub(super) fn tick(dataplane: &Dataplane) {
    let experiments = &dataplane.experiments;
    let mut all = lock(&experiments.all);
    let mut due_ms = u64::MAX;
    for (name, known) in &mut *all {
        if settle(dataplane, name, known) && known.is_running() {
            measure(dataplane, name, known);
        }
        due_ms = due_ms.min(known.open.as_ref().map_or(u64::MAX, |open| open.due_ms));
    }
    experiments.due_ms.store(due_ms, Ordering::Relaxed);
    experiments.stamp(dataplane, &all);
}

/// Brings the flag to where the experiment wants it; true when it is there. A flag that is anything else was changed by
/// somebody, and that ends the experiment.
fn settle(dataplane: &Dataplane, name: &ExperimentName, known: &mut Known) -> bool {
    if !known.is_running() && known.stored.before.is_none() {
        return false;
    }
    let now = lock(&dataplane.config).flag(&known.flag).ok().cloned();
    if now.as_ref() == Some(&known.stored.wanted) {
        if known.stored.before.take().is_some() {
            keep::state(dataplane, name, known);
        }
        known.waits = None;
        return true;
    }
    if now.is_some() && now == known.stored.before {
        match apply(dataplane, name, known) {
            Ok(()) => return settle(dataplane, name, known),
            // Mostly another change waits for its confirmation; it is tried again with the next tick.
            Err(problem) => known.waits = Some(problem.to_string()),
        }
        return false;
    }
    by_hand(dataplane, name, known, now.is_some_and(|now| now == known.stored.former));
    false
}

/// Gives the flag what is wanted, as any change is made.
fn apply(dataplane: &Dataplane, name: &ExperimentName, known: &Known) -> Result<(), Problem> {
    let (wanted, before) = (&known.stored.wanted, &known.stored.before);
    let reason = known.latest.as_ref().map_or(known.stored.reason.as_str(), |latest| latest.reason.as_str());
    let manner = Manner { reason: short_reason(reason), ..Manner::default() };
    let changed = changes::change(dataplane, &author(name), &manner, |config| {
        if config.flag(&known.flag).ok() != before.as_ref() {
            let cause = "somebody changed it in this moment";
            return Err(Problem::new(known.flag.to_string(), cause, "see weir config history"));
        }
        Ok((config.set_flag(wanted.clone())?, format!("flag {} has {} of the flows", known.flag, wanted.share)))
    })?;
    tracing::info!("experiment {name}: {}", changed.text);
    Ok(())
}

/// The flag is not what the experiment made it.
fn by_hand(dataplane: &Dataplane, name: &ExperimentName, known: &mut Known, is_former: bool) {
    let last = lock(&dataplane.keeper).changed_last(&known.flag);
    known.stored.before = None;
    match last {
        // A dataplane that died between a rollback and its note.
        Some(origin) if is_former && origin.author() == author(name) => {
            known.end(Ending::RolledBack, origin.reason().to_owned());
        }
        Some(origin) => {
            let why = if origin.reason().is_empty() { String::new() } else { format!(" ({})", origin.reason()) };
            known.end(Ending::Stopped, format!("the flag was changed by {}{why}", origin.author()));
        }
        None => known.end(Ending::Stopped, "the flag was changed".to_owned()),
    }
    keep::state(dataplane, name, known);
}

/// Opens a window, or adds a slice to the open one when its time has come.
fn measure(dataplane: &Dataplane, name: &ExperimentName, known: &mut Known) {
    let now = figures::now();
    let slice_ms = known.stored.spec.slice_ms();
    let Some(open) = &mut known.open else { return begin(dataplane, known) };
    if now.monotonic_ms < open.due_ms {
        return;
    }
    open.due_ms = now.monotonic_ms + slice_ms;
    let mut slice = Slice { end: now, ..Slice::default() };
    let mut fault = still_apart(dataplane, &known.stored, open);
    if let Some(arms) = &open.arms {
        match figures::read(dataplane, arms) {
            Ok(readings) => {
                if let Some(before) = &open.readings {
                    slice.control = readings[0].since(&before[0], &arms.control);
                    slice.candidate = readings[1].since(&before[1], &arms.candidate);
                    // Halves are for the noise floor; a window without them takes half the room.
                    if known.stored.stage != Stage::Noise {
                        slice.control.join_halves();
                        slice.candidate.join_halves();
                    }
                }
                open.readings = Some(readings);
            }
            Err(error) => fault = fault.or(Some(format!("a counter cannot be read: {error}"))),
        }
    }
    let Some(window) = known.windows.last_mut() else { return };
    window.void = window.void.take().or(fault);
    window.slices.push(slice);
    let decision = decide(&known.stored.spec, &known.windows);
    let is_over = known.windows.last().is_some_and(Window::is_whole) || decision.verdict == Verdict::RollBack;
    if is_over {
        close(dataplane, name, known, decision);
    } else {
        known.latest = Some(decision);
    }
}

/// Why the window is void, if its flows have other takers than at its begin.
fn still_apart(dataplane: &Dataplane, stored: &StoredExperiment, open: &mut Open) -> Option<String> {
    let config = lock(&dataplane.config);
    if (config.flags(), config.rules()) == (open.of.0.as_slice(), open.of.1.as_slice()) {
        return None;
    }
    open.of = (config.flags().to_vec(), config.rules().to_vec());
    let now = arms::arms(&config, &dataplane.classes, &stored.spec).ok();
    (now != open.arms).then(|| "the flows of its arms got other takers".to_owned())
}

fn begin(dataplane: &Dataplane, known: &mut Known) {
    let config: Config = lock(&dataplane.config).clone();
    let begun = figures::now();
    let mut window = Window::new(known.stored.windows + 1, known.stored.stage, begun);
    let found = arms::arms(&config, &dataplane.classes, &known.stored.spec);
    let found = found.inspect_err(|problem| window.void = Some(problem.to_string()));
    let arms = found.ok();
    let readings = arms.as_ref().map(|arms| figures::read(dataplane, arms)).and_then(|read| {
        read.inspect_err(|error| window.void = Some(format!("a counter cannot be read: {error}"))).ok()
    });
    let due_ms = begun.monotonic_ms + known.stored.spec.slice_ms();
    known.windows.push(window);
    known.open = Some(Open { arms, readings, due_ms, of: (config.flags().to_vec(), config.rules().to_vec()) });
}

/// Acts on what was decided after a window, and stores both. A rollback comes before everything else.
fn close(dataplane: &Dataplane, name: &ExperimentName, known: &mut Known, decision: Decision) {
    known.open = None;
    known.stored.windows += 1;
    known.stored.stage = decision.next;
    let window = known.windows.last().cloned();
    match (decision.verdict, decision.next) {
        (Verdict::RollBack, _) => {
            tracing::warn!("experiment {name} rolls flag {} back: {}", known.flag, decision.reason);
            roll_back(dataplane, name, known, &decision.reason);
            known.end(Ending::RolledBack, decision.reason.clone());
        }
        (Verdict::Promote, next) => {
            // At its end the flag has the last step's share, also where that is not measured.
            let wanted = known.flag_at(known.stored.spec.share(next));
            if wanted != known.stored.wanted {
                known.stored.before = Some(std::mem::replace(&mut known.stored.wanted, wanted));
            }
            if next == Stage::Ended {
                known.end(Ending::Promoted, decision.reason.clone());
            }
        }
        (Verdict::Hold, Stage::Ended) => known.end(Ending::Held, decision.reason.clone()),
        (Verdict::Hold, _) => {}
    }
    known.latest = Some(decision.clone());
    if let Some(window) = window
        && let Err(problem) = keep::window(dataplane, name, known, window, decision)
    {
        tracing::error!("experiment {name}: window {} is not stored: {problem}", known.stored.windows);
        known.stored.windows -= 1;
        // What cannot be replayed is not gone on with; what was rolled back stays so.
        if known.stored.outcome.as_ref().is_none_or(|outcome| outcome.ending == Ending::Promoted) {
            known.stored.wanted = known.stored.before.take().unwrap_or_else(|| known.stored.wanted.clone());
            known.end(Ending::Held, format!("its window could not be stored: {problem}"));
        }
        keep::state(dataplane, name, known);
    }
}

/// Makes the flag what it was before the experiment; if that is not possible any more, off. A flag that somebody changed
/// meanwhile is left as it is.
fn roll_back(dataplane: &Dataplane, name: &ExperimentName, known: &mut Known, reason: &str) {
    let (wanted, before, former) = (&known.stored.wanted, &known.stored.before, &known.stored.former);
    let make = |config: &Config| match config.flag(&known.flag) {
        Ok(now) if now == wanted || Some(now) == before.as_ref() => {
            config.put_flags(vec![former.clone()]).or_else(|_| config.kill_flag(&known.flag))
        }
        _ => Ok(config.clone()),
    };
    let done = changes::at_once(dataplane, &author(name), &short_reason(reason), make);
    let was = std::mem::replace(&mut known.stored.wanted, known.stored.former.clone());
    known.stored.before = None;
    if let Err(problem) = done {
        tracing::error!("experiment {name}: the flag is not what it was before: {problem}");
        // The next tick tries again; where only the store failed, the flag is what is wanted then.
        known.stored.before = Some(was);
    }
}
