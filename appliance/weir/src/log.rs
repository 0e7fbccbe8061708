//! `weir log`: the files of the durable log, read as the data plane wrote them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use weir_appliance_console::answer::{Exit, Failure, Outcome};
use weir_appliance_console::log::{self as shown, CatArgs, LogCommand};
use weir_appliance_control::message::{LogRecord, LogSegment, LogSource, LogVerdict};
use weir_dataplane_log::{Audit, LogReader, Record, Sender};
use weir_dataplane_source::capture::{Frame, LinkType, Writer};

use crate::failure;

/// Sources that an audit tells apart: 16 MiB of counts.
const SOURCES: usize = 100_000;

/// Runs the command.
///
/// # Errors
/// The log cannot be read, or the output cannot be written.
pub(crate) fn run(command: &LogCommand, out: &mut dyn Write) -> Outcome {
    match command {
        LogCommand::Ls(place) => {
            let segments = segments(&place.folder).map_err(failure)?;
            shown::render_segments(&segments, place.json, out)
        }
        LogCommand::Cat(args) => match &args.pcap {
            Some(path) => capture(args, path, out).map(|()| Exit::Done).map_err(failure),
            None => cat(args, out),
        },
        LogCommand::Verify(place) => {
            let verdict = verdict(&place.folder).map_err(failure)?;
            shown::render_verdict(&verdict, place.json, out)
        }
    }
}

fn segments(folder: &Path) -> Result<Vec<LogSegment>> {
    let found = weir_dataplane_log::segments(folder)?;
    let shown = |(file, first): (std::path::PathBuf, u64)| -> Result<LogSegment> {
        let bytes = std::fs::metadata(&file).with_context(|| format!("length of {}", file.display()))?.len();
        Ok(LogSegment { file: file.display().to_string(), first, bytes })
    };
    found.into_iter().map(shown).collect()
}

/// Hands the records that `args` ask for to `each`, until that says no.
fn records(args: &CatArgs, mut each: impl FnMut(&Record<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let line = |error: weir_dataplane_log::LogError| Failure::Line(error.to_string());
    let mut reader = LogReader::open(&args.place.folder).map_err(line)?;
    if let Some(number) = args.from {
        reader.seek_number(number).map_err(line)?;
    }
    let nanoseconds = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
    reader.only_times(args.since.map_or(0, nanoseconds)..args.until.map_or(u64::MAX, nanoseconds));
    reader.only_source(args.source);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(record) = reader.next_record().map_err(line)? else { break };
        each(&record)?;
        left -= 1;
    }
    Ok(())
}

fn cat(args: &CatArgs, out: &mut dyn Write) -> Outcome {
    records(args, |record| {
        let stamp = record.stamp;
        let shown_record = LogRecord {
            number: record.number,
            time_ns: stamp.time_ns,
            class: stamp.class,
            source: stamp.source,
            sequence: stamp.sequence,
            stream: stamp.stream,
            length: record.frame.len() as u64,
        };
        shown::render_record(&shown_record, args.place.json, out).map(drop)
    })?;
    Ok(Exit::Done)
}

/// Writes the frames to a capture. A stream's messages had no headers of a wire, so no capture can hold them: they are left
/// out, and `out` says so.
fn capture(args: &CatArgs, path: &Path, out: &mut dyn Write) -> Result<()> {
    let file = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let mut writer = Writer::new(BufWriter::new(file), LinkType::Ethernet)?;
    let mut left_out = 0_u64;
    records(args, |record| {
        if record.stamp.stream {
            left_out += 1;
            return Ok(());
        }
        let frame = Frame {
            time_ns: record.stamp.time_ns,
            original_length: record.frame.len() as u32,
            bytes: record.frame,
            link: LinkType::Ethernet,
        };
        writer.write(&frame).map_err(|error| Failure::Line(error.to_string()))
    })?;
    writer.finish()?.flush().with_context(|| format!("{} cannot be written", path.display()))?;
    if left_out > 0 {
        writeln!(
            out,
            "{left_out} messages of streams are left out: they came without a wire's headers; `weir log cat` lists them"
        )?;
    }
    Ok(())
}

fn verdict(folder: &Path) -> Result<LogVerdict> {
    let found = weir_dataplane_log::verify(folder)?;
    let mut audit = Audit::new(SOURCES);
    if found.damage.is_empty() {
        let mut reader = LogReader::open(folder)?;
        while let Some(record) = reader.next_record()? {
            // On the wire 0 is a frame without a message; over a stream it is a source like any other.
            if record.stamp.source != 0 || record.stamp.stream {
                audit.see(&record.stamp);
            }
        }
    }
    let sources = audit.tallies().map(|(Sender { stream, class, source }, tally)| LogSource {
        stream,
        class,
        source,
        records: tally.records,
        lost: tally.lost,
        doubled: tally.doubled,
        reordered: tally.reordered,
        stale: tally.stale,
    });
    Ok(LogVerdict {
        sound: found.is_sound(),
        segments: found.segments,
        records: found.records,
        bytes: found.bytes,
        first: found.first,
        last: found.last,
        torn: found.torn.as_ref().map(ToString::to_string),
        damage: found.damage.iter().map(ToString::to_string).collect(),
        beside: found.beside.iter().map(ToString::to_string).collect(),
        sources: sources.collect(),
        untracked: audit.untracked(),
    })
}
