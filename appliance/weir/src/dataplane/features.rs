//! Features that are started, stopped, parked and started again while frames flow: who is given frames, and in which order.
//!
//! ```text
//! stop:   rules without it ─► its sockets out of the table ─► nobody reads the old ones any more ─► its worker finishes
//!         its rings and ends; what a dead one left is counted
//! start:  its worker is there and ready ─► its sockets into the table ─► rules with it
//! ```
//!
//! So no frame is put on a ring that nobody empties, and none that was put there is lost. Changes follow each other: whoever
//! calls here holds the keeper.

use std::sync::Mutex;

use anyhow::Result;
use weir_appliance_control::config::{Config, Run};
use weir_appliance_control::keeper::Keeper;
use weir_appliance_control::message::{Done, FeatureStanding};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::{FeatureName, Taker, TakerSet};
use weir_dataplane_pool::ledger::CLASSES;
use weir_dataplane_pool::pool::Request;

use super::changes::{self, InForce};
use super::control::internal;
use super::steering::is_taken;
use super::supervised::{self, Standing};
use super::takers::TakerState;
use super::{Dataplane, lock, setup};
use crate::supervise::Heard;

/// Who is given frames, beyond what the configuration says.
#[derive(Default)]
pub(super) struct Features {
    /// Started features whose worker is not ready yet since they were started: it comes before the first frame.
    awaited: Mutex<TakerSet>,
    /// Parked for a moment by the preservation gate. Nobody stores it: whoever starts again has nobody in it.
    resting: Mutex<TakerSet>,
    /// Who has no frames now.
    off: Mutex<TakerSet>,
}

impl Features {
    /// Those of a dataplane that begins with `config`: the first frame comes when its worker is ready.
    pub(super) fn of(config: &Config) -> Self {
        let all = config.enabled().collect();
        let awaited: TakerSet = TakerSet::without(all, config.not_running());
        Self { awaited: Mutex::new(awaited), resting: Mutex::default(), off: Mutex::new(all) }
    }

    /// Who is to have no frames under `config`.
    pub(super) fn off(&self, config: &Config) -> TakerSet {
        config.not_running().union(*lock(&self.awaited)).union(*lock(&self.resting))
    }

    /// Who starts with the change from `now` to `next` waits for its worker.
    pub(super) fn await_started(&self, now: &Config, next: &Config) {
        let started = now.not_running().without(next.not_running());
        let mut awaited = lock(&self.awaited);
        *awaited = awaited.union(started).without(next.not_running());
    }

    /// Whether a feature is parked for a moment.
    pub(super) fn is_resting(&self, name: FeatureName) -> bool {
        lock(&self.resting).contains(name.taker())
    }

    /// Whether a feature is given frames.
    pub(super) fn is_on(&self, name: FeatureName) -> bool {
        !lock(&self.off).contains(name.taker())
    }
}

/// How many takers each class has when those of `off` get nothing; the sender counts for none.
pub(super) fn expected(dataplane: &Dataplane, off: TakerSet) -> Box<[u8; CLASSES]> {
    let mut all = Box::new([0; CLASSES]);
    for class in dataplane.classes.iter() {
        if let Some(count) = all.get_mut(usize::from(class.number)) {
            *count = class.takers.without(off.with(Taker::Sender)).iter().count() as u8; // at most MAX_TAKERS
        }
    }
    all
}

/// Opens the rings of all who are given frames, before the classifier is told to give them any.
///
/// # Errors
/// The kernel refuses a socket.
pub(super) fn open(dataplane: &Dataplane, off: TakerSet) -> Result<()> {
    let before = *lock(&dataplane.features.off);
    if before.without(off).is_empty() {
        return Ok(());
    }
    expect(dataplane, off);
    let opens = |class| !is_taken(takers(dataplane, class), before) && is_taken(takers(dataplane, class), off);
    setup::connect(&lock(&dataplane.classifier), &dataplane.ports, &dataplane.rings, opens)
}

