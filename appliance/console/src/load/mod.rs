//! `weir load`: the load tools. Their flags and full-scale values stay as they are: scripts outside call them.

use std::io::Write;

use clap::{ArgAction, Args, Subcommand};
use weir_appliance_control::message::BenchReport;

use crate::answer::Outcome;
use crate::figures;

/// Load tools: each makes its own rig, measures, and says if the goal held.
#[derive(Clone, Debug, Subcommand)]
pub enum LoadCommand {
    /// Events at a rate, with every one accounted for.
    Stream(StreamArgs),
    /// Latency of probes under background load, from the intended send time.
    Latency(LatencyArgs),
}

/// What every load tool takes.
#[derive(Args, Clone, Debug)]
pub struct Scale {
    /// Multiply rates and durations by this; printed beside the result.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn scale(text: &str) -> Result<f64, String> {
    let refuse = || "a scale is a number above 0, at most 1000".to_owned();
    let scale: f64 = text.parse().map_err(|_| refuse())?;
    if scale > 0.0 && scale <= 1000.0 { Ok(scale) } else { Err(refuse()) }
}

/// `weir load stream`.
#[derive(Args, Clone, Debug)]
pub struct StreamArgs {
    /// Events a second over all producers.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub events_per_second: u64,
    /// Seconds.
    #[arg(long, value_name = "S", default_value_t = 1800)]
    pub duration: u64,
    /// Bytes of one event.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(32..=65_000))]
    pub event_size_bytes: u32,
    /// Producers.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub producers: u32,
    /// Whether every event is accounted for by its number.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub verify_delivery: bool,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load latency`.
#[derive(Args, Clone, Debug)]
pub struct LatencyArgs {
    /// Background events a second.
    #[arg(long, value_name = "N", default_value_t = 8_000_000)]
    pub background_load: u64,
    /// Probes a second.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub probe_rate: u64,
    /// Seconds.
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub duration: u64,
    /// Which percentiles to print.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "50,90,95,99,99.9", value_parser = percentile)]
    pub percentiles: Vec<f64>,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

fn percentile(text: &str) -> Result<f64, String> {
    let refuse = || "a percentile is a number above 0 and below 100".to_owned();
    let number: f64 = text.trim().parse().map_err(|_| refuse())?;
    if number > 0.0 && number < 100.0 { Ok(number) } else { Err(refuse()) }
}

impl LoadCommand {
    /// Scale and output of whichever tool it is.
    pub fn scale(&self) -> &Scale {
        match self {
            Self::Stream(args) => &args.scale,
            Self::Latency(args) => &args.scale,
        }
    }
}

/// Prints the figures, the scale first where it is not 1.
///
/// # Errors
/// The output cannot be written.
pub fn render(report: &BenchReport, scale: &Scale, out: &mut dyn Write) -> Outcome {
    if !scale.json && (scale.scale - 1.0).abs() > f64::EPSILON {
        writeln!(out, "scale {}: rates and durations are this part of full scale", scale.scale)?;
    }
    figures::render(report, scale.json, out)
}
