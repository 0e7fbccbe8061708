//! What an experiment is: its flag and arms, what is guarded, how long, in which steps, with which error rates.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::window::Stage;

/// Shortest and longest window in milliseconds. A slice is a fortieth; below 200 ms a worker's reports, ten a second, would
/// fall into one slice or the next by chance.
pub(crate) const WINDOW_MS: std::ops::RangeInclusive<u64> = 8_000..=86_400_000;
/// Most windows of an experiment.
pub(crate) const WINDOWS: u32 = 96;
/// Most steps of a ramp.
pub(crate) const STEPS: usize = 20;
/// Most windows that measure the noise floor.
pub(crate) const NOISE_WINDOWS: u32 = 10;
/// Error rates that can be asked for, in millionths: 0.01 % to 20 %.
pub(crate) const ERROR_PPM: std::ops::RangeInclusive<u32> = 100..=200_000;
/// Tolerances that can be asked for, in millionths: 0.01 % to 50 %.
pub(crate) const TOLERANCE_PPM: std::ops::RangeInclusive<u32> = 100..=500_000;
/// Share of all flows, in basis points.
pub(crate) const ALL_FLOWS: u16 = 10_000;

/// Why a specification is none: the value, the cause, the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

impl Refusal {
    /// A refusal of `value`.
    #[must_use]
    pub fn new(value: impl Into<String>, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { value: value.into(), cause: cause.into(), cure: cure.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.value, self.cause, self.cure)
    }
}

impl std::error::Error for Refusal {}

/// The two arms: which flows of a flag are compared with which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arms {
    /// Two variants of the flag.
    Variants {
        /// What is known to be good.
        control: String,
        /// What is to prove itself.
        candidate: String,
    },
    /// Flows that match the flag and are not in its share, and those that are.
    OffOn,
}

/// One metric that the candidate must not make worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// What is guarded.
    pub metric: Metric,
    /// What the candidate may lose, in millionths of the control's value; of [`Metric::Lost`] in millionths of the frames.
    pub tolerance_ppm: u32,
}

impl Guardrail {
    /// A guardrail with the metric's own tolerance.
    #[must_use]
    pub const fn of(metric: Metric) -> Self {
        Self { metric, tolerance_ppm: metric.tolerance_ppm() }
    }

    /// The tolerance on the scale of [`compare`](crate::compare): of two values of which the worse is `1 + t` of the better, the
    /// difference is `t / (1 + t)` of the larger.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        let given = f64::from(self.tolerance_ppm) / 1e6;
        match self.metric {
            Metric::Lost | Metric::Throughput => given,
            Metric::LatencyP50 | Metric::LatencyP99 => given / (1.0 + given),
        }
    }
}

/// An experiment as it was asked for. Numbers are whole, so that it reads back as it was written, to the last bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// The flag whose share grows.
    pub flag: String,
    /// What is compared with what.
    pub arms: Arms,
    /// What must not get worse.
    pub guardrails: Vec<Guardrail>,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
    /// Most windows, those that measure the noise floor and void ones included.
    pub windows: u32,
    /// Windows that measure the noise floor, before anything is decided.
    pub noise_windows: u32,
    /// Windows without data in a row after which it ends.
    pub patience: u32,
    /// The flag's share at each step of the ramp, in basis points, rising.
    pub steps: Vec<u16>,
    /// Most probability of rolling back a candidate that is no worse than tolerated, over the whole experiment, in millionths.
    pub alpha_ppm: u32,
    /// Most probability that a candidate which is worse than tolerated passes a step, in millionths.
    pub beta_ppm: u32,
}

impl Spec {
    /// Steps of a ramp unless somebody says otherwise: 5, 25, 50, 75, 100 %.
    pub const STEPS: [u16; 5] = [500, 2_500, 5_000, 7_500, 10_000];
    /// Length of a window unless somebody says otherwise: an hour.
    pub const WINDOW_MS: u64 = 3_600_000;
    /// Most windows unless somebody says otherwise.
    pub const WINDOWS: u32 = 48;
    /// Windows without data in a row, unless somebody says otherwise.
    pub const PATIENCE: u32 = 3;
    /// Error rate of a rollback unless somebody says otherwise: 5 %.
    pub const ALPHA_PPM: u32 = 50_000;
    /// Error rate of a promotion unless somebody says otherwise: 5 %.
    pub const BETA_PPM: u32 = 50_000;

    /// An experiment with the defaults: throughput and the 99th percentile of latency are guarded.
    #[must_use]
    pub fn new(name: impl Into<String>, flag: impl Into<String>, arms: Arms) -> Self {
        Self {
            name: name.into(),
            flag: flag.into(),
            arms,
            guardrails: vec![Guardrail::of(Metric::Throughput), Guardrail::of(Metric::LatencyP99)],
            window_ms: Self::WINDOW_MS,
            windows: Self::WINDOWS,
            noise_windows: 1,
            patience: Self::PATIENCE,
            steps: Self::STEPS.to_vec(),
            alpha_ppm: Self::ALPHA_PPM,
            beta_ppm: Self::BETA_PPM,
        }
    }

