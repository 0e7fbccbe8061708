//! `weir replay`: a capture through the real classifier and features.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use weir_appliance_control::message::ReplayReport;

use crate::answer::{Exit, Outcome, json};
use crate::numbers::{bytes, exact};
use crate::status::sentence;
use crate::table::{Column, Table};

/// Replay a capture through the real classifier and the features. Two runs give equal records.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The capture: pcap or pcapng.
    pub file: PathBuf,
    /// The configuration to replay it under; the defaults if there is none.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, with every record.
    #[arg(long)]
    pub json: bool,
}

/// Prints the report.
///
/// # Errors
/// The output cannot be written.
pub fn render(report: &ReplayReport, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(report, out);
    }
    writeln!(out, "{} frames, {}", exact(report.frames), bytes(report.bytes))?;
    section("action", &report.actions, |_| String::new(), out)?;
    section("taker", &report.takers, |_| String::new(), out)?;
    section("reason", &report.reasons, |reason| sentence(reason).to_owned(), out)?;
    let records = report.records.iter().map(|(feature, records)| (feature.clone(), records.len() as u64)).collect();
    section("records of", &records, |_| String::new(), out)?;
    Ok(Exit::Done)
}

fn section(
    head: &'static str,
    counts: &BTreeMap<String, u64>,
    text: impl Fn(&str) -> String,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([Column::Name(head), Column::Number("count"), Column::Text("")]);
    for (name, count) in counts {
        table.row([name.clone(), exact(*count), text(name)]);
    }
    writeln!(out)?;
    table.write("", out)
}
