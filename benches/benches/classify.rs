//! What the classifier costs a frame: the kernel's own clock over a repeated test-run, beside an empty program.
//!
//! What is fair: same kernel path, same frame, the two alternated within a run; "net" is the difference. The frame stays
//! in the cache and every branch is learnt, so this is the cost of the instructions, not of a mixture of frames.

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::packet::Path;
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_benches::noise;
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::rules::{Match, Prefix, Rule};
use weir_ebpf_loader::measure::Subject;
use weir_ebpf_loader::{Classifier, LoadOptions};

const CORE: u32 = 1;
/// Turns of each test-run: 20 to 100 ms.
const REPEAT: u32 = 400_000;
/// Nanoseconds that the design allows, over the empty program.
const GOAL_NO_RULES: f64 = 60.0;
const GOAL_ALL_RULES: f64 = 150.0;

/// A frame of 128 bytes with a message in it.
fn frame(change: impl FnOnce(&mut Path)) -> Result<Vec<u8>> {
    let mut spec = TrafficSpec::pair(Content::Message { frame_bytes: 128 });
    change(&mut spec.path);
    let mut traffic = Traffic::new(&spec)?;
    Ok(traffic.next(1).template.frame().to_vec())
}

/// 1,024 rules over every field, of which only the last matches the frame.
fn rules() -> Vec<Rule> {
    let drop = |matches| Rule { matches, action: Action::Drop, class: 0, share: 10_000 };
    let prefix = |number: u16, length| {
        let [high, low] = number.to_be_bytes();
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[172, high, low, 0]);
        Some(Prefix { address, length, version: 4 })
    };
    let mut rules: Vec<Rule> = (0..1023_u16)
        .map(|number| {
            let matches = match number % 6 {
                0 => Match { source: prefix(number, 24), ..Match::default() },
                1 => Match { destination: prefix(number, 16), ..Match::default() },
                2 => Match { destination_port: Some((number, number)), protocol: Some(17), ..Match::default() },
                3 => Match { source_port: Some((1024 + number, 1030 + number)), ..Match::default() },
                4 => Match { vlan: Some((number, number)), ..Match::default() },
                _ => Match {
                    message_type: Some((1000 + u32::from(number), 1001 + u32::from(number))),
                    ..Match::default()
                },
            };
            drop(matches)
        })
        .collect();
    let last = Match { destination_port: Some((48_100, 48_102)), ..Match::default() };
    rules.push(Rule { action: Action::Pass, ..drop(last) });
    rules
}

/// Nanoseconds of a classifier over those of the empty program, both measured twice and crosswise.
fn net(classifier: &Classifier, frame: &[u8]) -> Result<f64> {
    on_core(|| {
        let time = |subject| classifier.measure(subject, frame, REPEAT);
        let (empty, full) = (time(Subject::EmptyPass)?, time(Subject::Classifier)?);
        let (full_again, empty_again) = (time(Subject::Classifier)?, time(Subject::EmptyPass)?);
        Ok(((full + full_again) as f64 - (empty + empty_again) as f64) / 2.0)
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

fn main() -> Result<()> {
    let words = Words::read(9)?;
    noise::settle();
    let bare = Classifier::load(LoadOptions { pin_root: None })?;
    let mut full = Classifier::load(LoadOptions { pin_root: None })?;
    full.install_rules(&rules(), &[])?;
    let mut first = Classifier::load(LoadOptions { pin_root: None })?;
    first.install_rules(&rules(), &[])?;
    first.remember_flows(false)?;
    let four = frame(|_| {})?;
    let tagged = frame(|path| path.vlans = vec![7])?;
    let six = frame(|path| {
        path.source = std::net::Ipv6Addr::LOCALHOST.into();
        path.destination = std::net::Ipv6Addr::LOCALHOST.into();
    })?;
    let mut cases = [
        Case::new("empty program: the call itself", || {
            on_core(|| Ok(bare.measure(Subject::EmptyPass, &four, REPEAT)? as f64))
        }),
        Case::new("IPv4 message, no rules, net", || net(&bare, &four)),
        Case::new("VLAN and IPv4 message, no rules, net", || net(&bare, &tagged)),
        Case::new("IPv6 message, no rules, net", || net(&bare, &six)),
        Case::new("IPv4 message, 1,024 rules, net", || net(&full, &four)),
        Case::new("IPv6 message, 1,024 rules, net", || net(&full, &six)),
        Case::new("IPv4, first of its flow, 1,024 rules", || net(&first, &four)),
        Case::new("IPv6, first of its flow, 1,024 rules", || net(&first, &six)),
    ];
    let goals = [
        None,
        Some(GOAL_NO_RULES),
        Some(GOAL_NO_RULES),
        Some(GOAL_NO_RULES),
        Some(GOAL_ALL_RULES),
        Some(GOAL_ALL_RULES),
        Some(GOAL_ALL_RULES),
        Some(GOAL_ALL_RULES),
    ];
    let measured = alternate(&mut cases, words.runs, &[CORE])?;
    let mut rows = Vec::new();
    for ((case, goal), runs) in cases.iter().zip(goals).zip(&measured.runs) {
        let row = BenchRow::of_runs(case.name.clone(), "ns", Better::Lower, runs);
        rows.extend(row.map(|row| goal.map_or(row.clone(), |goal| row.bounded(goal))));
    }
    report::print("classify", "BPF test-run on one core, frame in cache", rows, &[measured.note()])
}
