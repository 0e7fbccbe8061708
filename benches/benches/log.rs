//! The durable log beside a bare writer: what stamps, checksums, groups and segments cost, and how soon a log is open again.
//!
//! What is fair: the same disk, alternated, the same number of frame bytes, the same size and number of writes in flight,
//! each durable (RWF_DSYNC) before it counts. The bare writer writes the same block again and again, past the page cache,
//! and keeps nothing apart; ours copies each frame behind its header, checks it, and rotates segment files. Rates are of
//! frame bytes, so the log's own headers count against it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use weir_appliance_control::message::{BenchRow, Better};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{noise, wire};
use weir_dataplane_io::clock::{monotonic_ns, realtime_ns};
use weir_dataplane_io::disk;
use weir_dataplane_io::uring::DiskRing;
use weir_dataplane_log::{LogError, LogSpec, LogWriter, Stamp};

/// Bytes of one write, and writes in flight.
const GROUP: usize = 1 << 20;
const GROUPS: usize = 4;
/// Frame bytes of a run.
const TOTAL: usize = 256 << 20;
/// Frame bytes of the log that is opened again.
const RECOVERED: usize = 1 << 30;
/// Frames of a run that comes at a steady rate, their bytes and how many come in a second: 48 MB/s for two seconds.
const STEADY: u64 = 64_000;
const STEADY_BYTES: usize = 1_500;
const STEADY_RATE: u64 = 32_000;
/// Segment of the steady run that begins a new one about 25 times.
const SMALL_SEGMENT: u64 = 4 << 20;
/// Least ratio to a log that begins no new segment: a frame may wait half as long again at most.
const GOAL_STALL: f64 = 0.67;
/// Longest that one call may take, in milliseconds: what a ring of 2,048 frames holds at a million frames a second.
const GOAL_CALL: f64 = 2.0;
/// Least ratio to the bare writer.
const GOAL: f64 = 0.8;
/// Most seconds until a log of [`RECOVERED`] bytes is open again.
const GOAL_OPEN: f64 = 2.0;

/// A folder on the disk that holds the build, taken away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let bench = std::env::current_exe()?;
        let target = bench.ancestors().nth(2).context("a benchmark lies in target/release/deps")?;
        let folder = target.join(format!("bench-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a leftover in the build folder goes with the next clean
    }
}

fn spec(folder: &Path) -> LogSpec {
    LogSpec { group_bytes: GROUP, groups: GROUPS, ..LogSpec::new(folder) }
}

/// Frames between two looks at the clock: the data plane has one for all that it finds on its rings.
const FOUND: usize = 64;

/// Puts `total` bytes of frames into the log.
fn fill(writer: &mut LogWriter, frame: &[u8], total: usize) -> Result<()> {
    let mut time_ns = 0;
    for number in 0..total / frame.len() {
        if number % FOUND == 0 {
            time_ns = realtime_ns();
        }
        let stamp = Stamp { class: 1, source: 7, sequence: number as u64, stream: false, time_ns };
        loop {
            match writer.append(&stamp, &[frame]) {
                Ok(_) => break,
                Err(LogError::Full { .. }) => writer.wait_for_room().map(drop)?,
                Err(error) => bail!(error),
            }
        }
    }
    Ok(())
}

/// Megabytes of frames a second into the log, all of it durable at the end.
fn ours(frame_bytes: usize) -> Result<f64> {
    let folder = Folder::new("ours")?;
    let frame = vec![0x5a; frame_bytes];
    // While one group is filled there are as many writes in flight as the bare writer has, which fills none.
    let (mut writer, _) = LogWriter::open(LogSpec { groups: GROUPS + 1, ..spec(&folder.0) })?;
    let start = monotonic_ns();
    fill(&mut writer, &frame, TOTAL)?;
    writer.close()?;
    Ok(TOTAL as f64 * 1e3 / (monotonic_ns() - start) as f64)
}

/// Megabytes a second that a bare writer gets onto the same disk.
fn bare() -> Result<f64> {
    let folder = Folder::new("bare")?;
    let path = folder.0.join("file");
    disk::preallocate(&File::create(&path)?, TOTAL as u64)?;
    let (file, _) = disk::open_for_blocks(&path)?;
    let (file, mut ring) = (Arc::new(file), DiskRing::new(GROUPS, GROUP)?);
    let start = monotonic_ns();
    for number in 0..TOTAL / GROUP {
        let buffer = if number < GROUPS {
            number
        } else {
            let written = ring.complete(true)?.context("a write ends")?;
            written.result?;
            written.buffer
        };
        ring.write(buffer, GROUP, &file, (number * GROUP) as u64)?;
    }
    while let Some(written) = ring.complete(true)? {
        written.result?;
    }
    Ok(TOTAL as f64 * 1e3 / (monotonic_ns() - start) as f64)
}

