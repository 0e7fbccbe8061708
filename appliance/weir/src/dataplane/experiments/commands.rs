//! What people ask of experiments.

use weir_appliance_control::config::{Config, FlagSpec, FlagState};
use weir_appliance_control::experiments::{
    BYTES, EXPERIMENTS, Ending, RUNNING, StoredExperiment, reason as short_reason,
};
use weir_appliance_control::flags::{self, Standing};
use weir_appliance_control::message::{Answer, Changed, ExperimentReplay, ExperimentShown, ExperimentStatus, Request};
use weir_appliance_control::name::{ExperimentName, FlagName};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::share::Share;
use weir_appliance_experiment::{Spec, Stage, replay};

use super::super::{Dataplane, lock};
use super::{Known, apply, arms, figures, keep, roll_back};

/// Answers what concerns experiments.
///
/// # Errors
/// The request is refused, or the store fails.
pub(in super::super) fn answer(dataplane: &Dataplane, author: &str, request: Request) -> Result<Answer, Problem> {
    match request {
        Request::ExperimentShow { name } => show(dataplane, &name),
        Request::ExperimentCreate { spec, reason } => create(dataplane, author, *spec, reason).map(Answer::Changed),
        Request::ExperimentStop { name, roll_back, reason } => {
            stop(dataplane, author, &name, roll_back, &reason).map(Answer::Changed)
        }
        Request::ExperimentRemove { name } => remove(dataplane, author, &name).map(Answer::Changed),
        Request::ExperimentReplay { name } => again(dataplane, &name).map(Answer::Replayed),
        _ => Ok(Answer::Experiments(lock(&dataplane.experiments.all).values().map(status).collect())),
    }
}

/// Those that are not over, for the page of everything.
pub(in super::super) fn running(dataplane: &Dataplane) -> Vec<ExperimentStatus> {
    lock(&dataplane.experiments.all).values().map(status).filter(|status| status.outcome.is_none()).collect()
}

fn status(known: &Known) -> ExperimentStatus {
    let stored = &known.stored;
    let open = if known.open.is_some() { known.windows.last() } else { None };
    ExperimentStatus {
        spec: stored.spec.clone(),
        stage: stored.stage,
        share: stored.wanted.share,
        windows: stored.windows,
        slices: open.map_or(0, |window| window.slices.len() as u32), // at most SLICES
        waits: known.waits.clone(),
        latest: known.latest.clone(),
        outcome: stored.outcome.clone(),
        author: stored.author.clone(),
        reason: stored.reason.clone(),
        created_ms: stored.created_ms,
        bytes: known.bytes,
    }
}

fn unknown(name: &ExperimentName) -> Problem {
    Problem::new(name.to_string(), "no experiment has this name", "see the names with: weir experiment list")
}

fn show(dataplane: &Dataplane, name: &ExperimentName) -> Result<Answer, Problem> {
    let experiment = lock(&dataplane.experiments.all).get(name).map(status).ok_or_else(|| unknown(name))?;
    let windows = keep::shown(dataplane, name, &experiment.spec)?;
    Ok(Answer::Experiment(Box::new(ExperimentShown { experiment, windows })))
}

fn create(dataplane: &Dataplane, author: &str, spec: Spec, reason: String) -> Result<Changed, Problem> {
    spec.judge()?;
    let (name, flag): (ExperimentName, FlagName) = (spec.name.parse()?, spec.flag.parse()?);
    let mut all = lock(&dataplane.experiments.all);
    has_room(&all, &name, &flag)?;
    let (former, wanted) = {
        let keeper = lock(&dataplane.keeper);
        let flags = first(keeper.config(), &flag, &spec)?;
        // As it would be: what cannot be compared is refused before anything changes.
        let next = keeper.config().set_flag(flags.1.clone())?;
        let found = arms::arms(&next, &dataplane.classes, &spec)?;
        let works = flags::resolve(next.flags()).into_iter().find(|one| one.flag.name == flag);
        if let Some(Standing::Works(share)) = works.map(|one| one.standing)
            && share < flags.1.share
        {
            let cause = format!("the flags that it requires have {share} only");
            return Err(Problem::new(flag.to_string(), cause, "give them the share of the first step at least"));
        }
        measurable(&spec, &found)?;
        flags
    };
    let before = (former != wanted).then(|| former.clone());
    let text = format!("experiment {name}: flag {flag} has {} of the flows, its noise floor is measured", wanted.share);
    let stored = StoredExperiment {
        spec,
        former,
        wanted,
        before,
        stage: Stage::Noise,
        windows: 0,
        outcome: None,
        author: author.to_owned(),
        reason: short_reason(&reason),
        created_ms: figures::now().wall_ms,
    };
    let (name, known) = keep::create(dataplane, stored)?;
    if known.stored.before.is_some()
        && let Err(problem) = apply(dataplane, &name, &known)
    {
        // It never began.
        let _ = keep::remove(dataplane, &name, author);
        return Err(problem);
    }
    all.insert(name, known);
    let revision = lock(&dataplane.keeper).revision().ok();
    Ok(Changed { text, saved: true, revision, confirm_within_s: None })
}

