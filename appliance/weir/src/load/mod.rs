//! `weir load`: the load tools on the wired lab, or in memory where the rights for it are missing. Each says which.
//!
//! `backpressure` and `burst` need a consumer whose speed is given: on the wired lab a worker that is slow on purpose.

mod backpressure;
mod burst;
mod course;
mod crowded;
mod streamed;
mod wired;

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use weir_appliance_console::answer::Outcome;
use weir_appliance_console::load::{self as shown, LatencyArgs, LoadCommand, Over, StreamArgs};
use weir_appliance_control::message::{BenchReport, BenchRow, Better};
use weir_appliance_lab::load::{Flow, Labels, Meter, Outcome as Account, Plan, RingReceiver, watched};
use weir_appliance_lab::load::{MemoryRig, MemorySpec, Tally};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};

use weir_features_worker::audit::PERCENTILES;

use crate::{demo, failure};
use wired::Stream;

/// Bytes of Ethernet, IPv4, UDP and batch headers in front of the events of a frame.
const BATCH_HEADERS: u32 = 14 + 20 + 8 + 48;
/// Longest frame of the rigs: an MTU of 1500 and the Ethernet header.
const FRAME_BYTES: u32 = 1514;
/// Bytes of a probe's frame.
const PROBE_BYTES: u32 = 128;
/// First source number of probes, beyond every producer.
const PROBES: u32 = 1_000_000;

/// Runs a load tool and prints what it measured.
pub(crate) fn run(command: &LoadCommand, out: &mut dyn Write) -> Outcome {
    command.svg().map_or(Ok(()), shown::claim)?;
    let report = match command {
        LoadCommand::Stream(args) => stream(args).map(|report| (report, None)),
        LoadCommand::Latency(args) => latency(args).map(|report| (report, None)),
        LoadCommand::Backpressure(args) => backpressure::run(args).map(|(report, course)| (report, Some(course))),
        LoadCommand::Burst(args) => burst::run(args).map(|(report, course)| (report, Some(course))),
    };
    let (mut report, course) = report.map_err(failure)?;
    // People read it in the line above the table, where it is not rounded.
    let scale = command
        .scale()
        .json
        .then(|| BenchRow::of_runs("scale", "of full", Better::Higher, &[command.scale().scale]))
        .flatten();
    report.rows.extend(scale);
    shown::render(&report, course.as_ref(), command.scale(), command.svg(), out)
}

/// What one frame carries, for events of this size: as many as fit, or one message where an event fills a frame.
fn content(event_bytes: u32) -> Content {
    let room = (FRAME_BYTES - BATCH_HEADERS) / event_bytes.next_multiple_of(8);
    if room >= 2 {
        Content::Batch { events: room, event_bytes: event_bytes.next_multiple_of(8) }
    } else {
        Content::Message { frame_bytes: event_bytes.clamp(70, FRAME_BYTES) }
    }
}

fn events_per_frame(content: Content) -> f64 {
    match content {
        Content::Batch { events, .. } => f64::from(events),
        Content::Message { .. } => 1.0,
    }
}

fn stream(args: &StreamArgs) -> Result<BenchReport> {
    let content = content(args.event_size_bytes);
    let spec = TrafficSpec { producers: args.producers, ..TrafficSpec::pair(content) };
    match lab_missing(args.over)? {
        None => stream_wired(args, spec),
        Some(_) => stream_in_memory(args, &spec),
    }
}

/// What stands in the way of the wired lab, if the tool can do without.
///
/// # Errors
/// It cannot.
fn lab_missing(over: Over) -> Result<Option<String>> {
    match (demo::missing(), over) {
        (Some(missing), Over::Tcp) => bail!("streams need a box on the wired lab, and there is none here: {missing}"),
        (missing, _) => Ok(missing),
    }
}

/// Over a ring in memory, which needs no rights.
fn stream_in_memory(args: &StreamArgs, spec: &TrafficSpec) -> Result<BenchReport> {
    let content = spec.content;
    let mut traffic = Traffic::new(spec)?;
    let plan = Plan { scale: args.scale.scale, ..Plan::new(Duration::from_secs(args.duration)) };
    let per_second = args.events_per_second as f64 / events_per_frame(content);
    let account =
        in_memory(&plan, &mut [Flow { traffic: &mut traffic, per_second }], Meter::new(), events_per_frame(content))?;
    let total = account.total();
    let mut rows = rates(&account, args.events_per_second as f64 * args.scale.scale);
    if args.verify_delivery {
        rows.push(count("lost by number", total.lost).map(|row| row.bounded(0.0)));
        rows.push(count("doubled", total.doubled).map(|row| row.bounded(0.0)));
        rows.push(count("out of order", total.reordered).map(|row| row.bounded(0.0)));
    }
    Ok(report("stream_load_test", &account, rows))
}