/// Closes the rings of all who are given none, now that the classifier gives them none, and has their workers end.
pub(super) fn close(dataplane: &Dataplane, off: TakerSet) {
    let before = std::mem::replace(&mut *lock(&dataplane.features.off), off);
    if off.without(before).is_empty() {
        return;
    }
    let classifier = lock(&dataplane.classifier);
    let taken = |class| is_taken(takers(dataplane, class), off);
    if let Err(error) = setup::disconnect(&classifier, &dataplane.ports, &dataplane.rings, taken) {
        tracing::error!("flow verdicts can still give frames to who does not run: {error:#}");
    }
    classifier.settle();
    drop(classifier);
    // From here on their rings end where they end.
    expect(dataplane, off);
    for (taker, name) in dataplane.takers.features() {
        if off.without(before).contains(name.taker()) {
            dataplane.takers.leaves(taker.id);
        }
    }
}

fn expect(dataplane: &Dataplane, off: TakerSet) {
    dataplane.ask(Request::Expected(expected(dataplane, off)));
    if let Some(streams) = &dataplane.streams {
        streams.ask(Request::Expected(expected(dataplane, off)));
    }
}

fn takers(dataplane: &Dataplane, class: u8) -> TakerSet {
    dataplane.classes.takers(class)
}

/// The rings and workers of a dataplane that begins.
pub(super) fn begin(dataplane: &Dataplane) {
    let config = lock(&dataplane.config);
    expect(dataplane, dataplane.features.off(&config));
    tell(dataplane, &config);
}

/// Takes the frames away from all features, and asks their workers to end.
///
/// # Errors
/// The kernel refuses.
pub(super) fn withhold_all(dataplane: &Dataplane) -> Result<()> {
    let _changes = lock(&dataplane.keeper);
    let config = lock(&dataplane.config);
    *lock(&dataplane.features.awaited) = config.enabled().collect();
    let off = changes::put_again(dataplane, &config)?;
    close(dataplane, off);
    Ok(())
}

/// Tells the supervisor which workers shall run.
pub(super) fn tell(dataplane: &Dataplane, config: &Config) {
    let wish = |name| if dataplane.features.is_resting(name) { Run::Parked } else { config.run(name) };
    let wishes = config.enabled().map(|name| (name, wish(name))).collect();
    if let Err(error) = dataplane.supervised.say(&Heard::Wishes(wishes)) {
        tracing::error!("workers stay as they are: {error:#}");
    }
}

/// Gives frames to features whose workers have come to be ready. Called by the main thread, several times a second.
pub(super) fn tick(dataplane: &Dataplane) {
    if lock(&dataplane.features.awaited).is_empty() {
        return;
    }
    let _changes = lock(&dataplane.keeper);
    let ready = |name: FeatureName| {
        let mut attached = dataplane.takers.features().into_iter();
        attached.any(|(taker, feature)| feature == name && taker.state == TakerState::Ready && !taker.leaving)
    };
    let config = lock(&dataplane.config);
    let come: TakerSet = config.enabled().filter(|name| ready(*name)).collect();
    let awaited = *lock(&dataplane.features.awaited);
    if awaited.without(come) == awaited {
        return;
    }
    *lock(&dataplane.features.awaited) = awaited.without(come);
    match changes::put_again(dataplane, &config) {
        Ok(off) => close(dataplane, off),
        Err(error) => {
            *lock(&dataplane.features.awaited) = awaited; // it is tried again at the next tick
            tracing::error!("a feature that was started gets no frames yet: {error:#}");
        }
    }
}

/// Has the worker of a feature finish what it has, and another one begin. Meanwhile its frames go where they go when it is
/// stopped.
///
/// # Errors
/// The feature is not started.
pub(super) fn restart(dataplane: &Dataplane, author: &str, name: FeatureName, reason: &str) -> Result<Done, Problem> {
    let _changes = lock(&dataplane.keeper);
    let config = lock(&dataplane.config);
    config.set_run(name, Run::Started)?;
    if config.run(name) != Run::Started {
        let cure = format!("start it: weir feature start {name}");
        return Err(Problem::new(name.to_string(), format!("this feature is {}", config.run(name)), cure));
    }
    {
        let mut awaited = lock(&dataplane.features.awaited);
        *awaited = awaited.with(name.taker());
    }
    let off = changes::put_again(dataplane, &config).map_err(internal)?;
    dataplane.supervised.say(&Heard::Restart(name)).map_err(internal)?;
    close(dataplane, off);
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    tracing::info!("{name} is started again by {author}{because}");
    Ok(Done { text: format!("{name} finishes what it has and is started again"), saved: true, unsaved_because: None })
}

