//! How long a flag takes from the request on the control socket to the first frame that it decides, and whether a share is the
//! share that it says.
//!
//! What is fair: frames of one flow come at a steady rate from the other end of a wire, as fast as a paced sender sends them; the
//! time ends when the box's counters have the first frame on the other side of the change, asked for over the same socket. So it
//! has in it the change's way to the disk, a frame's distance, and one question.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_appliance_control::message::{BenchRow, Better, FlagChange, Request};
use weir_appliance_control::share::Share;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::packet::Path;
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::report::{self, Words};
use weir_benches::{boxed, noise};
use weir_ebpf_abi::rules::Match;
use weir_ebpf_loader::{Classifier, FlagTable, LoadOptions};

/// Milliseconds that a change may take at its 99th percentile.
const GOAL_MS: f64 = 10.0;
/// Changes in each run.
const CHANGES: usize = 200;
/// Flows whose share is counted.
const FLOWS: u32 = 1_000_000;
/// Standard deviations by which a share may miss.
const GOAL_DEVIATIONS: f64 = 5.0;
/// Frames a second while changes are made.
const EVERY: Duration = Duration::from_micros(200);
const CONFIG: &str = "interfaces: [{name: eth0}]\nflags: [{name: f, to: [streaming], share: 0%}]\n";

fn frame(flow: u32) -> Vec<u8> {
    let path = Path {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        vlans: Vec::new(),
        source: std::net::Ipv4Addr::from(0x0a09_0001 + (flow >> 15)).into(),
        destination: [10, 9, 0, 2].into(),
        source_port: (flow & 0x7fff) as u16 + 1,
        destination_port: 5_004,
    };
    path.udp(&[0; 22]).0
}

/// Milliseconds from each request to the first frame that the change has decided.
fn one_run(appliance: &Appliance) -> Result<Vec<f64>> {
    let count = |delivered: bool| -> Result<u64> {
        let counters = appliance.status()?.counters;
        Ok(if delivered { counters.delivered } else { counters.passed })
    };
    let mut times = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let on = number % 2 == 0;
        let share = if on { Share::ALL } else { Share::NONE };
        let change = FlagChange { share: Some(share), ..FlagChange::default() };
        let before = count(on)?;
        let start = Instant::now();
        appliance.ask(&Request::FlagSet { name: "f".parse()?, change })?;
        while count(on)? == before {
            ensure!(start.elapsed() < Duration::from_secs(5), "a change had no effect within five seconds");
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = (sorted.len() as f64 * percent / 100.0) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Times of all runs while frames come.
fn times(runs: usize) -> Result<Vec<Vec<f64>>> {
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::pair())?;
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &boxed::program()?, CONFIG)?;
    let stop = AtomicBool::new(false);
    let measured = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<()> {
            let mut sender = weir_appliance_lab::generate::afxdp::XdpSender::new(lab.node("outside")?, "wire0")?;
            let frame = frame(0);
            while !stop.load(Ordering::Relaxed) {
                sender.send_bytes(&frame)?;
                weir_appliance_lab::generate::Sender::flush(&mut sender)?;
                std::thread::sleep(EVERY);
            }
            Ok(())
        });
        let measured: Result<Vec<Vec<f64>>> = (0..runs).map(|_| one_run(&appliance)).collect();
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap_or_else(|_| bail!("the sender panicked"))?;
        measured
    });
    appliance.stop();
    measured
}

/// Standard deviations by which each share misses over all flows, in the kernel's own classifier.
fn misses() -> Result<BTreeMap<u16, f64>> {
    let mut found = BTreeMap::new();
    for points in [500_u16, 2_500, 5_000, 7_500] {
        let mut classifier = Classifier::load(LoadOptions { pin_root: None })?;
        classifier.install_rules(&[], &[FlagTable::of_widths(Match::default(), &[(0, points)])])?;
        let mut taken = 0_u32;
        for flow in 0..FLOWS {
            taken += u32::from(classifier.explain(&frame(flow))?.by_flag);
        }
        let (flows, part) = (f64::from(FLOWS), f64::from(points) / f64::from(Share::ALL.basis_points()));
        found.insert(points, (f64::from(taken) - flows * part).abs() / (flows * part * (1.0 - part)).sqrt());
    }
    Ok(found)
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    let runs = times(words.runs)?;
    let tails: Vec<f64> = runs.iter().map(|times| percentile(times, 99.0)).collect();
    let halves: Vec<f64> = runs.iter().map(|times| percentile(times, 50.0)).collect();
    let misses = misses()?;
    let worst = misses.values().copied().fold(0.0, f64::max);
    let row = |case: &str, unit: &str, runs: &[f64]| {
        BenchRow::of_runs(case, unit, Better::Lower, runs).context("no run counted")
    };
    let rows = vec![
        row("request to effect, p50", "ms", &halves)?,
        row("request to effect, p99", "ms", &tails)?.bounded(GOAL_MS),
        row("a share misses by, at most", "deviations", &[worst])?.bounded(GOAL_DEVIATIONS),
    ];
    let shares =
        misses.iter().map(|(points, miss)| format!("{points} points: {miss:.2}")).collect::<Vec<_>>().join(", ");
    report::print("flags", "veth pair, one flow at 5,000 frames a second; test-run for shares", rows, &[shares])
}
