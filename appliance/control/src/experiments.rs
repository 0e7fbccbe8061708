//! Experiments as they stand in the store: one resource for each, and one for each of its windows. They are no part of the
//! configuration: a rollback of that leaves them, and a file says nothing of them.

use serde::{Deserialize, Serialize};
use weir_appliance_experiment::{Decision, Spec, Stage, Window};
use weir_appliance_flags::plain;

use crate::config::FlagSpec;
use crate::name::ExperimentName;
use crate::problem::Problem;
use crate::resources::{Entry, Key, Kind, MAX_REASON_BYTES};

/// Experiments that are kept, those that are over included.
pub const EXPERIMENTS: usize = 8;
/// Experiments that run at the same time.
pub const RUNNING: usize = 4;
/// Bytes of a window.
pub const WINDOW_BYTES: usize = 128 << 10;
/// Bytes of all windows together.
pub const BYTES: usize = 16 << 20;

/// How an experiment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The candidate has proved itself at the last step.
    Promoted,
    /// The candidate was worse than tolerated: the flag is what it was before.
    RolledBack,
    /// Nothing was shown in the time there was, or nothing was measured.
    Held,
    /// Somebody stopped it, or changed the flag by hand.
    Stopped,
}

impl Ending {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Held => "held",
            Self::Stopped => "stopped",
        }
    }
}

/// How an experiment ended, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub ending: Ending,
    /// Why, in words.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// An experiment in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredExperiment {
    /// What was asked for.
    pub spec: Spec,
    /// The flag as it was before: what a rollback puts back.
    pub former: FlagSpec,
    /// The flag as the experiment wants it now.
    pub wanted: FlagSpec,
    /// The flag as it is while it is not yet what is wanted: written before the flag is changed, so that a start knows whose
    /// the flag's state is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<FlagSpec>,
    /// What is measured now.
    pub stage: Stage,
    /// Windows that are closed.
    pub windows: u32,
    /// How it ended, if it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A window in the store, with what was decided after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredWindow {
    /// The raw figures.
    pub window: Window,
    /// The decision.
    pub decision: Decision,
}

/// What a resource of this kind is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// An experiment.
    Experiment(Box<StoredExperiment>),
    /// A window of the experiment of this name.
    Window(ExperimentName, Box<StoredWindow>),
}

/// Between an experiment's name, which cannot have it, and a window's number.
const SEPARATOR: char = '/';

fn named(name: &str) -> Result<Key, Problem> {
    Key::new(Kind::Experiments, name).map_err(|error| Problem::new(name, error.to_string(), "report this"))
}

/// The resource of an experiment.
///
/// # Errors
/// None: every name has room.
pub fn key(name: &ExperimentName) -> Result<Key, Problem> {
    named(name.as_str())
}

/// The resource of a window.
///
/// # Errors
/// None: every name has room.
pub fn window_key(name: &ExperimentName, number: u32) -> Result<Key, Problem> {
    named(&format!("{name}{SEPARATOR}{number:04}"))
}

/// What a resource says.
///
/// # Errors
/// It was written by another version, or by nobody here.
pub fn read(entry: &Entry) -> Result<Stored, Problem> {
    let refuse = |cause: String| {
        let cure = "it was written by another version of weir: use that one, or remove the experiment";
        Problem::new(entry.key.to_string(), cause, cure)
    };
    let json = |error: serde_json::Error| refuse(format!("it cannot be read: {error}"));
    match entry.key.name().split_once(SEPARATOR) {
        None => serde_json::from_slice(&entry.value).map(|found| Stored::Experiment(Box::new(found))).map_err(json),
        Some((name, _)) => {
            let window = serde_json::from_slice(&entry.value).map_err(json)?;
            Ok(Stored::Window(name.parse()?, Box::new(window)))
        }
    }
}

/// A value as it is stored.
///
/// # Errors
/// It has no JSON, which it has.
pub fn written(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| Problem::new("experiment", error.to_string(), "report this"))
}

/// A reason that a store takes, whatever it was made of.
#[must_use]
pub fn reason(text: &str) -> String {
    let mut line: String = text.chars().map(plain).collect();
    let mut end = line.len().min(MAX_REASON_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Revision;
    use weir_appliance_experiment::{Arms, Moment, decide};

    fn entry(key: Key, value: Vec<u8>) -> Entry {
        Entry { key, value, created: Revision(1), modified: Revision(1), version: 1, lease: None }
    }

    #[test]
    fn what_is_stored_reads_back() {
        let name: ExperimentName = "try-1".parse().unwrap();
        let flag: FlagSpec = serde_json::from_str(r#"{"name":"f","to":["streaming"],"share":"5%"}"#).unwrap();
        let spec = Spec::new("try-1", "f", Arms::OffOn);
        let experiment = StoredExperiment {
            spec: spec.clone(),
            former: flag.clone(),
            wanted: flag.clone(),
            before: None,
            stage: Stage::Step(2),
            windows: 3,
            outcome: Some(Outcome { ending: Ending::RolledBack, reason: "x".into(), time_ms: 1 }),
            author: "root (uid 0)".into(),
            reason: String::new(),
            created_ms: 7,
        };
        let stored = entry(key(&name).unwrap(), written(&experiment).unwrap());
        assert_eq!(read(&stored), Ok(Stored::Experiment(Box::new(experiment))));
        let window = Window::new(3, Stage::Noise, Moment::default());
        let window = StoredWindow { decision: decide(&spec, std::slice::from_ref(&window)), window };
        let stored = entry(window_key(&name, 3).unwrap(), written(&window).unwrap());
        assert_eq!(stored.key.to_string(), "experiments/try-1/0003");
        assert_eq!(read(&stored), Ok(Stored::Window(name, Box::new(window))));
        assert!(
            read(&entry(named("try-1").unwrap(), b"{}".to_vec())).unwrap_err().to_string().contains("another version")
        );
    }

    #[test]
    fn a_reason_always_fits() {
        assert_eq!(reason("a\nb"), "a b");
        assert!(reason(&"ä".repeat(600)).len() <= MAX_REASON_BYTES);
    }
}
