//! One run of the gate: a feature is parked, at work, parked and at work again, and the base path is measured all the while.

use std::time::Duration;

use anyhow::Result;
use weir_appliance_control::config::{Gate, PreservationSpec, Run};
use weir_appliance_control::experiments::reason as short_reason;
use weir_appliance_control::message::Compared;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::FeatureName;
use weir_appliance_experiment::base::{Judged, Ruling, SLICES, Sample, Trial, judge};

use super::super::{Dataplane, changes, features, lock};
use super::meter::{now_ms, wall_ms};
use super::{AUTHOR, Inner, Over, Work, limits, slice_ms};

/// Moments of a run: the feature is parked in the even ones.
const MOMENTS: usize = 4;
/// Longest wait for a worker that ends, or comes.
const TURNED_WITHIN: Duration = Duration::from_secs(15);
/// What is measured no sooner after a worker has ended or come, in milliseconds: caches fill, and rings empty.
const SETTLES_MS: u64 = 300;
/// A base load of so many times the most at which the gate begins ends it.
const TOO_MUCH: f64 = 2.0;

/// A run under way.
pub(super) struct Turns {
    pub(super) name: FeatureName,
    pub(super) slice_ms: u64,
    began_ms: u64,
    moment: usize,
    /// When the feature was told to go or to come, and since when it has done so.
    told_ms: u64,
    there_ms: Option<u64>,
    measures: bool,
    samples: [Vec<Sample>; MOMENTS],
}

impl Turns {
    fn new(name: FeatureName, slice_ms: u64) -> Self {
        Self {
            name,
            slice_ms,
            began_ms: wall_ms(),
            moment: 0,
            told_ms: now_ms(),
            there_ms: None,
            measures: false,
            samples: Default::default(),
        }
    }

    const fn is_parked(&self) -> bool {
        self.moment.is_multiple_of(2)
    }

    /// Parked beside at work: each moment beside the next, and the parked ones beside each other as the noise floor.
    pub(super) fn trial(&self) -> Trial {
        let both = |one: usize| self.samples[one].iter().chain(&self.samples[one + 2]).cloned().collect();
        Trial { reference: both(0), subject: both(1) }
    }

    pub(super) fn sentence(&self) -> String {
        let how = if self.is_parked() { "is parked" } else { "is at work" };
        let slices = self.samples.get(self.moment).map_or(0, Vec::len);
        let (moment, of) = (self.moment + 1, SLICES / 2);
        format!("{} {how}: moment {moment} of {MOMENTS}, slice {slices} of {of}", self.name)
    }

    /// Tells the feature to go or to come, as the moment has it.
    fn tell(&mut self, dataplane: &Dataplane) -> Result<()> {
        features::rest(dataplane, self.name, self.is_parked())?;
        (self.told_ms, self.there_ms, self.measures) = (now_ms(), None, false);
        Ok(())
    }

    /// Whether it has gone, or come, long enough ago.
    fn is_settled(&mut self, dataplane: &Dataplane) -> bool {
        let attached = || dataplane.takers.features().into_iter().any(|(_, feature)| feature == self.name);
        let is_there = if self.is_parked() { !attached() } else { dataplane.features.is_on(self.name) };
        if !is_there {
            self.there_ms = None;
            return false;
        }
        now_ms().saturating_sub(*self.there_ms.get_or_insert_with(now_ms)) >= SETTLES_MS
    }
}

/// The feature whose turn it is.
///
/// # Errors
/// None runs, or not the one that was named.
pub(super) fn next(
    dataplane: &Dataplane,
    wanted: Option<FeatureName>,
    last: Option<FeatureName>,
) -> Result<FeatureName, Problem> {
    let config = lock(&dataplane.config);
    let running: Vec<FeatureName> =
        config.enabled().filter(|name| config.run(*name) == Run::Started && dataplane.features.is_on(*name)).collect();
    let refuse = |value: String, cause: &str| Problem::new(value, cause, "see weir feature list");
    if let Some(name) = wanted {
        return running.contains(&name).then_some(name).ok_or_else(|| refuse(name.to_string(), "it does not run now"));
    }
    let after = running.iter().position(|name| Some(*name) == last).map_or(0, |at| at + 1);
    let turn = running.get(after).or_else(|| running.first()).copied();
    turn.ok_or_else(|| refuse("features".to_owned(), "none runs, so none can be parked"))
}

/// Why the gate does not run now, if it does not.
fn hindrance(dataplane: &Dataplane, most: f64, rate: Option<f64>) -> Option<String> {
    if dataplane.experiments.are_running() {
        return Some("an experiment runs".to_owned());
    }
    if lock(&dataplane.keeper).pending().is_some() {
        return Some("a change waits for its confirmation".to_owned());
    }
    match rate {
        None => Some("the base load is not known yet".to_owned()),
        Some(rate) if rate > most => Some(format!("{rate:.0} base frames a second are more than {most:.0}")),
        Some(_) => None,
    }
}

