//! How long a flag takes from the request on the control socket to the first frame that it decides, how long to the answer that
//! says it is kept, and whether a share is the share that it says.
//!
//! What is fair: numbered datagrams of one flow come at a steady rate from the other end of a wire, and a program on the box
//! gets those that no flag has. When all is over, each change's datagrams are looked through: the time to the effect ends when
//! the datagram was sent from which on all are decided as the change says, none arriving after the flag was turned on and every
//! one after it was turned off, so it is the last straggler that counts. Between two datagrams is a quarter of a millisecond. The
//! answer comes when the change is on the disk, in force, and nobody reads the former tables.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_appliance_control::message::{BenchRow, Better, FlagChange, Request};
use weir_appliance_control::share::Share;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::packet::Path;
use weir_appliance_lab::{Lab, LabSpec, Node};
use weir_benches::report::{self, Words};
use weir_benches::{boxed, noise};
use weir_dataplane_io::clock::monotonic_ns;
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
/// Pause between two datagrams while changes are made.
const EVERY: Duration = Duration::from_micros(200);
/// Datagrams looked at that were sent before a request, and that are waited for after its answer.
const BEFORE: usize = 10;
const AFTER: usize = 50;
/// Datagrams sent at most.
const MOST: usize = 4_000_000;
const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), 5_004);
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

/// What passes between sender, receiver and the one who asks.
struct Stream {
    stop: AtomicBool,
    /// Datagrams sent, numbered from 0.
    sent: AtomicUsize,
    datagrams: Vec<Datagram>,
}

#[derive(Default)]
struct Datagram {
    sent_ns: AtomicU64,
    arrived: AtomicBool,
}

impl Stream {
    fn send(&self, node: &Node) -> Result<()> {
        let socket = node.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5_000)))??;
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.sent.load(Ordering::Relaxed);
            let datagram = self.datagrams.get(number).context("the run takes longer than it may")?;
            datagram.sent_ns.store(monotonic_ns(), Ordering::Relaxed);
            socket.send_to(&(number as u64).to_le_bytes(), TO)?;
            self.sent.store(number + 1, Ordering::Release);
            std::thread::sleep(EVERY);
        }
        Ok(())
    }

    fn receive(&self, node: &Node) -> Result<()> {
        let socket = node.run(|| UdpSocket::bind(TO))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut number = [0; 8];
        while !self.stop.load(Ordering::Relaxed) {
            if socket.recv(&mut number).is_ok()
                && let Some(datagram) = self.datagrams.get(u64::from_le_bytes(number) as usize)
            {
                datagram.arrived.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits until so many more datagrams were sent.
    fn wait_for(&self, more: usize) -> Result<usize> {
        let deadline = monotonic_ns() + 5_000_000_000;
        let target = self.sent.load(Ordering::Acquire) + more;
        loop {
            let sent = self.sent.load(Ordering::Acquire);
            if sent >= target {
                return Ok(sent);
            }
            ensure!(monotonic_ns() < deadline, "nothing is sent any more");
            std::thread::yield_now();
        }
    }

    /// When the first datagram was sent from which on all are as `change` says. To be asked when everything has arrived.
    fn decided_ns(&self, change: &Change) -> Result<u64> {
        let of_it = self.datagrams.get(change.first..change.end).context("a change without datagrams")?;
        let otherwise = |datagram: &Datagram| datagram.arrived.load(Ordering::Relaxed) == change.on;
        let straggler = of_it.iter().rposition(otherwise).context("a change had no effect that could be seen")?;
        let first = of_it.get(straggler + 1).context("a change had no effect within its time")?;
        Ok(first.sent_ns.load(Ordering::Relaxed))
    }
}

/// A change that was asked for and answered, and the datagrams sent between it and the next.
struct Change {
    on: bool,
    asked_ns: u64,
    answered_ns: u64,
    first: usize,
    end: usize,
}

/// Turns the flag on and off.
fn one_run(appliance: &Appliance, stream: &Stream) -> Result<Vec<Change>> {
    let mut changes = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let on = number % 2 == 0;
        let share = if on { Share::ALL } else { Share::NONE };
        let change = FlagChange { share: Some(share), ..FlagChange::default() };
        // Some of before, so that there is something to differ from.
        let first = stream.sent.load(Ordering::Acquire).saturating_sub(BEFORE);
        let asked_ns = monotonic_ns();
        appliance.ask(&Request::FlagSet { name: "f".parse()?, change })?;
        let answered_ns = monotonic_ns();
        changes.push(Change { on, asked_ns, answered_ns, first, end: stream.wait_for(AFTER)? });
    }
    Ok(changes)
}

/// Milliseconds from each request to its effect, and to its answer; each sorted.
fn figures(changes: &[Change], stream: &Stream) -> Result<[Vec<f64>; 2]> {
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    let answers = changes.iter().map(|change| ms(change.asked_ns, change.answered_ns)).collect();
    let effects = changes.iter().map(|change| Ok(ms(change.asked_ns, stream.decided_ns(change)?)));
    let mut times = [effects.collect::<Result<Vec<f64>>>()?, answers];
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    Ok(times)
}

fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = (sorted.len() as f64 * percent / 100.0) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Times of all runs while datagrams come.
fn times(runs: usize) -> Result<Vec<[Vec<f64>; 2]>> {
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::pair())?;
    let (inside, outside) = (lab.node("box")?, lab.node("outside")?);
    let mut appliance = Appliance::start(&lab, inside, &boxed::program()?, CONFIG)?;
    let stream = Stream {
        stop: AtomicBool::new(false),
        sent: AtomicUsize::new(0),
        datagrams: (0..MOST).map(|_| Datagram::default()).collect(),
    };
    let measured = std::thread::scope(|scope| {
        let others = [scope.spawn(|| stream.receive(inside)), scope.spawn(|| stream.send(outside))];
        let measured: Result<Vec<_>> =
            stream.wait_for(BEFORE + AFTER).and_then(|_| (0..runs).map(|_| one_run(&appliance, &stream)).collect());
        // The last change's datagrams are all there, or nowhere.
        std::thread::sleep(Duration::from_millis(200));
        stream.stop.store(true, Ordering::Relaxed);
        for other in others {
            other.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        }
        measured
    });
    appliance.stop();
    measured?.iter().map(|changes| figures(changes, &stream)).collect()
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
    let of = |which: usize, percent: f64| -> Vec<f64> {
        runs.iter().map(|times| percentile(&times[which], percent)).collect()
    };
    let misses = misses()?;
    let worst = misses.values().copied().fold(0.0, f64::max);
    let row = |case: &str, unit: &str, runs: &[f64]| {
        BenchRow::of_runs(case, unit, Better::Lower, runs).context("no run counted")
    };
    let rows = vec![
        row("request to effect, p50", "ms", &of(0, 50.0))?,
        row("request to effect, p99", "ms", &of(0, 99.0))?.bounded(GOAL_MS),
        row("request to answer, p50", "ms", &of(1, 50.0))?,
        row("request to answer, p99", "ms", &of(1, 99.0))?,
        row("a share misses by, at most", "deviations", &[worst])?.bounded(GOAL_DEVIATIONS),
    ];
    let shares =
        misses.iter().map(|(points, miss)| format!("{points} points: {miss:.2}")).collect::<Vec<_>>().join(", ");
    report::print("flags", "veth pair, one flow of some 4,000 datagrams a second; test-run for shares", rows, &[shares])
}