/// Parks a feature for a moment, or ends that: then its worker is started, and the first frame comes when it is ready. What is
/// in force does not change.
///
/// # Errors
/// The kernel refuses; the feature goes on as it was.
pub(super) fn rest(dataplane: &Dataplane, name: FeatureName, rests: bool) -> Result<()> {
    let _changes = lock(&dataplane.keeper);
    let config = lock(&dataplane.config);
    let set = |rests: bool| {
        let one: TakerSet = [name].into_iter().collect();
        let change = |set: &Mutex<TakerSet>, is_in: bool| {
            let mut set = lock(set);
            *set = if is_in { set.union(one) } else { set.without(one) };
        };
        change(&dataplane.features.resting, rests);
        // Who was stopped meanwhile is not waited for.
        change(&dataplane.features.awaited, !rests && config.run(name) == Run::Started);
    };
    set(rests);
    match changes::put_again(dataplane, &config) {
        Ok(off) => {
            tell(dataplane, &config);
            close(dataplane, off);
            Ok(())
        }
        Err(error) => {
            set(!rests);
            Err(error)
        }
    }
}

/// Parks a feature that the supervisor has given up: at once, also while a change waits for its confirmation.
pub(super) fn park(dataplane: &Dataplane, name: FeatureName, reason: &str) {
    let mut keeper = lock(&dataplane.keeper);
    let make = |config: &Config| config.set_run(name, Run::Parked);
    match keeper.change_at_once("supervisor", reason, make, &mut InForce::of(dataplane)) {
        Ok(_) => tracing::error!("{name} is parked: it {reason}; weir feature start {name} starts it"),
        Err(problem) => tracing::error!("{name} is parked, but frames may still be given to it: {problem}"),
    }
}

/// What a change of a feature's worker has done.
pub(super) fn said(name: FeatureName, run: Run) -> String {
    match run {
        Run::Started => format!("{name} is started; it gets frames when its worker is ready"),
        Run::Stopped => {
            format!("{name} is stopped: it gets no frames, and its worker ends when it has finished those it has")
        }
        Run::Parked => {
            format!("{name} is parked: it gets no frames, and its worker ends when it has finished those it has")
        }
    }
}

/// Why a feature does not run, as people are told; `None` where it does.
pub(super) fn why_not(keeper: &Keeper, name: FeatureName) -> Option<String> {
    let run = keeper.config().run(name);
    let change = (run != Run::Started).then(|| keeper.run_change(name))?;
    let Some(change) = change else { return Some(format!("{run} by the configuration")) };
    let (author, reason) = (change.origin.author(), change.origin.reason());
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    Some(format!("{run} by {author}{because}"))
}

/// Every feature with its worker.
pub(super) fn list(dataplane: &Dataplane) -> Vec<FeatureStanding> {
    let config = lock(&dataplane.config).clone();
    let takers = dataplane.takers.list();
    let one = |name: FeatureName| {
        let taker = takers.iter().find(|taker| taker.name == name.as_str());
        let child = dataplane.supervised.child(name.as_str());
        let Standing { state, reason, last_exit, again_in_ms } = supervised::standing(dataplane, name.as_str(), taker);
        let change = lock(&dataplane.keeper).run_change(name);
        FeatureStanding {
            name,
            run: config.run(name),
            state,
            pid: taker.map(|taker| taker.pid).or_else(|| child.as_ref().map(|child| child.pid)).unwrap_or(0),
            restarts: child.map_or(0, |child| child.restarts),
            reason,
            last_exit,
            again_in_ms,
            program: config.program(name).map(|path| path.display().to_string()),
            author: change.as_ref().map(|change| change.origin.author().to_owned()),
            revision: change.map(|change| change.revision),
        }
    };
    config.enabled().map(one).collect()
}

/// Starts, stops or parks the worker of a feature, as a change of the configuration.
///
/// # Errors
/// As any change; the feature is not enabled.
pub(super) fn change(config: &Config, name: FeatureName, run: Run) -> Result<(Config, String), Problem> {
    Ok((config.set_run(name, run)?, said(name, run)))
}
