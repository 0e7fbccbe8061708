//! The classifier on a real interface: attached, replaced under traffic, taken over by another process, detached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_appliance_lab::packet::{Path, message};
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::message::StandardHeader;
use weir_ebpf_abi::rules::{Match, Rule};
use weir_ebpf_loader::generate::{LiveFrames, Sink, SinkAction, Traffic};
use weir_ebpf_loader::{AttachMode, AttachWish, Classifier, LoadOptions};
use weir_tests::wired;

const DEADLINE: Duration = Duration::from_secs(10);

/// A message frame over the pair's wire.
fn frame() -> Vec<u8> {
    let spec = TrafficSpec::pair(Content::Message { frame_bytes: 128 });
    let path = Path { destination_port: 48_100, ..spec.path };
    path.udp(&message(&StandardHeader::default(), &[0; 36])).0
}

fn drop_all() -> [Rule; 1] {
    [Rule { matches: Match::default(), action: Action::Drop, class: 0, share: 10_000 }]
}

fn pinned(lab: &Lab) -> LoadOptions {
    LoadOptions { pin_root: Some(lab.pin_root()) }
}

#[test]
fn a_replaced_classifier_misses_no_frame_and_keeps_its_maps() {
    wired!("a_replaced_classifier_misses_no_frame_and_keeps_its_maps");
    let lab = Lab::create(&LabSpec::pair()).expect("a lab");
    let (outside, inside) = (lab.node("outside").expect("there"), lab.node("box").expect("there"));
    let mut first = Classifier::load(pinned(&lab)).expect("loads");
    first.install_rules(&drop_all(), &[]).expect("installs");
    let attached = inside.run(|| first.attach("eth0", AttachWish::Best)).expect("enters").expect("attaches");
    assert_eq!((attached.mode, attached.replaced), (AttachMode::Native, false), "{}", attached.why);
    // Frames into a veth need an XDP program at both ends.
    let _far = outside.run(|| Sink::attach("wire0", SinkAction::Drop)).expect("enters").expect("attaches");
    let index = outside.interface("wire0").expect("there").index;
    let stop = AtomicBool::new(false);
    let key = first.flow_key();
    let before = first.counters().expect("reads").received.frames;
    let (sent, last) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            outside.run(|| {
                let mut frames = LiveFrames::new(index, &frame(), Traffic::default()).expect("generates");
                while !stop.load(Ordering::Relaxed) {
                    frames.send(4_096).expect("sends");
                }
                frames.sent().expect("reads")
            })
        });
        let mut last = first;
        for _ in 0..5 {
            // As after a crash: the old process's value goes only after the new one has taken over.
            let mut next = Classifier::load(pinned(&lab)).expect("takes the maps over");
            let attached = inside.run(|| next.attach("eth0", AttachWish::Best)).expect("enters").expect("attaches");
            assert!(attached.replaced, "{}", attached.why);
            assert_eq!(next.flow_key(), key);
            last = next;
        }
        stop.store(true, Ordering::Relaxed);
        (sender.join().expect("no panic").expect("enters"), last)
    });
    // Every frame met the rule, whichever program was there: none passed in between.
    let start = Instant::now();
    let mut counters = last.counters().expect("reads");
    while counters.received.frames - before < sent && start.elapsed() < DEADLINE {
        std::thread::yield_now();
        counters = last.counters().expect("reads");
    }
    assert!(sent > 4_096, "sent {sent}");
    assert!(counters.received.frames - before >= sent, "{} of {sent} arrived", counters.received.frames - before);
    // Neighbour discovery and the like came too, and met the same rule.
    assert_eq!(counters.dropped.frames, counters.received.frames, "{counters:?}");
}

#[test]
fn what_is_attached_outlives_its_process_until_it_is_detached() {
    wired!("what_is_attached_outlives_its_process_until_it_is_detached");
    let lab = Lab::create(&LabSpec::pair()).expect("a lab");
    let inside = lab.node("box").expect("there");
    let mut first = Classifier::load(pinned(&lab)).expect("loads");
    inside.run(|| first.attach("eth0", AttachWish::Native)).expect("enters").expect("attaches");
    drop(first);
    let mut second = Classifier::load(pinned(&lab)).expect("loads");
    let stranger = inside.run(|| Sink::attach("eth0", SinkAction::Pass)).expect("enters");
    let refused = stranger.expect_err("the interface is taken").to_string();
    assert!(refused.contains("eth0") && refused.contains("xdp off"), "{refused}");
    second.detach("eth0").expect("detaches");
    let _stranger = inside.run(|| Sink::attach("eth0", SinkAction::Pass)).expect("enters").expect("it is free now");
    second.unpin().expect("unpins");
    assert!(!lab.pin_root().exists());
}

#[test]
fn generic_is_said_to_be_generic_and_a_missing_interface_is_named() {
    wired!("generic_is_said_to_be_generic_and_a_missing_interface_is_named");
    let lab = Lab::create(&LabSpec::pair()).expect("a lab");
    let inside = lab.node("box").expect("there");
    let mut classifier = Classifier::load(LoadOptions::default()).expect("loads");
    let attached = inside.run(|| classifier.attach("eth0", AttachWish::Generic)).expect("enters").expect("attaches");
    assert_eq!(attached.mode, AttachMode::Generic);
    let missing = inside.run(|| classifier.attach("eth9", AttachWish::Best)).expect("enters");
    assert!(missing.expect_err("there is none").to_string().contains("eth9"));
}
