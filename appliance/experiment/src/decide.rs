//! The decision after each window.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::spec::Spec;
use crate::window::{Stage, Window};

/// What becomes of the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has proved itself at this step: the next is its.
    Promote,
    /// It stays as it is.
    Hold,
    /// It is worse than tolerated: the flag becomes what it was before.
    RollBack,
}

impl Verdict {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::RollBack => "roll back",
        }
    }
}

/// A decision, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What becomes of the candidate.
    pub verdict: Verdict,
    /// What is measured next.
    pub next: Stage,
    /// Why, in words.
    pub reason: String,
    /// Whether the window had no data of some guardrail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_data: bool,
    /// Every guardrail's state.
    pub evidence: Vec<Evidence>,
}

/// Decides after the last of `windows`, which are all of the experiment so far, in their order. The last may be unfinished: then
/// the only thing that it can do is to roll back.
#[must_use]
pub fn decide(spec: &Spec, windows: &[Window]) -> Decision {
    let evidence: Vec<Evidence> =
        spec.guardrails.iter().map(|guardrail| Evidence::of(spec, guardrail, windows)).collect();
    let Some(last) = windows.last() else {
        return Decision {
            verdict: Verdict::Hold,
            next: Stage::Noise,
            reason: "nothing is measured yet".to_owned(),
            no_data: false,
            evidence,
        };
    };
    let (verdict, next, reason, no_data) = verdict(spec, windows, last, &evidence);
    Decision { verdict, next, reason, no_data, evidence }
}

type Ruling = (Verdict, Stage, String, bool);

fn verdict(spec: &Spec, windows: &[Window], last: &Window, evidence: &[Evidence]) -> Ruling {
    let hold = |reason: String, no_data| (Verdict::Hold, last.stage, reason, no_data);
    if let Some(found) = evidence.iter().find(|found| found.is_worse()) {
        return (Verdict::RollBack, Stage::Ended, worse(found), false);
    }
    if !last.is_whole() && last.void.is_none() {
        return hold(format!("window {} is being measured", last.number), false);
    }
    let ruling = if let Some(fault) = last.fault(spec) {
        hold(format!("window {} is void: {fault}", last.number), false)
    } else if let Some(missing) = evidence.iter().find_map(|found| found.no_data.as_deref()) {
        hold(format!("no data: {missing}"), true)
    } else {
        match last.stage {
            Stage::Noise => after_noise(spec, windows, evidence),
            Stage::Step(step) => after_step(spec, step, evidence),
            Stage::Ended => hold("it was over".to_owned(), false),
        }
    };
    at_its_end(spec, windows, ruling)
}

/// How the candidate is worse, in one line.
fn worse(found: &Evidence) -> String {
    let Evidence { metric, floor, loss, worse, worse_needs, tolerance_ppm, .. } = found;
    format!(
        "{metric} is worse: by {} in this window, where {} and a noise floor of {} are tolerated (evidence {}, bound {})",
        percent(loss.unwrap_or(0.0)),
        percent(f64::from(*tolerance_ppm) / 1e6),
        percent(floor.unwrap_or(0.0)),
        short(*worse),
        short(*worse_needs)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.1e}") } else { format!("{value:.1}") }
}

fn after_noise(spec: &Spec, windows: &[Window], evidence: &[Evidence]) -> Ruling {
    // A window without data or with a fault measured no noise; this one did.
    let is_measured = |window: &&Window| {
        let has_all = || spec.guardrails.iter().all(|guardrail| crate::floor::is_measured(guardrail.metric, window));
        window.stage == Stage::Noise && window.is_whole() && window.fault(spec).is_none() && has_all()
    };
    let measured = windows.iter().filter(is_measured).count();
    if measured < spec.noise_windows as usize {
        let reason = format!("the noise floor is measured: {measured} of {} windows", spec.noise_windows);
        return (Verdict::Hold, Stage::Noise, reason, false);
    }
    let floors: Vec<String> =
        evidence.iter().map(|found| format!("{} {}", found.metric, percent(found.floor.unwrap_or(0.0)))).collect();
    (Verdict::Hold, Stage::Step(0), format!("the noise floor is measured: {}", floors.join(", ")), false)
}

fn after_step(spec: &Spec, step: u32, evidence: &[Evidence]) -> Ruling {
    let waits: Vec<String> = evidence
        .iter()
        .filter(|found| !found.is_fine())
        .map(|found| format!("{} {} of {}", found.metric, short(found.fine), short(found.fine_needs)))
        .collect();
    if !waits.is_empty() {
        let reason = format!("it is not shown yet that nothing is worse: evidence {}", waits.join(", "));
        return (Verdict::Hold, Stage::Step(step), reason, false);
    }
    let share = percent(f64::from(spec.share(Stage::Step(step))) / 1e4);
    let is_last = step as usize + 1 >= spec.steps.len();
    if is_last {
        return (Verdict::Promote, Stage::Ended, format!("at {share} nothing is worse: this was the last step"), false);
    }
    let next = percent(f64::from(spec.share(Stage::Step(step + 1))) / 1e4);
    let reason = format!("at {share} nothing is worse: on to {next}");
    if spec.is_without_control(step + 1) {
        let reason = format!("{reason}, where no flow is left to compare with");
        return (Verdict::Promote, Stage::Ended, reason, false);
    }
    (Verdict::Promote, Stage::Step(step + 1), reason, false)
}

/// Ends an experiment that has used up its windows, or has had none with data for too long.
fn at_its_end(spec: &Spec, windows: &[Window], ruling: Ruling) -> Ruling {
    let (verdict, next, reason, no_data) = ruling;
    if next == Stage::Ended {
        return (verdict, next, reason, no_data);
    }
    // A void window is no sign either way.
    let usable = || windows.iter().rev().filter(|window| window.fault(spec).is_none());
    let without = || usable().take_while(|window| is_without_data(spec, window)).count();
    if no_data && without() >= spec.patience as usize {
        let reason = format!("{reason}; that was so in {} windows in a row, so it ends here", without());
        return (verdict, Stage::Ended, reason, no_data);
    }
    if windows.len() >= spec.windows as usize {
        // A step that was just won is not begun: there is no window left to watch it in.
        let reason = format!("{reason}; all {} windows are used up, so it ends here", spec.windows);
        return (Verdict::Hold, Stage::Ended, reason, no_data);
    }
    (verdict, next, reason, no_data)
}

/// Whether a window has no data of some guardrail.
fn is_without_data(spec: &Spec, window: &Window) -> bool {
    let alone = std::slice::from_ref(window);
    spec.guardrails.iter().any(|guardrail| Evidence::of(spec, guardrail, alone).no_data.is_some())
}