/// The same over veth pairs, with the box between.
fn stream_wired(args: &StreamArgs, spec: TrafficSpec) -> Result<BenchReport> {
    let (content, scale) = (spec.content, args.scale.scale);
    let per_second = args.events_per_second as f64 * scale / events_per_frame(content);
    let duration = Duration::from_secs(args.duration).mul_f64(scale);
    let account = wired::run([Some(Stream { spec, per_second }), None], duration, args.over)?;
    let mut rows = wired::rows(&account, events_per_frame(content));
    if args.verify_delivery {
        rows.push(
            count("lost by number", account.sent - account.received.min(account.sent)).map(|row| row.bounded(0.0)),
        );
        rows.push(count("doubled or late", account.not_rising).map(|row| row.bounded(0.0)));
    }
    Ok(wired_report("stream_load_test", &account, rows))
}

/// Probes from one end while the background comes from the other, each audited by a worker of its own.
fn latency_wired(args: &LatencyArgs, background: TrafficSpec, probes: TrafficSpec) -> Result<BenchReport> {
    if let Some(other) = args.percentiles.iter().find(|percentile| !PERCENTILES.contains(percentile)) {
        bail!("percentile {other}: the auditing worker keeps 50, 90, 95, 99 and 99.9; ask for some of these");
    }
    let scale = args.scale.scale;
    let per_second = args.background_load as f64 * scale / events_per_frame(background.content);
    let streams = [
        Some(Stream { spec: probes, per_second: args.probe_rate as f64 }),
        Some(Stream { spec: background, per_second }),
    ];
    let account = wired::run(streams, Duration::from_secs(args.duration).mul_f64(scale), args.over)?;
    let mut rows = wired::rows(&account, 1.0);
    for (percentile, ns) in
        PERCENTILES.iter().zip(&account.latency_ns).filter(|(percentile, _)| args.percentiles.contains(percentile))
    {
        rows.push(BenchRow::of_runs(format!("probe p{percentile}"), "us", Better::Lower, &[*ns as f64 / 1000.0]));
    }
    if let Some(ns) = account.latency_ns.last() {
        rows.push(BenchRow::of_runs("probe longest", "us", Better::Lower, &[*ns as f64 / 1000.0]));
    }
    Ok(wired_report("stream_latency_test", &account, rows))
}

fn wired_report(bench: &str, account: &wired::Account, rows: Vec<Option<BenchRow>>) -> BenchReport {
    let rig = format!("{}; generator: {}", account.rig, account.generator);
    BenchReport {
        bench: bench.into(),
        rig,
        host: weir_appliance_lab::host::read(),
        rows: rows.into_iter().flatten().collect(),
    }
}

fn latency(args: &LatencyArgs) -> Result<BenchReport> {
    let background = TrafficSpec { producers: 4, ..TrafficSpec::pair(content(64)) };
    let probes =
        TrafficSpec { first_source: PROBES, ..TrafficSpec::pair(Content::Message { frame_bytes: PROBE_BYTES }) };
    match lab_missing(args.over)? {
        None => latency_wired(args, background, probes),
        Some(_) => latency_in_memory(args, &background, &probes),
    }
}

/// Background and probes from one sender over a ring in memory, which needs no rights.
fn latency_in_memory(args: &LatencyArgs, background: &TrafficSpec, probes: &TrafficSpec) -> Result<BenchReport> {
    let per_second = args.background_load as f64 / events_per_frame(background.content);
    let (mut background, mut probes) = (Traffic::new(background)?, Traffic::new(probes)?);
    let plan = Plan {
        duration: Duration::from_secs(args.duration),
        percentiles: args.percentiles.clone(),
        scale: args.scale.scale,
    };
    let mut flows = [
        Flow { traffic: &mut background, per_second },
        Flow { traffic: &mut probes, per_second: args.probe_rate as f64 },
    ];
    let account = in_memory(&plan, &mut flows, Meter::of_probes(PROBES), 1.0)?;
    let mut rows = rates(&account, args.background_load as f64 * args.scale.scale);
    for (percentile, ns) in &account.latency.percentiles {
        rows.push(BenchRow::of_runs(format!("probe p{percentile}"), "us", Better::Lower, &[*ns as f64 / 1000.0]));
    }
    rows.push(BenchRow::of_runs("probe longest", "us", Better::Lower, &[account.latency.max_ns as f64 / 1000.0]));
    Ok(report("stream_latency_test", &account, rows))
}