/// Whether one more experiment on `flag` has room.
fn has_room(
    all: &std::collections::BTreeMap<ExperimentName, Known>,
    name: &ExperimentName,
    flag: &FlagName,
) -> Result<(), Problem> {
    if all.contains_key(name) {
        let cure = "give it another, or forget the former with: weir experiment remove";
        return Err(Problem::new(name.to_string(), "an experiment has this name", cure));
    }
    let running = || all.iter().filter(|(_, known)| known.is_running() || known.stored.before.is_some());
    if let Some((other, _)) = running().find(|(_, known)| known.flag == *flag) {
        let cause = format!("experiment {other} runs on this flag");
        return Err(Problem::new(flag.to_string(), cause, format!("wait for it, or: weir experiment stop {other}")));
    }
    if running().count() >= RUNNING {
        let cause = format!("{RUNNING} experiments run");
        return Err(Problem::new(name.to_string(), cause, "wait for one, or stop one"));
    }
    let bytes: u64 = all.values().map(|known| known.bytes).sum();
    if all.len() >= EXPERIMENTS || bytes as usize > BYTES / 2 {
        let cause = format!("{} experiments with {} KiB of windows are kept", all.len(), bytes >> 10);
        return Err(Problem::new(name.to_string(), cause, "forget one with: weir experiment remove"));
    }
    Ok(())
}

/// The flag as it is, and as it is at the first step.
fn first(config: &Config, name: &FlagName, spec: &Spec) -> Result<(FlagSpec, FlagSpec), Problem> {
    let former = config.flag(name)?.clone();
    let share = Share::from_basis_points(spec.share(Stage::Noise)).unwrap_or_default();
    let refuse = |cause: String, cure: &str| Err(Problem::new(name.to_string(), cause, cure));
    if !former.schedule.is_empty() {
        return refuse("it has planned steps".to_owned(), "take them away with: weir flag set NAME --no-steps");
    }
    if former.state == FlagState::On && former.share > share {
        let cause = format!("it has {} already, more than the first step's {share}", former.share);
        return refuse(cause, "begin with that share or a larger one, so that no flow moves back");
    }
    let wanted = FlagSpec { share, state: FlagState::On, ..former.clone() };
    Ok((former, wanted))
}

/// Whether what is guarded is measured in both arms.
fn measurable(spec: &Spec, found: &arms::Arms) -> Result<(), Problem> {
    let nobody = found.control.measured.is_empty() || found.candidate.measured.is_empty();
    match spec.guardrails.iter().find(|guardrail| guardrail.metric.is_latency()) {
        Some(guardrail) if nobody => {
            let cause = "flows of one arm go to no feature, so nothing measures how long they wait";
            let cure = "guard lost and throughput, or give both arms a feature";
            Err(Problem::new(guardrail.metric.as_str(), cause, cure))
        }
        _ => Ok(()),
    }
}

fn stop(
    dataplane: &Dataplane,
    author: &str,
    name: &ExperimentName,
    back: bool,
    reason: &str,
) -> Result<Changed, Problem> {
    let mut all = lock(&dataplane.experiments.all);
    let known = all.get_mut(name).ok_or_else(|| unknown(name))?;
    if !known.is_running() {
        return Err(Problem::new(name.to_string(), "it is over", "see how with: weir experiment show"));
    }
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let what = format!("stopped by {author}{why}");
    if back {
        roll_back(dataplane, name, known, &what);
    } else if let Some(before) = known.stored.before.take() {
        // A step that was not made yet is not made any more.
        known.stored.wanted = before;
    }
    known.end(Ending::Stopped, what);
    keep::state(dataplane, name, known);
    let then = if back { "what it was before" } else { "as it is" };
    let text = format!("experiment {name} is stopped; flag {} is {then}", known.flag);
    let revision = lock(&dataplane.keeper).revision().ok();
    Ok(Changed { text, saved: true, revision, confirm_within_s: None })
}

fn remove(dataplane: &Dataplane, author: &str, name: &ExperimentName) -> Result<Changed, Problem> {
    let mut all = lock(&dataplane.experiments.all);
    let known = all.get(name).ok_or_else(|| unknown(name))?;
    if known.is_running() || known.stored.before.is_some() {
        return Err(Problem::new(name.to_string(), "it runs", format!("stop it first: weir experiment stop {name}")));
    }
    let revision = Some(keep::remove(dataplane, name, author)?);
    all.remove(name);
    Ok(Changed { text: format!("experiment {name} is forgotten"), saved: true, revision, confirm_within_s: None })
}

/// Decides again from what is stored.
fn again(dataplane: &Dataplane, name: &ExperimentName) -> Result<ExperimentReplay, Problem> {
    let spec = lock(&dataplane.experiments.all).get(name).map(|known| known.stored.spec.clone());
    let spec = spec.ok_or_else(|| unknown(name))?;
    let (windows, stored) = keep::raw(dataplane, name)?;
    let replayed = replay(&spec, &windows, &stored);
    Ok(ExperimentReplay {
        name: name.to_string(),
        windows: windows.len() as u32, // at most WINDOWS
        same: replayed.differs_at.is_none(),
        differs_at: replayed.differs_at.map(|at| at as u32 + 1),
        decisions: replayed.decisions,
    })
}
