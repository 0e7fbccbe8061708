//! What a service costs a frame, and whether agents get the share of their weight.
//!
//! What is fair: the kernel's own clock over a repeated test-run, the classifier beside a bare device-map redirect of the same
//! frame (or beside an empty program, where the frame passes), alternated. "new" makes every turn a connection that nobody
//! has seen, its fingerprint included, so that it is looked up in vain, picked and remembered; the table of connections is
//! full then, and each one makes room for the next. Headers in front are taken away again within what is measured.

use anyhow::{Result, ensure};
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::packet::Path;
use weir_benches::noise;
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::decode::Address;
use weir_ebpf_abi::services::{Encapsulation, ServiceKey, Wrap};
use weir_ebpf_loader::measure::Subject;
use weir_ebpf_loader::{AgentState, Classifier, LoadOptions, Service, ServiceAgent};

const CORE: u32 = 1;
/// Turns of each test-run: 20 to 100 ms.
const REPEAT: u32 = 400_000;
/// Flows whose shares are counted.
const FLOWS: u32 = 1_000_000;
/// Percent by which a share may miss its weight.
const GOAL_SHARE: f64 = 1.0;
/// The loopback, which stands for every way out: a test-run carries no redirect out.
const LOOPBACK: u32 = 1;
const WEIGHTS: [u32; 10] = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4];

fn frame(port: u16) -> Vec<u8> {
    let path = Path {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        vlans: Vec::new(),
        source: [10, 9, 0, 1].into(),
        destination: [10, 9, 200, 9].into(),
        source_port: 40_000,
        destination_port: port,
    };
    path.udp(&[0; 86]).0
}

fn service(port: u16, encapsulation: Encapsulation) -> Service {
    let version = if encapsulation == Encapsulation::None { 0 } else { 4 };
    let agent = |(id, weight): (u32, u32)| ServiceAgent {
        // Behind an interface that test-run frames never come from.
        agent: Agent { id, ifindex: u32::MAX, address: [10; 16], version: 4, ..Agent::default() },
        weight,
        state: AgentState::Up,
        mtu: 1500,
    };
    let address = Address { high: 0, low: u32::from_be_bytes([10, 9, 200, 9]).into() };
    Service {
        key: ServiceKey::new(4, address, 17, port),
        wrap: Wrap { encapsulation: encapsulation as u8, version, source: [10; 16], ..Wrap::default() },
        agents: (1..).zip(WEIGHTS).map(agent).collect(),
    }
}

/// A classifier with 64 services, of which ports 7000, 7001 and 7002 send frames as they are, in IP and in Geneve.
fn with_services() -> Result<Classifier> {
    let mut classifier = Classifier::load(LoadOptions { pin_root: None })?;
    classifier.install_agents(&[], &[(0, LOOPBACK)], &[])?;
    let mut services: Vec<Service> = (8_000..8_061).map(|port| service(port, Encapsulation::None)).collect();
    let kinds = [Encapsulation::None, Encapsulation::IpInIp, Encapsulation::Geneve];
    services.extend((7_000..).zip(kinds).map(|(port, kind)| service(port, kind)));
    classifier.install_services(&services)?;
    Ok(classifier)
}

/// Nanoseconds of `subject` over those of `floor`, both measured twice and crosswise.
fn net(classifier: &Classifier, subject: Subject, floor: Subject, frame: &[u8]) -> Result<f64> {
    on_core(|| {
        let time = |subject| classifier.measure(subject, frame, REPEAT);
        let (below, whole) = (time(floor)?, time(subject)?);
        let (whole_again, below_again) = (time(subject)?, time(floor)?);
        Ok(((whole + whole_again) as f64 - (below + below_again) as f64) / 2.0)
    })
}

/// Runs `work` in a measuring thread.
fn on_core<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            noise::measuring_thread(CORE)?;
            work()
        });
        inside.join().unwrap_or_else(|_| anyhow::bail!("the measuring thread panicked"))
    })
}

/// Percent by which the agents' shares of a million connections miss their weights, the worst first.
fn misses() -> Result<Vec<(u32, f64)>> {
    let classifier = with_services()?;
    let service = service(7_000, Encapsulation::None);
    classifier.measure(Subject::NewConnection, &frame(7_000), FLOWS)?;
    let counters = classifier.service_counters(&service.key)?;
    let frames: u64 = counters.agents.iter().map(|(_, count)| count.frames).sum();
    ensure!(frames == u64::from(FLOWS), "{frames} frames were counted for {FLOWS} flows");
    let all: u32 = WEIGHTS.iter().sum();
    let miss = |(id, count): &(u32, weir_ebpf_abi::services::ServiceCount)| {
        let weight = WEIGHTS.get(*id as usize - 1).copied().unwrap_or(0);
        let due = f64::from(FLOWS) * f64::from(weight) / f64::from(all);
        (weight, 100.0 * (count.frames as f64 / due - 1.0).abs())
    };
    let mut misses: Vec<(u32, f64)> = counters.agents.iter().map(miss).collect();
    misses.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(misses)
}

fn main() -> Result<()> {
    let words = Words::read(9)?;
    noise::settle();
    let mut bare = Classifier::load(LoadOptions { pin_root: None })?;
    bare.install_agents(&[], &[(0, LOOPBACK)], &[])?;
    let served = with_services()?;
    let (plain, in_ip, geneve, other) = (frame(7_000), frame(7_001), frame(7_002), frame(9));
    let (classify, new) = (Subject::Classifier, Subject::NewConnection);
    let (pass, redirect) = (Subject::EmptyPass, Subject::EmptyRedirect);
    let mut cases = [
        Case::new("empty program: the call itself", || on_core(|| Ok(bare.measure(pass, &plain, REPEAT)? as f64))),
        Case::new("bare redirect", || on_core(|| Ok(bare.measure(redirect, &plain, REPEAT)? as f64))),
        Case::new("no services, the frame passes, net", || net(&bare, classify, pass, &plain)),
        Case::new("64 services, a frame to none passes, net", || net(&served, classify, pass, &other)),
        Case::new("known connection, as it is, over redirect", || net(&served, classify, redirect, &plain)),
        Case::new("known connection, IP in IP, over redirect", || net(&served, classify, redirect, &in_ip)),
        Case::new("known connection, Geneve, over redirect", || net(&served, classify, redirect, &geneve)),
        Case::new("new connection, as it is, over redirect", || net(&served, new, redirect, &plain)),
    ];
    let measured = alternate(&mut cases, words.runs, &[CORE])?;
    let mut rows = Vec::new();
    for (case, runs) in cases.iter().zip(&measured.runs) {
        rows.extend(BenchRow::of_runs(case.name.clone(), "ns", Better::Lower, runs));
    }
    let misses = misses()?;
    let worst = misses.first().map_or(0.0, |(_, miss)| *miss);
    let name = format!("share of {} agents over {FLOWS} flows misses its weight by, at most", WEIGHTS.len());
    rows.extend(BenchRow::of_runs(name, "%", Better::Lower, &[worst]).map(|row| row.bounded(GOAL_SHARE)));
    let shares = misses.iter().map(|(weight, miss)| format!("{weight}: {miss:.2} %")).collect::<Vec<_>>().join(", ");
    let note = format!("misses by weight: {shares}");
    report::print("maglev", "BPF test-run on one core, frame in cache", rows, &[note, measured.note()])
}
