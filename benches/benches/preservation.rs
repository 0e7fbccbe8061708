//! What base traffic loses by features: messages between agents are forwarded while a feature works, and while it does not.
//!
//! What is fair: one box that runs all the while, the same base traffic and the same traffic for features in every run. A feature
//! is off as an operator turns it off, by `weir feature stop`: its worker is gone, and a rule in front drops in the driver what it
//! would have got, so that the host's stack does not have to. Runs alternate off, on and off again: how much two runs without
//! features differ is the noise floor, printed first, and below it no difference says anything. A verdict is not from the median
//! but from its upper bound at 95 %: order statistics of the paired differences, which assume nothing of how they are spread.
//! Memory is that of all processes and of the frames, which stay while a feature is off: a note says what a box has that was made
//! without it.
//!
//! Base traffic is made, forwarded and counted on core 0; features, the pool and what feeds them have core 1, as critical
//! and batch cores are apart in the product. What can still reach the base path is memory, caches and the classifier's maps.
//! A probe is timed from when it was due to when it lies on the far end's ring, which the same core reads, so that no
//! wake-up of another core is in it.

use std::cell::RefCell;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use weir_appliance_control::config::{RuleAction, Run};
use weir_appliance_control::message::{Answer, BenchRow, Better, Counters, NewRule, ProcessState, Request, Status};
use weir_appliance_control::name::RuleName;
use weir_appliance_control::share::Share;
use weir_appliance_control::taker::FeatureName;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::generate::live::{self, Live};
use weir_appliance_lab::load::{self, Meter};
use weir_appliance_lab::network::{End, Link};
use weir_appliance_lab::packet::Path;
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::bare::{Bare, Front};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate, median, upper_bound};
use weir_benches::{boxed, noise, wire};
use weir_dataplane_io::clock::monotonic_ns;
use weir_ebpf_loader::generate::SinkAction;

