//! From the wire into a worker process and back out: a feature answers every frame, beside a bare AF_XDP forwarder in one
//! process and beside dpdk-testpmd's `macswap`.
//!
//! What is fair: the same generator, wire and core for all, alternated; a rate is what comes back to the sender's end, counted
//! there by a program in the driver between two looks, losses on full rings left out for all alike. Both peers exchange the
//! Ethernet addresses and look no further, in the process that receives. Ours classifies first, hands the frame to another
//! process, which reads the message and names the frame; the pool then exchanges addresses, ports and agents, takes a hop off
//! and mends the checksum, for a frame that it has checked to be a whole datagram. In copy mode the kernel makes a packet
//! buffer for each frame that is sent, which is most of the cost of all three.

use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::generate::live::{self, Live};
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::bare::Bare;
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::testpmd::{self, Testpmd};
use weir_benches::{boxed, noise, wire};
use weir_dataplane_io::cpu;
use weir_ebpf_loader::generate::{Sink, SinkAction};
use weir_features_worker::audit::ANSWER_ME;

/// Least ratio to either peer.
const GOAL: f64 = 0.95;
/// Real-time priority of every forwarder during a burst.
const FORWARDER_PRIORITY: u8 = 5;
/// Hugepages for the frames of either side.
const HUGEPAGES: u64 = 64;

const ANSWERING: &str = "features: {streaming: {enabled: false}, test1: {enabled: true, wait: spin}}
rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [test1]}]
";

struct Rig {
    lab: Lab,
    sink: Sink,
    frame_bytes: u32,
}

impl Rig {
    /// Millions of frames a second that come back.
    fn rate(&self) -> Result<f64> {
        let spec = TrafficSpec {
            producers: 16,
            destination_agent: ANSWER_ME,
            ..TrafficSpec::pair(Content::Message { frame_bytes: self.frame_bytes })
        };
        let outside = self.lab.node("outside")?;
        let mut live = Live::new(outside, "wire0", &spec)?;
        wire::rate(outside, &mut live, || Ok(self.sink.count()?.frames))
    }

    fn ours(&self, untrue: &RefCell<Vec<String>>) -> Result<f64> {
        let mut appliance = boxed::start(&self.lab, self.lab.node("box")?, ANSWERING)?;
        let status = boxed::at_rest(&appliance)?;
        boxed::set_real_time(&status, true)?;
        let rate = self.rate();
        boxed::set_real_time(&status, false)?;
        let sends = boxed::at_rest(&appliance)?.features.into_iter().find_map(|feature| feature.sends);
        appliance.stop();
        let sends = sends.unwrap_or_default();
        if sends.sent + sends.waiting != sends.requested || sends.sent == 0 {
            untrue.borrow_mut().push(format!("{sends:?}"));
        }
        rate
    }

    fn bare(&self) -> Result<f64> {
        let mut forwarder = Bare::sending(self.lab.node("box")?, "eth0")?;
        let (stop, ready) = (AtomicBool::new(false), Barrier::new(2));
        std::thread::scope(|scope| {
            let forwarding = scope.spawn(|| -> Result<()> {
                // As the worker and testpmd: below the thread that looks at the counter, which shares the core.
                let placed = cpu::fifo(FORWARDER_PRIORITY).and_then(|()| cpu::pin(wire::RECEIVER));
                ready.wait();
                placed?;
                while !stop.load(Ordering::Relaxed) {
                    forwarder.turn_around()?;
                }
                Ok(())
            });
            ready.wait();
            let rate = self.rate();
            stop.store(true, Ordering::Relaxed);
            forwarding.join().unwrap_or_else(|_| bail!("the forwarding thread panicked"))?;
            rate
        })
    }

    fn testpmd(&self) -> Result<f64> {
        let testpmd = Testpmd::start(&self.lab, self.lab.node("box")?, "macswap")?;
        let end = Instant::now() + Duration::from_secs(15);
        while testpmd.received()?.is_none() {
            ensure!(Instant::now() < end, "testpmd did not start: {}", testpmd.text()?.replace('\n', " "));
            std::thread::sleep(Duration::from_millis(100));
        }
        boxed::chrt("--fifo", &FORWARDER_PRIORITY.to_string(), testpmd.pid())?;
        let rate = self.rate();
        boxed::chrt("--other", "0", testpmd.pid())?;
        testpmd.stop()?;
        rate
    }
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    Lab::sweep()?;
    let mut lab = Lab::create(&LabSpec::pair())?;
    let pages = lab.reserve_hugepages(HUGEPAGES)?;
    let sink = live::sink(lab.node("outside")?, "wire0", SinkAction::Drop)?;
    let mut rig = Rig { lab, sink, frame_bytes: 0 };
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let version = testpmd::version();
    if let Err(reason) = &version {
        notes.push(format!("dpdk-testpmd is left out: {reason}"));
    }
    for frame_bytes in [70, 1514] {
        rig.frame_bytes = frame_bytes;
        let untrue = RefCell::new(Vec::new());
        let mut cases = vec![Case::new("ours", || rig.ours(&untrue)), Case::new("bare AF_XDP l2fwd", || rig.bare())];
        if version.is_ok() {
            cases.push(Case::new("testpmd macswap", || rig.testpmd()));
        }
        let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
        drop(cases);
        notes.push(format!("{frame_bytes} B: {}", measured.note()));
        notes.extend(untrue.into_inner().into_iter().map(|sends| format!("not every frame was answered: {sends}")));
        let case = format!("{frame_bytes} B answered");
        if let Some(row) = BenchRow::of_runs(case, "M frames/s", Better::Higher, &measured.runs[0]) {
            rows.push(row.clone().beside("bare AF_XDP l2fwd", &measured.runs[1], GOAL));
            if let (Some(runs), Ok(version)) = (measured.runs.get(2), &version) {
                rows.push(row.beside(format!("{version} macswap"), runs, GOAL));
            }
        }
    }
    let text = format!(
        "veth pair, native XDP, AF_XDP copy mode, {pages} hugepages, live frames on core 0, forwarders on core 1"
    );
    report::print("send", &text, rows, &notes)
}