impl Inner {
    /// Begins a run when it is due and nothing is in its way.
    pub(super) fn gate(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) -> Result<()> {
        self.waits = None;
        if spec.gate == Gate::Off && self.wish.is_none() {
            self.gate_ms = None;
            return Ok(());
        }
        let every_ms = u64::from(spec.every_minutes) * 60_000;
        let due = *self.gate_ms.get_or_insert_with(|| now_ms() + every_ms);
        if self.wish.is_none() && now_ms() < due {
            return Ok(());
        }
        self.waits = hindrance(dataplane, f64::from(spec.most_frames_per_second), self.rate);
        if self.waits.is_some() {
            return Ok(());
        }
        let name = match next(dataplane, self.wish.flatten(), self.last) {
            Ok(name) => name,
            Err(problem) => {
                self.waits = Some(problem.to_string());
                return Ok(());
            }
        };
        (self.last, self.wish) = (Some(name), None);
        self.gate_ms = Some(now_ms() + every_ms);
        let mut turns = Turns::new(name, slice_ms(spec));
        self.meter.stop(dataplane)?;
        turns.tell(dataplane)?;
        tracing::info!("preservation: {name} is parked for moments, to see what it costs the base path");
        self.work = Some(Work::Feature(turns));
        Ok(())
    }

    /// Goes on with a run.
    pub(super) fn turn(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) -> Result<()> {
        let most = f64::from(spec.most_frames_per_second) * TOO_MUCH;
        if let Some(why) = hindrance(dataplane, most, self.rate) {
            self.give_up(dataplane, &why);
            return Ok(());
        }
        let Some(Work::Feature(turns)) = &mut self.work else { return Ok(()) };
        let slice_ms = turns.slice_ms;
        if !turns.measures {
            if turns.is_settled(dataplane) {
                turns.measures = true;
                return self.meter.begin(dataplane, slice_ms);
            }
            if now_ms().saturating_sub(turns.told_ms) > TURNED_WITHIN.as_millis() as u64 {
                let what = if turns.is_parked() {
                    "its worker did not end in time"
                } else {
                    "its worker did not come in time"
                };
                self.give_up(dataplane, what);
            }
            return Ok(());
        }
        let Some(sample) = self.slice(dataplane, slice_ms, 0)? else { return Ok(()) };
        let Some(Work::Feature(turns)) = &mut self.work else { return Ok(()) };
        let Some(samples) = turns.samples.get_mut(turns.moment) else { return Ok(()) };
        samples.push(sample);
        if samples.len() < SLICES / 2 {
            return Ok(());
        }
        turns.moment += 1;
        self.meter.stop(dataplane)?;
        if turns.moment < MOMENTS {
            return turns.tell(dataplane);
        }
        self.judge_feature(dataplane, spec);
        Ok(())
    }

    fn judge_feature(&mut self, dataplane: &Dataplane, spec: &PreservationSpec) {
        let Some(Work::Feature(turns)) = self.work.take() else { return };
        let (name, trial) = (turns.name, turns.trial());
        let judged = judge(&limits(spec), &trial);
        let mut done = String::new();
        if judged.ruling == Ruling::Worse {
            tracing::warn!("preservation: {name} makes the base path worse: {}", judged.reason);
            if spec.gate == Gate::Park {
                let reason = short_reason(&format!("it makes the base path worse: {}", judged.reason));
                match changes::at_once(dataplane, AUTHOR, &reason, |config| config.set_run(name, Run::Parked)) {
                    Ok(_) => done = format!("{name} is parked; weir feature start {name} starts it"),
                    Err(problem) => done = format!("{name} is not parked: {problem}"),
                }
                tracing::warn!("preservation: {done}");
            }
        } else {
            tracing::info!("preservation: {name}: {}: {}", judged.ruling.as_str(), judged.reason);
        }
        let (compared, began_ms) = (Compared::Feature { name }, turns.began_ms);
        self.keep(dataplane, Over { compared, limits: limits(spec), began_ms, judged, done, trial });
    }

    /// Ends a run that says nothing; its feature is at work again.
    pub(super) fn give_up(&mut self, dataplane: &Dataplane, why: &str) {
        let Some(Work::Feature(turns)) = self.work.take() else { return };
        tracing::info!("preservation: the run with {} is given up: {why}", turns.name);
        self.owed = turns.is_parked().then_some(turns.name);
        let back = self.meter.stop(dataplane).and_then(|()| self.give_back(dataplane));
        if let Err(error) = back {
            tracing::error!("preservation: {} is not at work again yet: {error:#}", turns.name);
        }
        let (ruling, reason) = (Ruling::NoData, format!("given up: {why}"));
        let judged = Judged { ruling, reason, findings: Vec::new() };
        let limits = limits(&lock(&dataplane.config).preservation());
        let (compared, began_ms, trial) = (Compared::Feature { name: turns.name }, turns.began_ms, turns.trial());
        self.keep(dataplane, Over { compared, limits, began_ms, judged, done: String::new(), trial });
    }

    /// Gives a feature back what was taken from it for a moment.
    pub(super) fn give_back(&mut self, dataplane: &Dataplane) -> Result<()> {
        if let Some(name) = self.owed {
            features::rest(dataplane, name, false)?;
            self.owed = None;
        }
        Ok(())
    }
}
