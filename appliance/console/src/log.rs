//! `weir log`: what the durable log holds. It reads the files, so it works beside a running weir and without one.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_appliance_control::config::LogSpec;
use weir_appliance_control::message::{LogRecord, LogSegment, LogVerdict};

use crate::answer::{Exit, Outcome, json};
use crate::numbers::{bytes, exact};
use crate::table::{Column, Table};

/// Look into the durable log: its segments, its records, whether every byte is as it was written.
#[derive(Clone, Debug, Subcommand)]
pub enum LogCommand {
    /// List the segment files, oldest first.
    Ls(LogPlace),
    /// Print records, oldest first, one line each.
    Cat(CatArgs),
    /// Check every byte, and the sequence of every source. Exit code 1 if something is wrong.
    ///
    /// `lost` are numbers of a source that are missing between others of one class: also messages that another rule took, which
    /// are not in this log or under another class.
    Verify(LogPlace),
}

/// Which log.
#[derive(Args, Clone, Debug)]
pub struct LogPlace {
    /// The log's folder, as `log: folder` names it.
    #[arg(default_value = LogSpec::DEFAULT_FOLDER)]
    pub folder: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which records.
#[derive(Args, Clone, Debug)]
pub struct CatArgs {
    /// Which log, and how to print.
    #[command(flatten)]
    pub place: LogPlace,
    /// Begin with the record of this number.
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Only records of this time or later, in seconds since 1970, wherever they stand.
    #[arg(long, value_name = "SECONDS")]
    pub since: Option<f64>,
    /// Only records before this time, in seconds since 1970, wherever they stand.
    #[arg(long, value_name = "SECONDS")]
    pub until: Option<f64>,
    /// Only records of this source.
    #[arg(long, value_name = "ID")]
    pub source: Option<u32>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Write the frames to this capture file instead. Messages of streams had no headers and are left out.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// Prints the segments.
///
/// # Errors
/// The output cannot be written.
pub fn render_segments(segments: &[LogSegment], as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(&segments, out);
    }
    let mut table = Table::new([Column::Text("segment"), Column::Number("first record"), Column::Number("size")]);
    for segment in segments {
        table.row([segment.file.clone(), segment.first.to_string(), bytes(segment.bytes)]);
    }
    table.write("the log has no segment", out)?;
    Ok(Exit::Done)
}

/// Prints one record.
///
/// # Errors
/// The output cannot be written.
pub fn render_record(record: &LogRecord, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(record, out);
    }
    let LogRecord { number, time_ns, class, source, sequence, stream, length } = record;
    let way = if *stream { "stream" } else { "source" };
    let seconds = *time_ns as f64 / 1e9;
    writeln!(out, "{number} {seconds:.6} class {class} {way} {source} sequence {sequence} {length} bytes")?;
    Ok(Exit::Done)
}

/// Prints what a check of the whole log found.
///
/// # Errors
/// The output cannot be written.
pub fn render_verdict(verdict: &LogVerdict, as_json: bool, out: &mut dyn Write) -> Outcome {
    let exit = if verdict.sound { Exit::Done } else { Exit::NotSo };
    if as_json {
        json(verdict, out)?;
        return Ok(exit);
    }
    let (records, segments) = (exact(verdict.records), verdict.segments);
    writeln!(out, "{records} records, {} of frames in {segments} segments", bytes(verdict.bytes))?;
    if let (Some(first), Some(last)) = (verdict.first, verdict.last) {
        writeln!(out, "numbers {first} to {last}")?;
    }
    for wrong in verdict
        .torn
        .iter()
        .map(|torn| format!("torn end, cut at the next start: {torn}"))
        .chain(verdict.damage.iter().map(|damage| format!("DAMAGED {damage}")))
        .chain(verdict.beside.iter().map(|beside| format!("no record is missing, the next start mends {beside}")))
    {
        writeln!(out, "{wrong}")?;
    }
    let mut table = Table::new([
        Column::Name("class"),
        Column::Name("source"),
        Column::Number("records"),
        Column::Number("lost"),
        Column::Number("doubled"),
        Column::Number("reordered"),
        Column::Number("stale"),
    ]);
    for source in &verdict.sources {
        table.row([
            source.class.to_string(),
            if source.stream { format!("{} (stream)", source.source) } else { source.source.to_string() },
            exact(source.records),
            exact(source.lost),
            exact(source.doubled),
            exact(source.reordered),
            exact(source.stale),
        ]);
    }
    table.write("no message with a source was logged", out)?;
    if verdict.untracked > 0 {
        writeln!(out, "{} records of further sources are not in the table", exact(verdict.untracked))?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_said_and_is_not_so() {
        let verdict =
            LogVerdict { records: 2, damage: vec!["a.weirlog, byte 4096: x".into()], ..LogVerdict::default() };
        let mut out = Vec::new();
        assert_eq!(render_verdict(&verdict, false, &mut out).expect("printed"), Exit::NotSo);
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("DAMAGED a.weirlog, byte 4096: x"), "{text}");
    }
}
