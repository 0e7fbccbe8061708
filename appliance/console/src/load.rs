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
    /// A consumer that is too slow: bounded memory, counted drops.
    Backpressure(BackpressureArgs),
    /// Bursts above the base rate.
    Burst(BurstArgs),
    /// All features under load together.
    Comprehensive(ComprehensiveArgs),
    /// The same work on more nodes.
    Scaling(ScalingArgs),
    /// Memory, CPU and network run out; then recovery.
    Exhaustion(ExhaustionArgs),
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

/// `weir load backpressure`.
#[derive(Args, Clone, Debug)]
pub struct BackpressureArgs {
    /// Events a second that are offered.
    #[arg(long, value_name = "N", default_value_t = 15_000_000)]
    pub max_rate: u64,
    /// Milliseconds that the consumer waits after each batch.
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub consumer_delay_ms: u64,
    /// Seconds.
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub duration: u64,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load burst`.
#[derive(Args, Clone, Debug)]
pub struct BurstArgs {
    /// Messages a second between bursts.
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    pub baseline_rate: u64,
    /// Messages a second in a burst.
    #[arg(long, value_name = "N", default_value_t = 6_000_000)]
    pub burst_rate: u64,
    /// Seconds of a burst.
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub burst_duration_sec: u64,
    /// Seconds from the start of one burst to the next.
    #[arg(long, value_name = "S", default_value_t = 1800)]
    pub burst_interval_sec: u64,
    /// Hours in all.
    #[arg(long, value_name = "H", default_value_t = 2.0)]
    pub total_duration_hours: f64,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load comprehensive`.
#[derive(Args, Clone, Debug)]
pub struct ComprehensiveArgs {
    /// Base messages a second between agents.
    #[arg(long, value_name = "N", default_value_t = 4_200_000)]
    pub baseline_msg_rate: u64,
    /// Streaming events a second.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub streaming_events_rate: u64,
    /// Architecture evaluations an hour.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub nas_evaluations_hour: u64,
    /// Twin predictions a minute.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub twin_predictions_min: u64,
    /// Fusions a second.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub multimodal_fusions_sec: u64,
    /// Hours.
    #[arg(long, value_name = "H", default_value_t = 4.0)]
    pub duration_hours: f64,
    /// Nodes.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub nodes: u32,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load scaling`.
#[derive(Args, Clone, Debug)]
pub struct ScalingArgs {
    /// Nodes.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub nodes: u32,
    /// Minutes.
    #[arg(long, value_name = "MIN", default_value_t = 30)]
    pub duration_min: u64,
    /// The least share of n times one node's rate that n nodes must reach.
    #[arg(long, value_name = "F", default_value_t = 0.80)]
    pub target_efficiency: f64,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

/// `weir load exhaustion`.
#[derive(Args, Clone, Debug)]
pub struct ExhaustionArgs {
    /// Whether memory runs out.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub exhaust_memory: bool,
    /// Whether the processors are taken away.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub exhaust_cpu: bool,
    /// Whether the network is flooded.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub exhaust_network: bool,
    /// Whether it must work again afterwards.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub recovery_verification: bool,
    /// Scale and output.
    #[command(flatten)]
    pub scale: Scale,
}

impl LoadCommand {
    /// Scale and output of whichever tool it is.
    pub fn scale(&self) -> &Scale {
        match self {
            Self::Stream(args) => &args.scale,
            Self::Latency(args) => &args.scale,
            Self::Backpressure(args) => &args.scale,
            Self::Burst(args) => &args.scale,
            Self::Comprehensive(args) => &args.scale,
            Self::Scaling(args) => &args.scale,
            Self::Exhaustion(args) => &args.scale,
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