/// Agent that base messages are for, behind `eth1`.
const AGENT: u32 = 7;
const CONFIG: &str = "interfaces: [{name: eth0}, {name: eth1}, {name: eth2}]
cores: {critical: \"1\", batch: \"1\"}
agents: [{id: 7, address: 10.9.1.1, mac: \"02:57:45:49:01:01\", interface: eth1}]
";
/// The box whose features are turned off and on, and the one that has none.
const WITH: &str = "features: {streaming: {enabled: true}}
rules: [{name: feed, match: \"udp dport 48102\", action: deliver, to: [streaming]}]
";
const WITHOUT: &str = "features: {streaming: {enabled: false}}\n";
/// Bytes of a base message's frame at full load, and of a probe.
const BASE_BYTES: u32 = 1024;
const PROBE_BYTES: u32 = 128;
/// Frames a second that the features get, each with so many events of 64 bytes.
const FEED_PER_SECOND: f64 = 20_000.0;
const FEED: Content = Content::Batch { events: 21, event_bytes: 64 };
/// Between two probes: 20,000 a second for half a second.
const STEP_NS: u64 = 50_000;
const PROBES: u64 = 10_000;
/// Parts of a burst of probes that have a percentile of their own.
const SLICES: u64 = 10;
/// Bursts of probes, and of full load, in one run: a host that is slow for a second is not slow in most of them.
const BURSTS: usize = 4;
/// Longest wait for a feature to be on or off.
const TURNED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 42;
/// Between two bursts, so that real-time threads stay below the kernel's limit.
const PAUSE: Duration = Duration::from_millis(600);

/// What one run gives.
#[derive(Clone, Copy)]
struct Figures {
    /// Base messages forwarded at full load, millions a second: the median over [`BURSTS`].
    rate: f64,
    /// 99th percentile of the probes in microseconds: the median over all [`SLICES`] of all [`BURSTS`], so that one stall of
    /// the host is not all of it.
    p99: f64,
    /// Memory of all processes and of the frames in MiB.
    memory: f64,
    /// Share of both cores that was not idle, in cores.
    cpu: f64,
}

fn lab() -> Result<Lab> {
    let mut spec = LabSpec::line();
    spec.nodes.push("feeder".to_owned());
    let (first, second) = (End::new("feeder", "wire0", &["10.9.2.1/24"]), End::new("box", "eth2", &["10.9.2.2/24"]));
    spec.links.push(Link { first, second, mtu: 1500, queues: 1 });
    Ok(Lab::create(&spec)?)
}

/// The way from the end of link number `link` into the box.
fn path(content: Content, link: u8) -> TrafficSpec {
    let bare = TrafficSpec::pair(content);
    let path = Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, link, 1],
        destination_mac: [0x02, 0x57, 0x45, 0x49, link, 2],
        source: [10, 9, link, 1].into(),
        destination: [10, 9, link, 2].into(),
        ..bare.path.clone()
    };
    TrafficSpec { path, ..bare }
}

fn base(frame_bytes: u32) -> TrafficSpec {
    TrafficSpec { destination_agent: AGENT, ..path(Content::Message { frame_bytes }, 0) }
}

/// Turns the features on or off, and waits until they are.
fn turn(appliance: &mut Appliance, on: bool) -> Result<()> {
    let name: RuleName = "nobody".parse().map_err(|problem| anyhow!("{problem}"))?;
    let stands = matches!(appliance.ask(&Request::SteerList)?, Answer::Rules(rules) if rules.iter().any(|it| it.rule.name == name));
    if !on && !stands {
        let matches = "udp dport 48102".parse().map_err(|problem| anyhow!("{problem}"))?;
        let (name, action, to) = (Some(name.clone()), RuleAction::Drop, Vec::new());
        let rule = NewRule { name, matches, action, to, share: Share::ALL, durable: false };
        appliance.ask(&Request::SteerAdd { rule, place: Some(1) })?;
    }
    let run = if on { Run::Started } else { Run::Stopped };
    appliance.ask(&Request::FeatureRun { name: FeatureName::STREAMING, run })?;
    if on && stands {
        appliance.ask(&Request::SteerRemove { name })?;
    }
    let worker = |status: &Status| {
        let found = status.processes.iter().find(|process| process.name == "worker streaming");
        found.is_some_and(|process| process.pid != 0 && process.state == ProcessState::Running)
    };
    appliance.wait_until("the worker is as it was asked to be", TURNED_WITHIN, |status| worker(status) == on)?;
    Ok(())
}

/// One run of the box with its features on or off, fed all the while.
fn run(lab: &Lab, appliance: &mut Appliance, on: bool) -> Result<Figures> {
    turn(appliance, on)?;
    let before = boxed::at_rest(appliance)?.counters;
    let stop = Arc::new(AtomicBool::new(false));
    let feeding = {
        let (stop, mut sender) = (Arc::clone(&stop), XdpSender::new(lab.node("feeder")?, "wire0")?);
        let mut traffic = Traffic::new(&path(FEED, 2))?;
        std::thread::spawn(move || -> Result<u64> {
            weir_dataplane_io::cpu::pin(wire::RECEIVER)?;
            Ok(load::drive(&mut sender, &mut traffic, FEED_PER_SECOND, &stop)?)
        })
    };
    let figures = measure(lab, appliance);
    stop.store(true, Ordering::Relaxed);
    let fed = feeding.join().unwrap_or_else(|_| bail!("the feeding thread panicked"))?;
    let after = boxed::at_rest(appliance)?.counters;
    let figures = figures?;
    let of = |counters: &Counters| counters.per_taker.get("streaming").copied().unwrap_or(0);
    let (taken, shed) = (of(&after) - of(&before), after.dropped_total() - before.dropped_total());
    ensure!(taken + shed >= fed && fed > 0, "of {fed} frames for features {taken} were taken and {shed} dropped");
    ensure!(taken == 0 || on, "a feature that is off took {taken} frames");
    ensure!(!on || taken > fed / 2, "the feature took {taken} of {fed} frames: it was not at work");
    Ok(figures)
}

fn start(lab: &Lab, features: &str) -> Result<Appliance> {
    let appliance = Appliance::start(lab, lab.node("box")?, &boxed::program()?, &format!("{CONFIG}{features}"))?;
    boxed::at_rest(&appliance)?;
    Ok(appliance)
}

/// MiB of all processes and of the frames.
fn memory(appliance: &Appliance) -> Result<f64> {
    let memory = appliance.status()?.memory;
    Ok((memory.pss_beside_umem_bytes + memory.umem_bytes) as f64 / f64::from(1 << 20))
}

fn measure(lab: &Lab, appliance: &Appliance) -> Result<Figures> {
    let (busy, start) = (busy_seconds()?, Instant::now());
    let (mut p99, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..BURSTS {
        p99.extend(probes(lab)?);
        std::thread::sleep(PAUSE);
        rates.push(full_load(lab)?);
        std::thread::sleep(PAUSE);
    }
    let (p99, rate) = (median(p99).context("no slice")? / 1e3, median(rates).context("no burst")?);
    let cpu = (busy_seconds()? - busy) / start.elapsed().as_secs_f64();
    Ok(Figures { rate, p99, memory: memory(appliance)?, cpu })
}

/// Base messages forwarded in a burst of as many as there can be, millions a second.
fn full_load(lab: &Lab) -> Result<f64> {
    let sink = live::sink(lab.node("right")?, "wire0", SinkAction::Drop)?;
    let left = lab.node("left")?;
    let mut live = Live::new(left, "wire0", &base(BASE_BYTES))?;
    wire::rate(left, &mut live, || Ok(sink.count()?.frames))
}

/// A burst of probes through the box, one at a time, sent and taken by one thread. Gives the 99th percentile of each slice in
/// nanoseconds.
fn probes(lab: &Lab) -> Result<Vec<f64>> {
    let mut sender = XdpSender::new(lab.node("left")?, "wire0")?;
    let mut reader = Bare::new(lab.node("right")?, "wire0", Front::Redirect)?;
    let mut traffic = Traffic::new(&base(PROBE_BYTES))?;
    let probing = std::thread::spawn(move || -> Result<Vec<Meter>> {
        noise::measuring_thread(wire::GENERATOR)?;
        let mut meters: Vec<Meter> = (0..SLICES).map(|_| Meter::new()).collect();
        let start = monotonic_ns() + STEP_NS;
        for number in 0..PROBES {
            let Some(meter) = meters.get_mut((number * SLICES / PROBES) as usize) else { break };
            let due = start + number * STEP_NS;
            while monotonic_ns() < due {
                std::hint::spin_loop();
            }
            sender.send(&mut traffic, &[due])?;
            let mut came = 0;
            while came == 0 && monotonic_ns() < due + STEP_NS {
                let now = monotonic_ns();
                came = reader.poll(|frame| meter.note(now, frame.get(HEADERS..).unwrap_or_default()));
            }
        }
        Ok(meters)
    });
    let meters = probing.join().unwrap_or_else(|_| bail!("the probing thread panicked"))?;
    let came: u64 = meters.iter().map(|meter| meter.frames).sum();
    ensure!(came * 100 >= PROBES * 99, "{came} of {PROBES} probes came through");
    Ok(meters.iter().map(|meter| meter.latency.value_at_percentile(99.0) as f64).collect())
}

/// Time that the two cores have not been idle since the machine started.
fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let mut busy = 0_u64;
    for core in [wire::GENERATOR, wire::RECEIVER] {
        let name = format!("cpu{core} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).context("a line of each core")?;
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted within user.
        busy += ticks
            .iter()
            .take(8)
            .enumerate()
            .filter(|(at, _)| *at != 3 && *at != 4)
            .map(|(_, ticks)| ticks)
            .sum::<u64>();
    }
    Ok(busy as f64 / 100.0) // USER_HZ is 100 on every platform that Weir runs on
}

/// What is compared: its name, the most it may grow or shrink in per cent, and by how many per cent `with` is worse.
type Compared = (&'static str, f64, fn(&Figures, &Figures) -> f64);

const COMPARED: [Compared; 4] = [
    ("throughput of base messages, lost", 1.0, |off, with| 100.0 * (1.0 - with.rate / off.rate)),
    ("p99 of base messages, longer by", 5.0, |off, with| 100.0 * (with.p99 / off.p99 - 1.0)),
    ("memory, more by", 25.0, |off, with| 100.0 * (with.memory / off.memory - 1.0)),
    ("CPU time, more by", 15.0, |off, with| 100.0 * (with.cpu / off.cpu - 1.0)),
];

fn main() -> Result<()> {
    let words = Words::read(11)?;
    noise::settle();
    Lab::sweep()?;
    let lab = lab()?;
    let mut bare = start(&lab, WITHOUT)?;
    let without = memory(&bare)?;
    bare.stop();
    let appliance = RefCell::new(start(&lab, WITH)?);
    let mut cases = [
        Case::new("off", || run(&lab, &mut appliance.borrow_mut(), false)),
        Case::new("on", || run(&lab, &mut appliance.borrow_mut(), true)),
        Case::new("off again", || run(&lab, &mut appliance.borrow_mut(), false)),
    ];
    let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
    drop(cases);
    appliance.into_inner().stop();
    let [off, on, again] = measured.runs.as_slice() else { bail!("three cases give three lists") };
    let mut rows = Vec::new();
    for (what, most, worse) in COMPARED {
        let paired =
            |with: &[Figures]| -> Vec<f64> { off.iter().zip(with).map(|(off, with)| worse(off, with)).collect() };
        let (floor, lost) = (paired(again), paired(on));
        let row = |case: String, values: &[f64]| BenchRow::of_runs(case, "%", Better::Lower, values);
        rows.extend(row(format!("noise floor: {what}, off and off again"), &floor));
        rows.extend(row(what.to_owned(), &lost));
        let bound = upper_bound(&lost).context("at least 5 runs are needed for a bound: give --runs 5 or more")?;
        rows.extend(row(format!("{what} at most, at 95 %"), &[bound]).map(|row| row.bounded(most)));
    }
    let figure = |name: &str, of: fn(&Figures) -> f64, unit: &str| {
        let median = |runs: &[Figures]| median(runs.iter().map(of).collect()).unwrap_or(f64::NAN);
        format!("{name}: off {:.3}, on {:.3}, off again {:.3} {unit}", median(off), median(on), median(again))
    };
    let notes = [
        figure("base messages of 1024 bytes", |run| run.rate, "M/s"),
        figure("p99 of a base message", |run| run.p99, "us"),
        figure("memory with the frames", |run| run.memory, "MiB"),
        format!(
            "a box that was made without features has {without:.1} MiB: the frames of their rings are there while they are off"
        ),
        figure("CPU time", |run| run.cpu, "cores"),
        format!("the features that there are: streaming, with {FEED_PER_SECOND} frames of 21 events a second"),
        measured.note(),
    ];
    let rig = "three veth pairs, native XDP, base messages on core 0, features on core 1";
    report::print("preservation", rig, rows, &notes)
}
