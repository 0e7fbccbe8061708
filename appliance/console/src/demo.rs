//! `weir demo`: the appliance in a lab on this machine.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use weir_appliance_control::message::BenchReport;

use crate::answer::Outcome;
use crate::figures;

/// Run the appliance in a lab on this machine: namespaces, veth pairs, traffic, live view. Leaves nothing behind.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long; fractions are fine.
    #[arg(long, value_name = "N", default_value = "3", value_parser = minutes)]
    pub minutes: Duration,
    /// Without the live view: lines, for logs and pipes.
    #[arg(long)]
    pub plain: bool,
    /// Print the closing figures as JSON; includes --plain.
    #[arg(long)]
    pub json: bool,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let refuse = || "minutes are a number above 0, at most 1440".to_owned();
    let minutes: f64 = text.parse().map_err(|_| refuse())?;
    if minutes > 0.0 && minutes <= 1440.0 { Ok(Duration::from_secs_f64(minutes * 60.0)) } else { Err(refuse()) }
}

/// Prints the closing figures, the host beside them.
///
/// # Errors
/// The output cannot be written.
pub fn render(report: &BenchReport, args: &DemoArgs, out: &mut dyn Write) -> Outcome {
    figures::render(report, args.json, out)
}
