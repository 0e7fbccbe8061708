//! Experiments in the store.

use std::collections::BTreeMap;

use weir_appliance_control::experiments::{
    self, BYTES, Stored, StoredExperiment, StoredWindow, WINDOW_BYTES, key, read, reason, window_key, written,
};
use weir_appliance_control::message::ExperimentWindow;
use weir_appliance_control::name::ExperimentName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::resources::{Kind, Origin, ResourceStore, Revision, Transaction};
use weir_appliance_control::share::Share;
use weir_appliance_experiment::{Decision, Window};

use super::super::{Dataplane, lock};
use super::{Experiments, Known, author};

fn refused(error: &dyn std::fmt::Display) -> Problem {
    Problem::new("store", error.to_string(), "see weir status")
}

impl Experiments {
    /// What the store knows. One that does not read is left alone and said.
    pub(in super::super) fn load(store: &dyn ResourceStore) -> Self {
        let loaded = Self::default();
        let entries = match store.list(Kind::Experiments) {
            Ok((_, entries)) => entries,
            Err(error) => {
                tracing::error!("experiments cannot be read: {error}");
                return loaded;
            }
        };
        let mut all: BTreeMap<ExperimentName, Known> = BTreeMap::new();
        // An experiment's name is the begin of its windows' names, so it comes first.
        for entry in entries {
            match read(&entry) {
                Ok(Stored::Experiment(stored)) => match known(*stored) {
                    Ok((name, known)) => drop(all.insert(name, known)),
                    Err(problem) => tracing::error!("{problem}"),
                },
                Ok(Stored::Window(name, stored)) => {
                    let Some(known) = all.get_mut(&name) else { continue };
                    known.bytes += entry.value.len() as u64;
                    known.latest = Some(stored.decision);
                    if known.is_running() {
                        known.windows.push(stored.window);
                    }
                }
                Err(problem) => tracing::error!("{problem}"),
            }
        }
        for (name, known) in all.iter().filter(|(_, known)| known.is_running()) {
            tracing::info!("experiment {name} goes on with {} windows", known.windows.len());
        }
        *lock(&loaded.all) = all;
        loaded
    }
}

fn known(stored: StoredExperiment) -> Result<(ExperimentName, Known), Problem> {
    let (name, flag) = (stored.spec.name.parse()?, stored.spec.flag.parse()?);
    let (windows, open, latest, waits) = (Vec::new(), None, None, None);
    Ok((name, Known { stored, flag, windows, open, latest, waits, bytes: 0 }))
}

/// A new experiment.
///
/// # Errors
/// The store refuses it.
pub(super) fn create(dataplane: &Dataplane, stored: StoredExperiment) -> Result<(ExperimentName, Known), Problem> {
    let (name, known) = known(stored)?;
    let origin =
        Origin::new(known.stored.author.as_str(), reason(&known.stored.reason)).map_err(|error| refused(&error))?;
    commit(dataplane, Transaction::new(origin).put(key(&name)?, written(&known.stored)?))?;
    Ok((name, known))
}

fn commit(dataplane: &Dataplane, transaction: Transaction) -> Result<Revision, Problem> {
    let store = std::sync::Arc::clone(lock(&dataplane.keeper).store());
    store.commit(&transaction).map_err(|error| refused(&error))
}

/// Writes where an experiment stands. If that fails it is said; a start finds what was written last.
pub(super) fn state(dataplane: &Dataplane, name: &ExperimentName, known: &Known) {
    let write = || {
        let why = known.stored.outcome.as_ref().map_or("", |outcome| outcome.reason.as_str());
        let origin = Origin::new(author(name), reason(why)).map_err(|error| refused(&error))?;
        commit(dataplane, Transaction::new(origin).put(key(name)?, written(&known.stored)?))
    };
    if let Err(problem) = write() {
        tracing::error!("experiment {name} cannot be written: {problem}");
    }
}

/// Writes a closed window with what was decided, and where the experiment stands, in one change.
///
/// # Errors
/// It is too long, or the store cannot be written: nothing is.
pub(super) fn window(
    dataplane: &Dataplane,
    name: &ExperimentName,
    known: &mut Known,
    window: Window,
    decision: Decision,
) -> Result<(), Problem> {
    let number = window.number;
    let origin = Origin::new(author(name), reason(&decision.reason)).map_err(|error| refused(&error))?;
    let value = written(&StoredWindow { window, decision })?;
    if value.len() > WINDOW_BYTES || known.bytes as usize + value.len() > BYTES {
        let cause = format!("{} bytes, a window has at most {WINDOW_BYTES} and an experiment {BYTES}", value.len());
        return Err(Problem::new(format!("window {number}"), cause, "use fewer windows"));
    }
    let bytes = value.len() as u64;
    let transaction = Transaction::new(origin).put(window_key(name, number)?, value);
    commit(dataplane, transaction.put(key(name)?, written(&known.stored)?))?;
    known.bytes += bytes;
    Ok(())
}

/// Takes an experiment and its windows out of the store.
///
/// # Errors
/// The store cannot be written.
pub(super) fn remove(dataplane: &Dataplane, name: &ExperimentName, by: &str) -> Result<Revision, Problem> {
    let origin = Origin::new(by, format!("experiment {name} is removed")).map_err(|error| refused(&error))?;
    let mut transaction = Transaction::new(origin).delete(key(name)?);
    for (_, _, number) in stored_windows(dataplane, name)? {
        transaction = transaction.delete(window_key(name, number)?);
    }
    commit(dataplane, transaction)
}

/// The windows of an experiment as they are in the store, with their revision and number.
fn stored_windows(dataplane: &Dataplane, name: &ExperimentName) -> Result<Vec<(StoredWindow, Revision, u32)>, Problem> {
    let store = std::sync::Arc::clone(lock(&dataplane.keeper).store());
    let mut found = Vec::new();
    for number in 1.. {
        let Some(entry) = store.get(&window_key(name, number)?).map_err(|error| refused(&error))? else { break };
        if let Stored::Window(_, window) = experiments::read(&entry)? {
            found.push((*window, entry.modified, number));
        }
    }
    Ok(found)
}

/// The windows of an experiment for people.
///
/// # Errors
/// The store cannot be read.
pub(super) fn shown(
    dataplane: &Dataplane,
    name: &ExperimentName,
    spec: &weir_appliance_experiment::Spec,
) -> Result<Vec<ExperimentWindow>, Problem> {
    let row = |(StoredWindow { window, decision }, revision, number)| ExperimentWindow {
        number,
        stage: window.stage,
        share: Share::from_basis_points(spec.share(window.stage)).unwrap_or_default(),
        began_ms: window.begin.wall_ms,
        decision,
        revision,
    };
    Ok(stored_windows(dataplane, name)?.into_iter().map(row).collect())
}

/// The raw windows and the decisions that are stored with them.
///
/// # Errors
/// The store cannot be read.
pub(super) fn raw(dataplane: &Dataplane, name: &ExperimentName) -> Result<(Vec<Window>, Vec<Decision>), Problem> {
    Ok(stored_windows(dataplane, name)?.into_iter().map(|(stored, ..)| (stored.window, stored.decision)).unzip())
}
