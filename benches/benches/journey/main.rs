//! From the wire into a worker process, beside bare AF_XDP in one process and beside dpdk-testpmd.
//!
//! What is fair: the same generator, wire, ring size and core for all, alternated; rates are frames that were taken over
//! the time of sending, losses included. A bare reader looks at each message's first byte and gives the frame straight
//! back; ours is handed to another process, counted by source and type there, and comes back behind its cursor. Two bare
//! readers stand beside it: behind the same classifier, which shows what the process, its rings and the pool cost; and
//! behind a program that redirects and looks at nothing, which shows what classification costs as well. testpmd is of the
//! latter kind, and holds the generator back instead of dropping, so its rate is that of a pair.

use std::cell::RefCell;

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::generate::live::Live;
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::bare::Front;
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{boxed, noise, wire};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::rules::{Match, Rule};

mod peers;

/// Frames of a burst: about half a second.
const FRAMES: u32 = 1 << 21;
const GOAL_BARE: f64 = 0.95;
const GOAL_TESTPMD: f64 = 1.0;

/// Hugepages for the frames of either side: enough for four classes.
const HUGEPAGES: u64 = 64;

/// Who takes what.
struct Shape {
    name: &'static str,
    frame_bytes: u32,
    config: &'static str,
    /// Message types by class, for the bare reader behind the classifier; the last class takes what is left.
    types: &'static [u32],
    /// Whether the peers that do not classify are of interest too.
    floors: bool,
}

const ONE: &str = "features: {streaming: {enabled: true, wait: spin}}
rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [streaming]}]
";
const TWO_TAKERS: &str = "features: {streaming: {enabled: true}, test1: {enabled: true}}
rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [streaming, test1]}]
";
const FOUR_CLASSES: &str = "features: {streaming: {enabled: true}, test1: {enabled: true}, test2: {enabled: true}}
rules:
  - {name: user, match: \"type 1\", action: deliver, to: [streaming]}
  - {name: system, match: \"type 2\", action: deliver, to: [test1]}
  - {name: error, match: \"type 3\", action: deliver, to: [test2]}
  - {name: rest, match: \"udp dport 48100\", action: deliver, to: [streaming, test1]}
";

const SHAPES: [Shape; 6] = [
    Shape { name: "70 B, 1 taker", frame_bytes: 70, config: ONE, types: &[], floors: true },
    Shape { name: "1514 B, 1 taker", frame_bytes: 1514, config: ONE, types: &[], floors: true },
    // With more workers than cores they share one, asleep when idle.
    Shape { name: "70 B, 2 takers", frame_bytes: 70, config: TWO_TAKERS, types: &[], floors: false },
    Shape { name: "1514 B, 2 takers", frame_bytes: 1514, config: TWO_TAKERS, types: &[], floors: false },
    Shape { name: "70 B, 4 classes", frame_bytes: 70, config: FOUR_CLASSES, types: &[1, 2, 3], floors: false },
    Shape { name: "1514 B, 4 classes", frame_bytes: 1514, config: FOUR_CLASSES, types: &[1, 2, 3], floors: false },
];

/// The rules of a shape's configuration, as the classifier takes them.
fn rules(shape: &Shape) -> Vec<Rule> {
    let deliver = |class, matches| Rule { matches, action: Action::Deliver, class, share: 10_000 };
    let by_type = |r#type| Match { message_type: Some((r#type, r#type)), ..Match::default() };
    let rest = Match { protocol: Some(17), destination_port: Some((48_100, 48_100)), ..Match::default() };
    let mut rules: Vec<Rule> = (0..).zip(shape.types).map(|(class, r#type)| deliver(class, by_type(*r#type))).collect();
    rules.push(deliver(shape.types.len() as u8, rest)); // four at most
    rules
}

/// Millions of frames a second that reached the worker; the share that the classifier saw and no worker got goes to
/// `lost`.
fn ours(lab: &Lab, shape: &Shape, lost: &RefCell<f64>) -> Result<f64> {
    let (outside, inside) = (lab.node("outside")?, lab.node("box")?);
    let appliance = boxed::start(lab, inside, shape.config)?;
    let mut live = generator(lab, shape.frame_bytes)?;
    let before = boxed::at_rest(&appliance)?;
    boxed::set_real_time(&before, true)?;
    let seconds = boxed::timed_burst(outside, &mut live, FRAMES);
    boxed::set_real_time(&before, false)?;
    let seconds = seconds?;
    let after = boxed::at_rest(&appliance)?;
    let mut appliance = appliance;
    appliance.stop();
    let seen = after.counters.received - before.counters.received;
    let delivered = after.counters.delivered - before.counters.delivered;
    let share = 1.0 - delivered as f64 / seen.max(1) as f64;
    lost.replace_with(|worst| worst.max(share));
    Ok(delivered as f64 / seconds / 1e6)
}

fn generator(lab: &Lab, frame_bytes: u32) -> Result<Live> {
    let spec = TrafficSpec { producers: 16, ..TrafficSpec::pair(Content::Message { frame_bytes }) };
    Ok(Live::new(lab.node("outside")?, "wire0", &spec)?)
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    Lab::sweep()?;
    let mut lab = Lab::create(&LabSpec::pair())?;
    let pages = lab.reserve_hugepages(HUGEPAGES)?;
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    let testpmd = weir_benches::testpmd::version();
    if let Err(reason) = &testpmd {
        notes.push(format!("dpdk-testpmd is left out: {reason}"));
    }
    for shape in SHAPES.iter().filter(|shape| words.wants(shape.name)) {
        let bytes = shape.frame_bytes;
        let lost = RefCell::new(0.0);
        let rules = rules(shape);
        let bare = |front| peers::bare(&lab, &mut generator(&lab, bytes)?, FRAMES, front);
        let mut cases = vec![
            Case::new(shape.name, || ours(&lab, shape, &lost)),
            Case::new("bare, classified", || bare(Front::Classifier(&rules))),
        ];
        if shape.floors {
            cases.push(Case::new("bare redirect", || bare(Front::Redirect)));
        }
        if testpmd.is_ok() && shape.floors {
            cases.push(Case::new("testpmd", || peers::testpmd(&lab, &mut generator(&lab, bytes)?, FRAMES)));
        }
        let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
        let lost = *lost.borrow() * 100.0;
        notes.push(format!("{}: {}; lost on full rings at worst {lost:.1} %", shape.name, measured.note()));
        let row = BenchRow::of_runs(shape.name, "M frames/s", Better::Higher, &measured.runs[0]);
        if let Some(row) = row {
            rows.push(row.clone().beside("bare AF_XDP, same classifier", &measured.runs[1], GOAL_BARE));
            if let Some(runs) = measured.runs.get(2) {
                rows.push(row.clone().beside("bare AF_XDP, redirect only", runs, GOAL_BARE));
            }
            if let (Some(runs), Ok(version)) = (measured.runs.get(3), &testpmd) {
                rows.push(row.beside(version.clone(), runs, GOAL_TESTPMD));
            }
        }
    }
    report::print(
        "journey",
        &format!(
            "veth pair, native XDP, AF_XDP copy mode, {pages} hugepages, live frames on core 0, readers on core 1"
        ),
        rows,
        &notes,
    )
}
