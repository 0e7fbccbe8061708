//! What happens when more comes than can be taken? It is shed by the one ring that is full, with a count, and it passes.

use std::process::Command;
use std::time::Instant;

use weir_appliance_control::message::{BenchReport, Request};
use weir_tests::{BATCH, DEADLINE, MESSAGE, Rig, program, scaled, send, wired};

/// Messages go to one feature and batches to another.
const TWO: &str = "\
features: {streaming: {enabled: false}, test1: {enabled: true}, test2: {enabled: true}}
rules:
  - {name: messages, match: \"udp dport 48100\", action: deliver, to: [test1]}
  - {name: batches, match: \"udp dport 48102\", action: deliver, to: [test2]}
";

#[test]
fn a_feature_that_is_slow_loses_frames_of_its_own_ring_only() {
    wired!("a_feature_that_is_slow_loses_frames_of_its_own_ring_only");
    let mut rig = Rig::new(TWO);
    let slow = "test2".parse().expect("a feature");
    let ask = |rig: &Rig, delay_us| {
        let asked = rig.appliance.ask(&Request::ChaosSlow { feature: slow, delay_us, seconds: 600 });
        asked.expect("a slow feature");
    };
    ask(&rig, 500_000);
    let before = rig.counters();
    let (mut sender, mut messages, mut batches) = (rig.sender(), rig.traffic(MESSAGE, 2), rig.traffic(BATCH, 2));
    // A worker is slow from the next look at its connection on. Then it takes 64 in half a second and its ring has 1,024
    // slots, which a few rounds fill.
    let (start, mut rounds) = (Instant::now(), 0);
    let (after, shed) = loop {
        send(&mut sender, &mut batches, 500);
        send(&mut sender, &mut messages, 100);
        rounds += 1;
        let after = rig.counters_after(&before, rounds * 600);
        let shed = after.dropped.get("ring-full").copied().unwrap_or(0);
        if shed > 0 && rounds >= scaled(8, 800) {
            break (after, shed);
        }
        assert!(shed > 0 || start.elapsed() < DEADLINE, "nothing is shed in {rounds} rounds: {after:?}");
    };
    assert!(shed > 0 && shed == after.dropped_total() - before.dropped_total(), "it is shed by the ring: {after:?}");
    let status = rig.appliance.status().expect("a status");
    assert!(status.features.iter().any(|feature| feature.name == slow && feature.slowed_us == 500_000), "{status:?}");
    ask(&rig, 0);
    let taken = |status: &weir_appliance_control::message::Status| {
        status.counters.per_taker.values().sum::<u64>() == status.counters.delivered
    };
    let status = rig.appliance.wait_until("the slow one has caught up", DEADLINE, taken).expect("it catches up");
    let counters = &status.counters;
    assert_eq!(counters.per_taker.get("test1"), Some(&(rounds * 100)), "the other has lost nothing: {counters:?}");
    assert_eq!(counters.per_taker.get("test2"), Some(&(rounds * 500 - shed)), "{counters:?}");
    // What comes now is taken as before.
    let before = rig.counters();
    send(&mut sender, &mut batches, 500);
    let after = rig.counters_after(&before, 500);
    assert_eq!(after.dropped_total(), before.dropped_total(), "{after:?}");
}

#[test]
fn the_backpressure_tool_balances_its_books_with_the_box() {
    wired!("the_backpressure_tool_balances_its_books_with_the_box");
    let mut tool = Command::new(program("weir"));
    tool.args(["load", "backpressure", "--rig", "wired", "--scale", "0.02", "--duration", "50", "--json"]);
    let output = tool.output().expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: BenchReport =
        serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    let value = |case: &str| {
        report.rows.iter().find(|row| row.case == case).unwrap_or_else(|| panic!("no {case}: {text}")).value
    };
    let fates = value("delivered") + value("shed: ring full") + value("shed: sender late");
    assert_eq!(value("offered"), fates, "{text}");
    assert_eq!((value("lost without a count"), value("doubled")), (0.0, 0.0), "{text}");
    assert!(value("shed in the overload") > 0.0 && report.rig.contains("veth"), "{text}");
}
