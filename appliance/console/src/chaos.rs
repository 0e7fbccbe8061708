//! `weir chaos`: break something on purpose, and see that the rest does not notice.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use weir_appliance_control::message::Request;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::FeatureName;

use crate::answer::{Ask, Outcome};

/// Break something on purpose. It mends itself after a time, and nothing of it is saved.
#[derive(Clone, Debug, Subcommand)]
pub enum ChaosCommand {
    /// Make a feature slow: its worker rests after each batch.
    Slow(SlowArgs),
    /// Make a feature's workers hang at their start; whoever runs goes on.
    Hang(HangArgs),
}

/// Whose workers are to hang, and where.
#[derive(Args, Clone, Debug)]
pub struct HangArgs {
    /// The feature.
    pub feature: FeatureName,
    /// Hang when they have said who they are and are lent their rings, instead of before they say a word.
    #[arg(long)]
    pub after_hello: bool,
    /// For how long workers are started so; `0` ends it.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    pub how_long: Duration,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// Who is to be slow, and how slow.
#[derive(Args, Clone, Debug)]
pub struct SlowArgs {
    /// The feature.
    pub feature: FeatureName,
    /// How long it rests after each batch: `200us`, `5ms`, at most `1s`; `0` ends it.
    #[arg(value_parser = time)]
    pub delay: Duration,
    /// For how long; then it is as fast as before.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    pub how_long: Duration,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl ChaosCommand {
    /// Asks for it.
    ///
    /// # Errors
    /// Nobody answers, or the request is refused.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Slow(SlowArgs { feature, delay, how_long, ask }) => {
                let delay_us = delay.as_micros() as u64; // the parser bounds both
                ask.change(&Request::ChaosSlow { feature: *feature, delay_us, seconds: how_long.as_secs() }, out)
            }
            Self::Hang(HangArgs { feature, after_hello, how_long, ask }) => {
                let (feature, after_hello, seconds) = (*feature, *after_hello, how_long.as_secs());
                ask.change(&Request::ChaosHang { feature, after_hello, seconds }, out)
            }
        }
    }
}

/// A time with its unit: `200us`, `5ms`, `60s`, `2m`; `0` needs none.
pub(crate) fn time(text: &str) -> Result<Duration, Problem> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: Option<u64> = number.parse().ok().filter(|number| *number <= 1_000_000_000);
    let time = number.and_then(|number| match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    });
    time.ok_or_else(|| Problem::new(text, "this is not a time", "write a number and its unit: 200us, 5ms, 60s, 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(time("200us"), Ok(Duration::from_micros(200)));
        assert_eq!((time("2m"), time("0")), (Ok(Duration::from_secs(120)), Ok(Duration::ZERO)));
        for wrong in ["5", "ms", "", "-5ms", "5 ms", "5h", "99999999999s", "5µs"] {
            assert!(time(wrong).unwrap_err().to_string().ends_with("200us, 5ms, 60s, 2m"), "{wrong}");
        }
    }
}