/// Sends over a ring in memory to a taker in a thread of its own. Progress counts a frame as `events`.
fn in_memory(plan: &Plan, flows: &mut [Flow<'_>], meter: Meter, events: f64) -> Result<Account> {
    let rig = MemoryRig::new(&MemorySpec::default())?;
    let described = rig.describe();
    let mut sender = rig.sender;
    let mut receiver = RingReceiver::start(rig.taker, meter, None)?;
    let (labels, tally) = (Labels { rig: &described }, Tally::default());
    let total = plan.duration.mul_f64(plan.scale);
    Ok(course::watch(total, events, &tally, || watched(labels, plan, &mut sender, flows, &mut receiver, &tally))??)
}

fn rates(account: &Account, asked: f64) -> Vec<Option<BenchRow>> {
    let row = |case: &str, unit: &str, value: f64| BenchRow::of_runs(case, unit, Better::Higher, &[value]);
    vec![
        row("asked for", "events/s", asked),
        row("offered", "frames", account.offered as f64),
        row("sent", "frames", account.sent as f64),
        row("received", "frames/s", account.received_per_second()),
        row("received", "events/s", account.events_per_second()),
        BenchRow::of_runs("generator late", "us", Better::Lower, &[account.behind_ns as f64 / 1000.0]),
    ]
}

fn count(case: &str, value: u64) -> Option<BenchRow> {
    BenchRow::of_runs(case, "count", Better::Lower, &[value as f64])
}

fn report(bench: &str, account: &Account, rows: Vec<Option<BenchRow>>) -> BenchReport {
    let rig = format!("{}; generator: {}; receiver: {}", account.rig, account.generator, account.mode);
    BenchReport {
        bench: bench.into(),
        rig,
        host: weir_appliance_lab::host::read(),
        rows: rows.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_console::load::Scale;

    const SCALE: Scale = Scale { scale: 0.0005, json: false };

    fn value(report: &BenchReport, case: &str) -> f64 {
        report.rows.iter().find(|row| row.case == case).unwrap_or_else(|| panic!("no {case} in {report:?}")).value
    }

    #[test]
    fn a_stream_in_memory_balances() {
        let args = StreamArgs {
            events_per_second: 10_000_000,
            duration: 1800,
            event_size_bytes: 1024,
            producers: 16,
            verify_delivery: true,
            over: Over::Wire,
            scale: SCALE,
        };
        let spec = TrafficSpec { producers: 16, ..TrafficSpec::pair(content(1024)) };
        let report = stream_in_memory(&args, &spec).unwrap();
        for case in ["lost by number", "doubled", "out of order"] {
            assert_eq!(value(&report, case), 0.0, "{case}");
        }
        assert!(value(&report, "sent") > 0.0 && value(&report, "sent") <= value(&report, "offered"));
    }

    #[test]
    fn a_latency_run_in_memory_reports_every_percentile() {
        let percentiles = vec![50.0, 90.0, 95.0, 99.0, 99.9];
        let args = LatencyArgs {
            background_load: 8_000_000,
            probe_rate: 1_000_000,
            duration: 600,
            percentiles,
            over: Over::Wire,
            scale: SCALE,
        };
        let background = TrafficSpec::pair(content(64));
        let message = Content::Message { frame_bytes: PROBE_BYTES };
        let probes = TrafficSpec { first_source: PROBES, ..TrafficSpec::pair(message) };
        let report = latency_in_memory(&args, &background, &probes).unwrap();
        let at = |percentile: &str| value(&report, &format!("probe p{percentile}"));
        let rising = [at("50"), at("90"), at("95"), at("99"), at("99.9"), value(&report, "probe longest")];
        assert!(rising.is_sorted() && rising[0] > 0.0, "{rising:?}");
    }
}