    /// What the evidence for "worse" must reach: Ville's inequality bounds the chance of that by its inverse for each guardrail,
    /// and all guardrails together have `alpha`.
    #[must_use]
    pub fn worse_needs(&self) -> f64 {
        self.guardrails.len() as f64 * 1e6 / f64::from(self.alpha_ppm.max(1))
    }

    /// What the evidence for "no worse" must reach for each guardrail. All must, so that the chance of passing with one that is
    /// worse is that one's alone.
    #[must_use]
    pub fn fine_needs(&self) -> f64 {
        1e6 / f64::from(self.beta_ppm.max(1))
    }

    /// The flag's share at a stage; the noise floor is measured at the first step's.
    #[must_use]
    pub fn share(&self, stage: Stage) -> u16 {
        let step = match stage {
            Stage::Noise => 0,
            Stage::Step(step) => step as usize,
            Stage::Ended => self.steps.len(),
        };
        self.steps.get(step.min(self.steps.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    /// Whether there is nothing to compare at this step: with all flows on, none is off.
    #[must_use]
    pub fn is_without_control(&self, step: u32) -> bool {
        self.arms == Arms::OffOn && self.steps.get(step as usize) == Some(&ALL_FLOWS)
    }

    /// Length of a slice in milliseconds.
    #[must_use]
    pub const fn slice_ms(&self) -> u64 {
        self.window_ms / crate::SLICES as u64
    }

    /// Whether this can be an experiment.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn judge(&self) -> Result<(), Refusal> {
        self.judge_guardrails()?;
        self.judge_steps()?;
        let within = |what: &str, value: u64, range: std::ops::RangeInclusive<u64>, unit: &str| {
            let (least, most) = (range.start(), range.end());
            if range.contains(&value) {
                return Ok(());
            }
            Err(Refusal::new(
                format!("{value}{unit}"),
                format!("{what} is {least} to {most}{unit}"),
                format!("give {least} to {most}"),
            ))
        };
        within("a window", self.window_ms, WINDOW_MS, " ms")?;
        within("the number of noise windows", self.noise_windows.into(), 1..=NOISE_WINDOWS.into(), "")?;
        within("the number of windows", self.windows.into(), u64::from(self.noise_windows) + 1..=WINDOWS.into(), "")?;
        within("the number of windows without data", self.patience.into(), 1..=u64::from(WINDOWS), "")?;
        let errors = u64::from(*ERROR_PPM.start())..=u64::from(*ERROR_PPM.end());
        within("alpha", self.alpha_ppm.into(), errors.clone(), " millionths")?;
        within("beta", self.beta_ppm.into(), errors, " millionths")?;
        match &self.arms {
            Arms::Variants { control, candidate } if control == candidate => {
                Err(Refusal::new(candidate.as_str(), "both arms are the same variant", "name two variants of the flag"))
            }
            _ => Ok(()),
        }
    }

    fn judge_guardrails(&self) -> Result<(), Refusal> {
        if self.guardrails.is_empty() {
            return Err(Refusal::new("metric", "nothing is guarded", "name at least one metric"));
        }
        for (place, guardrail) in self.guardrails.iter().enumerate() {
            let twice = self.guardrails.iter().take(place).any(|earlier| earlier.metric == guardrail.metric);
            if twice {
                return Err(Refusal::new(guardrail.metric.as_str(), "this metric is guarded twice", "name it once"));
            }
            if !TOLERANCE_PPM.contains(&guardrail.tolerance_ppm) {
                let value = format!("{}={} millionths", guardrail.metric, guardrail.tolerance_ppm);
                return Err(Refusal::new(value, "a tolerance is 0.01 % to 50 %", "give one between, for example 5%"));
            }
        }
        Ok(())
    }

    fn judge_steps(&self) -> Result<(), Refusal> {
        let text =
            || self.steps.iter().map(|step| format!("{}%", f64::from(*step) / 100.0)).collect::<Vec<_>>().join(",");
        let refuse = |cause: &str| Err(Refusal::new(text(), cause, "give rising shares, for example 5,25,50,75,100"));
        if self.steps.is_empty() || self.steps.len() > STEPS {
            return refuse("a ramp has 1 to 20 steps");
        }
        let above = |step: &u16| *step == 0 || *step > ALL_FLOWS;
        if self.steps.iter().any(above) {
            return refuse("a step is above 0 % and at most 100 %");
        }
        if self.steps.windows(2).any(|pair| pair[0] >= pair[1]) {
            return refuse("steps rise, so that no flow moves back");
        }
        if self.is_without_control(0) {
            return refuse("with all flows on, none is off to be compared with");
        }
        Ok(())
    }
}