/// Longest times of a run, in milliseconds.
struct Longest {
    /// From when a frame came until it had its place in the log: a ring must hold that long.
    stall: f64,
    /// In one call of the log: nothing is read from any ring meanwhile.
    call: f64,
}

/// Frames come at a steady rate and are put as the data plane puts them: whatever has come, then one look at the disk.
fn steady(segment_bytes: u64) -> Result<Longest> {
    let folder = Folder::new("stall")?;
    let spec = LogSpec { segment_bytes, group_bytes: 256 << 10, groups: 8, ..spec(&folder.0) };
    let (mut writer, _) = LogWriter::open(spec)?;
    let frame = [0x5a; STEADY_BYTES];
    let (start, mut number, mut submitted, mut longest, mut call) = (monotonic_ns(), 0, 0, 0, 0);
    while number < STEADY {
        let due = |number: u64| start + number * 1_000_000_000 / STEADY_RATE;
        while number < STEADY && due(number) <= monotonic_ns() {
            let stamp = Stamp { class: 1, source: 7, sequence: number, stream: false, time_ns: realtime_ns() };
            let before = monotonic_ns();
            let put = writer.append(&stamp, &[&frame]);
            let after = monotonic_ns();
            call = call.max(after - before);
            match put {
                Ok(_) => longest = longest.max(after - due(number)),
                Err(LogError::Full { .. }) => break,
                Err(error) => bail!(error),
            }
            number += 1;
        }
        let before = monotonic_ns();
        if writer.poll()? >= submitted && writer.next() > submitted {
            writer.submit()?;
            submitted = writer.next();
        }
        call = call.max(monotonic_ns() - before);
    }
    writer.close()?;
    Ok(Longest { stall: longest as f64 / 1e6, call: call as f64 / 1e6 })
}

/// Seconds until a log whose writer went without a word is open again.
fn reopened(folder: &Path) -> Result<f64> {
    let start = monotonic_ns();
    let (writer, recovery) = LogWriter::open(spec(folder))?;
    let took = (monotonic_ns() - start) as f64 / 1e9;
    anyhow::ensure!(recovery.next as usize >= RECOVERED / 1500 - GROUP / 1500, "only {} records", recovery.next);
    drop(writer);
    Ok(took)
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    let old = Folder::new("old")?;
    let (mut writer, recovery) = LogWriter::open(spec(&old.0))?;
    fill(&mut writer, &[0x5a; 1500], RECOVERED)?;
    drop(writer); // nothing is closed in good order
    let mut cases = [
        Case::new("1500-byte frames", || ours(1500)),
        Case::new("256-byte frames", || ours(256)),
        Case::new("bare", bare),
        Case::new("a log of 1 GiB is open again", || reopened(&old.0)),
        Case::new("longest stall, 25 new segments", || Ok(steady(SMALL_SEGMENT)?.stall)),
        Case::new("no new segment", || Ok(steady(SMALL_SEGMENT * 32)?.stall)),
        Case::new("longest call, 25 new segments", || Ok(steady(SMALL_SEGMENT)?.call)),
    ];
    let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
    let mut rows = Vec::new();
    for (case, runs) in cases.iter().zip(&measured.runs).take(2) {
        let row = BenchRow::of_runs(case.name.clone(), "MB/s", Better::Higher, runs);
        rows.extend(row.map(|row| row.beside("bare O_DIRECT writer", &measured.runs[2], GOAL)));
    }
    let row = BenchRow::of_runs(cases[3].name.clone(), "s", Better::Lower, &measured.runs[3]);
    rows.extend(row.map(|row| row.bounded(GOAL_OPEN)));
    let row = BenchRow::of_runs(cases[4].name.clone(), "ms", Better::Lower, &measured.runs[4]);
    rows.extend(row.map(|row| row.beside("a log that begins no segment", &measured.runs[5], GOAL_STALL)));
    let row = BenchRow::of_runs(cases[6].name.clone(), "ms", Better::Lower, &measured.runs[6]);
    rows.extend(row.map(|row| row.bounded(GOAL_CALL)));
    let rig = format!("one disk, {GROUPS} writes of 1 MiB in flight; {}; {}", recovery.way, recovery.access);
    report::print("log", &rig, rows, &[measured.note()])
}
