//! The tools' command lines, word for word as scripts write them, under both spellings.

use std::ffi::OsString;

use clap::Parser;
use weir_appliance_control::message::{BenchRow, Better, Host};

use super::*;
use crate::line::parse;

#[derive(Debug, Parser)]
#[command(name = "weir")]
enum Weir {
    #[command(subcommand)]
    Load(LoadCommand),
}

/// What a line means, once with the tool's own name and once as a command of `weir`.
fn both(name: &str, command: &str, flags: &str) -> [LoadCommand; 2] {
    [format!("/usr/bin/{name} {flags}"), format!("weir load {command} {flags}")].map(|line| {
        // Quotes are the shell's.
        let words = line.split(' ').map(|word| OsString::from(word.trim_matches('"')));
        let Weir::Load(parsed) = parse(expanded(words), &mut Vec::new()).expect(&line);
        parsed
    })
}

#[test]
fn stream_flags_are_what_scripts_write() {
    let flags =
        "--events-per-second 10000000 --duration 1800 --event-size-bytes 1024 --producers 16 --verify-delivery true";
    for parsed in both("stream_load_test", "stream", flags) {
        let LoadCommand::Stream(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!((args.events_per_second, args.duration, args.event_size_bytes), (10_000_000, 1800, 1024));
        assert_eq!((args.producers, args.verify_delivery, args.scale.scale), (16, true, 1.0));
        assert_eq!(args.over, Over::Wire);
    }
}

#[test]
fn latency_flags_are_what_scripts_write() {
    let flags = "--background-load 8000000 --probe-rate 1000 --duration 600 --percentiles \"50,90,95,99,99.9\"";
    for parsed in both("stream_latency_test", "latency", flags) {
        let LoadCommand::Latency(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!((args.background_load, args.probe_rate, args.duration), (8_000_000, 1000, 600));
        assert_eq!(args.percentiles, [50.0, 90.0, 95.0, 99.0, 99.9]);
    }
}

#[test]
fn backpressure_flags_are_what_scripts_write() {
    let flags = "--max-rate 15000000 --consumer-delay-ms 10 --duration 300";
    for parsed in both("stream_backpressure_test", "backpressure", flags) {
        assert!(parsed.svg().is_none());
        let LoadCommand::Backpressure(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!((args.max_rate, args.consumer_delay_ms, args.duration), (15_000_000, 10, 300));
    }
}

#[test]
fn burst_flags_are_what_scripts_write() {
    let flags = "--baseline-rate 3000000 --burst-rate 6000000 --burst-duration-sec 300 --burst-interval-sec 1800 \
                 --total-duration-hours 2";
    for parsed in both("burst_load_test", "burst", flags) {
        let LoadCommand::Burst(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!((args.baseline_rate, args.burst_rate), (3_000_000, 6_000_000));
        assert_eq!((args.burst_duration_sec, args.burst_interval_sec, args.total_duration_hours), (300, 1800, 2));
    }
}

#[test]
fn a_way_in_can_be_chosen() {
    for parsed in both("stream_load_test", "stream", "--over tcp") {
        let LoadCommand::Stream(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!(args.over, Over::Tcp);
    }
    for parsed in both("stream_latency_test", "latency", "--over tcp") {
        let LoadCommand::Latency(args) = parsed else { panic!("{parsed:?}") };
        assert_eq!(args.over, Over::Tcp);
    }
}

#[test]
fn every_tool_takes_scale_and_json() {
    for (name, command) in [
        ("stream_load_test", "stream"),
        ("stream_latency_test", "latency"),
        ("stream_backpressure_test", "backpressure"),
        ("burst_load_test", "burst"),
    ] {
        for parsed in both(name, command, "--scale 0.01 --json") {
            assert!(parsed.scale().json && parsed.scale().scale == 0.01);
        }
    }
}

#[test]
fn a_report_has_its_course_and_a_file_that_cannot_be_written_is_one_line() {
    let rows = BenchRow::of_runs("shed", "events", Better::Lower, &[3.0]).into_iter().collect();
    let report = BenchReport { bench: "burst_load_test".into(), rig: "memory".into(), host: Host::default(), rows };
    let course = chart::tests::ramp();
    let scale = |json| Scale { scale: 0.5, json };
    let mut out = Vec::new();
    render(&report, Some(&course), &scale(false), None, &mut out).expect("written");
    let text = String::from_utf8(out).expect("text");
    assert!(text.starts_with("scale 0.5: ") && text.contains("offered/s"), "{text}");
    let mut out = Vec::new();
    render(&report, Some(&course), &scale(true), None, &mut out).expect("written");
    assert_eq!(String::from_utf8(out).expect("text").lines().count(), 1);
    let nowhere = Path::new("/nowhere/x.svg");
    let failure = render(&report, Some(&course), &scale(true), Some(nowhere), &mut Vec::new()).expect_err("no folder");
    let line = claim(nowhere).expect_err("no folder").to_string();
    assert_eq!(failure.to_string(), line);
    assert!(line.starts_with("/nowhere/x.svg: ") && line.contains("; name a file") && !line.contains('\n'), "{line}");
}
