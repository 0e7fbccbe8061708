//! `weir load`: the load tools. Their flags and full-scale values stay as they are: scripts outside call them.

mod chart;
mod names;
mod picture;
mod progress;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use weir_appliance_control::message::BenchReport;
use weir_appliance_control::problem::Problem;

pub use chart::{COLUMNS, Course, Point};
pub use names::expanded;
pub use progress::{Progress, Reading};

use crate::answer::Outcome;
use crate::figures;
use crate::top::Symbols;

/// Load tools: each makes its own rig, measures, and says if the goal held.
#[derive(Clone, Debug, Subcommand)]
pub enum LoadCommand {
    /// Events at a rate, with every one accounted for.
    Stream(StreamArgs),
    /// Latency of probes under background load, from the intended send time.
    Latency(LatencyArgs),
    /// More than a slow consumer takes: what is shed is counted, memory stays, latency comes back.
    Backpressure(BackpressureArgs),
    /// A baseline with bursts: no frame is lost without a count, and p99 comes back after each burst.
    Burst(BurstArgs),
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

/// How messages get into the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// As frames on the wire, or on a ring in memory where the rights for a wired lab are missing.
    #[default]
    Wire,
    /// Over a TCP stream for each producer, which loses nothing and holds the producers back instead.
    Tcp,
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
    /// How messages get into the box.
    #[arg(long, value_enum, value_name = "WAY", default_value = "wire")]
    pub over: Over,
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
    /// How messages get into the box.
    #[arg(long, value_enum, value_name = "WAY", default_value = "wire")]
    pub over: Over,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// What a tool that sheds runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RigWish {
    /// The box on veth pairs where the rights and the scale allow it, else a ring in memory; the result says which.
    #[default]
    Auto,
    /// The box on veth pairs, or refuse.
    Wired,
    /// A ring in memory.
    Memory,
}

/// `weir load backpressure`.
#[derive(Args, Clone, Debug)]
pub struct BackpressureArgs {
    /// Events a second that are offered, more than the consumer can take.
    #[arg(long, value_name = "N", default_value_t = 15_000_000, value_parser = rate())]
    pub max_rate: u64,
    /// Milliseconds that the consumer waits for each batch: at most 64 frames; on a ring in memory 64 times --scale.
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub consumer_delay_ms: u64,
    /// Seconds of overload; a calm tenth of it comes before and after.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = seconds())]
    pub duration: u64,
    /// What to run on.
    #[arg(long, value_enum, value_name = "RIG", default_value = "auto")]
    pub rig: RigWish,
    /// Write rates and p99 over time into this file as SVG, too.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load burst`.
#[derive(Args, Clone, Debug)]
pub struct BurstArgs {
    /// Messages a second between bursts.
    #[arg(long, value_name = "N", default_value_t = 3_000_000, value_parser = rate())]
    pub baseline_rate: u64,
    /// Messages a second in a burst.
    #[arg(long, value_name = "N", default_value_t = 6_000_000, value_parser = rate())]
    pub burst_rate: u64,
    /// Seconds of a burst.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = seconds())]
    pub burst_duration_sec: u64,
    /// Seconds from the start of a burst to the start of the next; each lies in the middle of its interval.
    #[arg(long, value_name = "S", default_value_t = 1800, value_parser = seconds())]
    pub burst_interval_sec: u64,
    /// Hours in all; what is left of them after the last whole interval is not used.
    #[arg(long, value_name = "H", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=168))]
    pub total_duration_hours: u64,
    /// What to run on.
    #[arg(long, value_enum, value_name = "RIG", default_value = "auto")]
    pub rig: RigWish,
    /// Write rates and p99 over time into this file as SVG, too.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// Events or messages a second: at least one, at most what no machine reaches.
fn rate() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1_000_000_000)
}

/// A length of time: at least a second, at most a week.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=604_800)
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
            Self::Backpressure(args) => &args.scale,
            Self::Burst(args) => &args.scale,
        }
    }

    /// Where the course of the run is to be drawn, if it is.
    pub fn svg(&self) -> Option<&Path> {
        match self {
            Self::Stream(_) | Self::Latency(_) => None,
            Self::Backpressure(args) => args.svg.as_deref(),
            Self::Burst(args) => args.svg.as_deref(),
        }
    }
}

/// Prints the figures, the scale first where it is not 1, and last how the run went over time if that is known; draws
/// that into `svg`, if there is one.
///
/// # Errors
/// The output or the file cannot be written.
pub fn render(
    report: &BenchReport,
    course: Option<&Course>,
    scale: &Scale,
    svg: Option<&Path>,
    out: &mut dyn Write,
) -> Outcome {
    if !scale.json && (scale.scale - 1.0).abs() > f64::EPSILON {
        writeln!(out, "scale {}: rates and durations are this part of full scale", scale.scale)?;
    }
    let exit = figures::render(report, scale.json, out)?;
    let Some(course) = course else { return Ok(exit) };
    if !scale.json {
        write!(out, "{}", course.text(Symbols::of_terminal()))?;
    }
    if let Some(path) = svg {
        let title = format!("{}: rates and p99 over time, at scale {}", report.bench, scale.scale);
        write(path, &picture::svg(course, &title))?;
    }
    Ok(exit)
}

/// Makes an empty picture, so that a file that cannot be written is refused before a run of hours, not after it.
///
/// # Errors
/// The file cannot be written.
pub fn claim(svg: &Path) -> Result<(), Problem> {
    write(svg, "")
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(path, text).map_err(|error| {
        Problem::new(path.display().to_string(), error.to_string(), "name a file in a folder that can be written")
    })
}
