//! Load runs lose nothing on a way that loses nothing, and say what was lost on one that does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail the test, or say why they skip it")]

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::generate::live::{self, Live};
use weir_appliance_lab::generate::udp::UdpSender;
use weir_appliance_lab::load::{
    Consumer, Flow, Labels, MemoryRig, MemorySpec, Meter, Overload, Phase, Plan, RingReceiver, Tally, UdpReceiver,
    drive, overload, run,
};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabError, LabSpec};
use weir_ebpf_loader::generate::SinkAction;

const LABELS: Labels<'static> = Labels { rig: "test" };

fn rig() -> MemoryRig {
    let hugepages = weir_dataplane_io::umem::HugePages::Never;
    MemoryRig::new(&MemorySpec { ring: 256, hugepages, ..MemorySpec::default() }).unwrap()
}

/// A pair, or `None` with the reason printed where the rights are missing.
fn lab(test: &str) -> Option<Lab> {
    match Lab::create(&LabSpec::pair()) {
        Ok(lab) => Some(lab),
        Err(error @ (LabError::Command { .. } | LabError::System { .. })) if !rustix::process::geteuid().is_root() => {
            println!("weir-skip: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn batches(producers: u32) -> TrafficSpec {
    TrafficSpec { producers, ..TrafficSpec::pair(Content::Batch { events: 5, event_bytes: 64 }) }
}

#[test]
fn memory_delivers_everything_once_and_in_order() {
    let MemoryRig { mut sender, taker, .. } = rig();
    let mut traffic = Traffic::new(&batches(16)).unwrap();
    let mut receiver = RingReceiver::start(taker, Meter::new(), None).unwrap();
    let plan = Plan::new(Duration::from_millis(300));
    let flow = Flow { traffic: &mut traffic, per_second: 20_000.0 };
    let outcome = run(LABELS, &plan, &mut sender, &mut [flow], &mut receiver).unwrap();
    let total = outcome.total();
    assert!(outcome.sent > 0);
    assert_eq!(
        (total.sent, total.received, total.lost, total.doubled, total.reordered),
        (outcome.sent, outcome.sent, 0, 0, 0)
    );
    assert_eq!(outcome.events_sent, outcome.sent * 5);
    assert_eq!(outcome.sources.len(), 16);
    assert_eq!(outcome.latency.samples, outcome.sent);
    assert_eq!(outcome.strange, 0);
}

#[test]
fn probes_are_measured_apart_from_their_background() {
    let MemoryRig { mut sender, taker, .. } = rig();
    let mut background = Traffic::new(&batches(4)).unwrap();
    let probe_spec = TrafficSpec { first_source: 1000, ..TrafficSpec::pair(Content::Message { frame_bytes: 128 }) };
    let mut probes = Traffic::new(&probe_spec).unwrap();
    let mut receiver = RingReceiver::start(taker, Meter::of_probes(1000), None).unwrap();
    let plan = Plan { scale: 0.5, ..Plan::new(Duration::from_millis(400)) };
    let mut flows =
        [Flow { traffic: &mut background, per_second: 20_000.0 }, Flow { traffic: &mut probes, per_second: 2_000.0 }];
    let outcome = run(LABELS, &plan, &mut sender, &mut flows, &mut receiver).unwrap();
    let probes: u64 = outcome.sources.iter().filter(|source| source.source >= 1000).map(|source| source.sent).sum();
    assert!(probes > 0 && probes < outcome.sent);
    assert_eq!(outcome.latency.samples, probes);
    assert_eq!(outcome.latency.percentiles.len(), 5);
    assert_eq!(outcome.total().lost, 0);
    // Half the rate over half the time.
    assert!(outcome.offered <= 2_300, "{}", outcome.offered);
}

#[test]
fn a_stopped_taker_stops_the_sender_and_loses_nothing() {
    let MemoryRig { mut sender, taker, .. } = rig();
    let mut traffic = Traffic::new(&batches(1)).unwrap();
    assert_eq!(sender.send(&mut traffic, &[0; 300]).unwrap(), 256);
    assert_eq!(sender.send(&mut traffic, &[0; 1]).unwrap(), 0);
    taker.cursors.publish(0, 10);
    assert_eq!(sender.send(&mut traffic, &[0; 64]).unwrap(), 10);
    taker.cursors.publish(0, 10_000);
    assert!(sender.send(&mut traffic, &[0; 1]).is_err());
    assert_eq!(traffic.sent().map(|(_, sent)| sent).sum::<u64>(), 266);
}

#[test]
fn what_a_slow_consumer_cannot_take_is_shed_with_a_count_for_each_source() {
    let mut traffic = Traffic::new(&batches(16)).unwrap();
    let phase =
        |name, milliseconds, per_second| Phase { name, duration: Duration::from_millis(milliseconds), per_second };
    let spec = Overload {
        phases: vec![phase("overload", 300, 50_000.0), phase("after", 300, 500.0)],
        consumer: Consumer { batch: 8, delay: Duration::from_millis(2) },
        ring: 64,
        slices: 6,
    };
    let tally = Tally::default();
    let ledger = overload(&spec, &mut traffic, &tally).unwrap();
    let (total, unaccounted) = ledger.total();
    assert_eq!((unaccounted, total.doubled, total.offered), (0, 0, 15_150));
    assert_eq!(total.shed, ledger.shed().total());
    // In 300 ms the consumer can take 150 batches of 8, and the ring holds 64 more.
    assert!(total.shed > 15_000 - 1_200 - 64, "{total:?}");
    assert_eq!((ledger.sources.len(), tally.read().0, tally.read().1), (16, total.offered, total.shed));
    assert!(ledger.sources.iter().all(|source| source.offered == source.shed + source.delivered && source.shed > 0));
    assert_eq!(ledger.phases.iter().map(|phase| phase.latency.samples).sum::<u64>(), total.delivered);
    assert_eq!(ledger.slices.iter().map(|slice| slice.delivered).sum::<u64>(), total.delivered);
    assert_eq!(ledger.slices.iter().map(|slice| slice.offered).sum::<u64>(), total.offered);
}

#[test]
fn an_impossible_overload_is_refused_with_its_cure() {
    let mut traffic = Traffic::new(&batches(1)).unwrap();
    let spec = Overload { phases: Vec::new(), consumer: Consumer::default(), ring: 64, slices: 6 };
    let line = overload(&spec, &mut traffic, &Tally::default()).unwrap_err().to_string();
    assert_eq!(line, "the number of phases is 0; give 1 to 256: fewer, longer intervals");
}

#[test]
fn a_driven_flow_ends_when_told() {
    let MemoryRig { mut sender, taker: _taker, .. } = rig();
    let mut traffic = Traffic::new(&batches(1)).unwrap();
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let driving = scope.spawn(|| drive(&mut sender, &mut traffic, 0.0, &stop));
        std::thread::yield_now();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        driving.join().unwrap().unwrap()
    });
    assert!(sent <= 256);
}

#[test]
fn both_wire_generators_reach_a_socket() {
    let Some(lab) = lab("both_wire_generators_reach_a_socket") else { return };
    let (outside, inside) = (lab.node("outside").unwrap(), lab.node("box").unwrap());
    let spec = batches(2);
    let senders: [Box<dyn Sender>; 2] =
        [Box::new(UdpSender::new(outside, &spec).unwrap()), Box::new(XdpSender::new(outside, "wire0").unwrap())];
    for mut sender in senders {
        let mut traffic = Traffic::new(&spec).unwrap();
        let mut receiver = UdpReceiver::start(inside, "10.9.0.2:48102".parse().unwrap(), Meter::new()).unwrap();
        let flow = Flow { traffic: &mut traffic, per_second: 2_000.0 };
        let plan = Plan::new(Duration::from_millis(200));
        let outcome = run(LABELS, &plan, sender.as_mut(), &mut [flow], &mut receiver).unwrap();
        let total = outcome.total();
        assert!(outcome.sent > 0, "{}", outcome.generator);
        assert_eq!((total.lost, total.doubled, total.reordered), (0, 0, 0), "{}", outcome.generator);
    }
}

/// Frames that the two ends of a fresh veth pair may send by themselves.
const STRANGERS: u64 = 20;

#[test]
fn live_frames_reach_a_sink() {
    let Some(lab) = lab("live_frames_reach_a_sink") else { return };
    let (outside, inside) = (lab.node("outside").unwrap(), lab.node("box").unwrap());
    let sink = live::sink(inside, "eth0", SinkAction::Drop).unwrap();
    let mut live = Live::new(outside, "wire0", &batches(4)).unwrap();
    outside.run(|| live.send(10_000)).unwrap().unwrap();
    assert_eq!((live.sent().unwrap(), live.events().unwrap()), (10_000, 50_000));
    let count = sink.count().unwrap();
    // The kernels at both ends announce themselves by a few IPv6 frames of their own, which the sink counts too.
    let announced = count.frames.saturating_sub(10_000);
    assert!(count.frames > 0 && announced <= STRANGERS, "{count:?}");
    let least = count.frames.saturating_sub(STRANGERS) * live.frame_bytes() as u64;
    assert!(count.bytes >= least && count.bytes <= count.frames * live.frame_bytes() as u64, "{count:?}");
}
