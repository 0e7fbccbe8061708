//! Does a hot thread do cold work? A taker reads rings, a feature counts, and nothing is allocated meanwhile.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::load::{MemoryRig, MemorySpec};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_dataplane_ring::{Record, SendRequest};
use weir_ebpf_abi::flow::FlowVerdict;
use weir_features_streaming::Streaming;
use weir_features_worker::audit::{ANSWER_ME, Audit};
use weir_features_worker::feature::Feature;
use weir_features_worker::outputs::{Outputs, RecordSink, SendSink, VerdictSink};
use weir_features_worker::taker::{Taker, TakerRing};
use weir_tests::{BATCH, MESSAGE};

/// Ends the test program when a hot thread allocates or frees.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Counts records as a ring would take them: without memory of its own.
#[derive(Default)]
struct Counting(u64);

impl RecordSink for Counting {
    fn put(&mut self, _: Record) -> bool {
        self.0 += 1;
        true
    }
}

impl VerdictSink for Counting {
    fn steer(&mut self, _: FlowVerdict) -> bool {
        self.0 += 1;
        true
    }
}

impl SendSink for Counting {
    fn send(&mut self, _: SendRequest) -> bool {
        self.0 += 1;
        true
    }

    fn publish(&mut self) -> u32 {
        0
    }
}

/// Sends `rounds` bursts of frames over a ring in memory and lets `F` work on them under the trapping allocator.
fn works_without_allocating<F: Feature>(settings: &F::Settings, content: Content, rounds: u64) -> u64 {
    let rig = MemoryRig::new(&MemorySpec::default()).expect("a rig in memory");
    let (mut sender, parts) = (rig.sender, rig.taker);
    let mut traffic = Traffic::new(&TrafficSpec { producers: 8, ..TrafficSpec::pair(content) }).expect("plain traffic");
    let ring = TakerRing::new(parts.reader, parts.slot, 0);
    let mut taker = Taker::new(vec![ring], parts.view, parts.cursors, None, u32::MAX);
    let (mut feature, mut records, mut verdicts) = (F::make(settings), Counting::default(), Counting::default());
    for round in 0..rounds {
        // A fifth of a second between bursts, so that windows of a second close on the way.
        let now_ns = 1_000_000_000 + round * 200_000_000;
        let sent = sender.send(&mut traffic, &[now_ns; 200]).expect("the ring is there");
        sender.flush().expect("the ring is there");
        assert_eq!(sent, 200, "the taker keeps up");
        let taken = assert_no_alloc(|| {
            let mut out = Outputs::new(F::ID, &mut records, &mut verdicts);
            let mut taken = 0;
            while taken < sent {
                taken += taker.poll(&mut feature, &mut out, || now_ns);
            }
            feature.on_tick(now_ns, &mut out);
            taken
        });
        assert_eq!(taken, 200);
    }
    records.0
}

#[test]
fn streaming_allocates_nothing_while_it_counts_and_closes_windows() {
    let records = works_without_allocating::<Streaming>(&Default::default(), BATCH, 50);
    assert!(records > 0, "windows were closed meanwhile");
    works_without_allocating::<Streaming>(&Default::default(), MESSAGE, 50);
}

#[test]
fn the_audit_reads_headers_without_allocating() {
    // Its first message of a source makes a row in a table that is there already; its ticks are for tests and allocate.
    let settings = ();
    let rig = MemoryRig::new(&MemorySpec::default()).expect("a rig in memory");
    let (mut sender, parts) = (rig.sender, rig.taker);
    let spec = TrafficSpec { destination_agent: ANSWER_ME, ..TrafficSpec::pair(MESSAGE) };
    let mut traffic = Traffic::new(&spec).expect("plain traffic");
    sender.send(&mut traffic, &[1; 500]).expect("the ring is there");
    sender.flush().expect("the ring is there");
    let ring = TakerRing::new(parts.reader, parts.slot, 0);
    let mut taker = Taker::new(vec![ring], parts.view, parts.cursors, None, u32::MAX);
    let (mut audit, mut records, mut verdicts) = (Audit::make(&settings), Counting::default(), Counting::default());
    let mut sends = Counting::default();
    let taken = assert_no_alloc(|| {
        let mut out = Outputs::new(Audit::ID, &mut records, &mut verdicts).sending(&mut sends);
        let mut taken = 0;
        while taken < 500 {
            taken += taker.poll(&mut audit, &mut out, || 2);
        }
        taken
    });
    assert_eq!((taken, audit.rows()[0].messages, sends.0), (500, 500, 500), "each was read, counted and named");
}
