//! `weir experiment create`: what is to be compared, what must not become worse, and in which steps.

use std::time::Duration;

use clap::Args;
use weir_appliance_control::message::Request;
use weir_appliance_control::name::{ExperimentName, FlagName, VariantName};
use weir_appliance_control::problem::Problem;
use weir_appliance_experiment::{Arms, Guardrail, Metric, Spec};

use crate::answer::Ask;

/// What an experiment is to be.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The experiment's name; the flag's if it is not given.
    pub name: Option<ExperimentName>,
    /// The flag whose share is to grow.
    #[arg(long, value_name = "FLAG")]
    pub flag: FlagName,
    /// The variant that is known to be good; without it flows that do not have the flag.
    #[arg(long, value_name = "VARIANT", requires = "candidate")]
    pub control: Option<VariantName>,
    /// The variant that is to prove itself; without it flows that have the flag.
    #[arg(long, value_name = "VARIANT", requires = "control")]
    pub candidate: Option<VariantName>,
    /// What must not become worse: throughput, lost, latency_p50 or latency_p99, and by more than what: latency_p99=10%. To be
    /// given several times; without it throughput and latency_p99.
    #[arg(long, value_name = "METRIC", value_parser = metric)]
    pub metric: Vec<Guardrail>,
    /// Length of a window, 8s to 24h; something worse is found within one.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub window: Duration,
    /// Most windows, 2 to 96; then it ends as held.
    #[arg(long, value_name = "COUNT", default_value_t = Spec::WINDOWS)]
    pub windows: u32,
    /// The flag's share at each step, in percent.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "5,25,50,75,100", value_parser = step)]
    pub steps: Vec<u16>,
    /// Windows that measure the noise floor.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub noise_windows: u32,
    /// Windows without data in a row after which it ends.
    #[arg(long, value_name = "COUNT", default_value_t = Spec::PATIENCE)]
    pub patience: u32,
    /// Most probability of rolling back what is not worse.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = part)]
    pub alpha: u32,
    /// Most probability that a step is passed by what is worse.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = part)]
    pub beta: u32,
    /// Why, in a few words: it stands in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// `1%` or `0.05%` in millionths.
fn part(text: &str) -> Result<u32, Problem> {
    let refuse = || {
        Problem::new(
            text,
            "this is not a percentage",
            "write one with at most four digits behind the point: 5% or 0.5%",
        )
    };
    let number = text.strip_suffix('%').ok_or_else(refuse)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let digits = whole.bytes().chain(rest.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || rest.len() > 4 || !digits {
        return Err(refuse());
    }
    let millionths = format!("{whole}{rest:0<4}").parse::<u32>().map_err(|_| refuse())?;
    if millionths > 1_000_000 { Err(refuse()) } else { Ok(millionths) }
}

/// A percentage of the flows in basis points, with or without its sign.
fn step(text: &str) -> Result<u16, Problem> {
    let refuse =
        || Problem::new(text, "this is not a share of the flows", "write percentages, for example 5,25,50,75,100");
    let sign = if text.ends_with('%') { "" } else { "%" };
    let millionths = part(&format!("{text}{sign}")).map_err(|_| refuse())?;
    if millionths % 100 != 0 { Err(refuse()) } else { u16::try_from(millionths / 100).map_err(|_| refuse()) }
}

/// `latency_p99` or `latency_p99=10%`.
fn metric(text: &str) -> Result<Guardrail, Problem> {
    let (name, tolerance) = text.split_once('=').map_or((text, None), |(name, tolerance)| (name, Some(tolerance)));
    let guardrail = Guardrail::of(name.parse::<Metric>()?);
    let tolerance_ppm = tolerance.map(part).transpose()?.unwrap_or(guardrail.tolerance_ppm);
    Ok(Guardrail { tolerance_ppm, ..guardrail })
}

/// `10s`, `5m`, `1h`.
fn time(text: &str) -> Result<Duration, Problem> {
    match text.strip_suffix('h').map(str::parse::<u64>) {
        Some(Ok(hours)) if hours <= 24 => Ok(Duration::from_secs(hours * 3600)),
        Some(_) => Err(Problem::new(text, "a window has 8 s to 24 h", "write a time such as 10s, 5m or 1h")),
        None => crate::chaos::time(text),
    }
}

impl CreateArgs {
    /// What is asked of the running weir.
    ///
    /// # Errors
    /// Together the words make no experiment.
    pub fn request(&self) -> Result<Request, Problem> {
        let name = self.name.as_ref().map_or_else(|| self.flag.as_str(), ExperimentName::as_str);
        let arms = match (&self.control, &self.candidate) {
            (Some(control), Some(candidate)) => {
                Arms::Variants { control: control.to_string(), candidate: candidate.to_string() }
            }
            _ => Arms::OffOn,
        };
        let mut spec = Spec::new(name, self.flag.as_str(), arms);
        if !self.metric.is_empty() {
            spec.guardrails.clone_from(&self.metric);
        }
        spec.window_ms = self.window.as_millis() as u64; // at most a day
        spec.windows = self.windows;
        spec.noise_windows = self.noise_windows;
        spec.patience = self.patience;
        spec.steps.clone_from(&self.steps);
        (spec.alpha_ppm, spec.beta_ppm) = (self.alpha, self.beta);
        spec.judge()?;
        Ok(Request::ExperimentCreate { spec: Box::new(spec), reason: self.reason.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_tolerances_are_read_exactly() {
        assert_eq!(["5%", "0.5%", "100%", "0.0001%"].map(|text| part(text).unwrap()), [50_000, 5_000, 1_000_000, 1]);
        assert_eq!(["5", "2.5%", "100"].map(|text| step(text).unwrap()), [500, 250, 10_000]);
        for bad in ["", "5", "%", "101%", "-1%", "1.23456%", "1e2%"] {
            assert!(part(bad).is_err(), "{bad}");
        }
        assert!(step("0.001").is_err());
        assert_eq!(metric("latency_p99=10%").unwrap().tolerance_ppm, 100_000);
        let unknown = metric("speed").unwrap_err().to_string();
        assert!(unknown.contains("throughput, lost, latency_p50, latency_p99"), "{unknown}");
        assert_eq!(time("1h").unwrap(), Duration::from_secs(3600));
        assert!(time("25h").is_err() && time("1d").is_err());
    }
}
