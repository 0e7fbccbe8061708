//! Base messages forwarded in the driver, beside a bare device-map redirect.
//!
//! What is fair: the same generator, wires and sink, alternated; both redirect by device map, and the classifier also
//! decodes the message, finds its agent, rewrites both addresses and the hop count and mends two checksums. One core
//! makes, forwards and counts the frames, so a rate is what one core does in all.

use anyhow::{Result, ensure};
use weir_appliance_control::message::{BenchRow, Better};
use weir_appliance_lab::generate::live::{self, Live};
use weir_appliance_lab::traffic::{Content, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{noise, wire};
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_loader::floor::Floor;
use weir_ebpf_loader::generate::{Sink, SinkAction};
use weir_ebpf_loader::{AttachWish, Classifier, LoadOptions};

/// Least ratio to the bare redirect.
const GOAL: f64 = 0.90;
/// Messages a second of one core, in millions: an eighth of 4.2 million, since the design has eight critical cores.
const GOAL_CORE: f64 = 0.525;
const AGENT: u32 = 7;

/// Which program forwards.
#[derive(Clone, Copy)]
enum Forwarder {
    Classifier,
    Redirect,
}

/// A generated rate through one forwarder.
fn run(lab: &Lab, sink: &Sink, forwarder: Forwarder, frame_bytes: u32) -> Result<f64> {
    let (left, middle) = (lab.node("left")?, lab.node("box")?);
    let spec = TrafficSpec { destination_agent: AGENT, ..TrafficSpec::pair(Content::Message { frame_bytes }) };
    let mut live = Live::new(left, "wire0", &spec)?;
    let egress = middle.interface("eth1")?;
    let count = || Ok(sink.count()?.frames);
    match forwarder {
        Forwarder::Redirect => {
            let _floor = middle.run(|| Floor::redirect("eth0", egress.index))??;
            wire::rate(left, &mut live, count)
        }
        Forwarder::Classifier => {
            let mut classifier = middle.run(|| -> Result<Classifier> {
                let mut classifier = Classifier::load(LoadOptions { pin_root: None })?;
                let agent = Agent {
                    id: AGENT,
                    address: [10, 9, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    mac: [0x02, 0x57, 0x45, 0x49, 1, 2],
                    source_mac: egress.mac,
                    version: 4,
                    egress: 0,
                    ..Agent::default()
                };
                classifier.install_agents(&[agent], &[(0, egress.index)], &[])?;
                classifier.attach("eth0", AttachWish::Native)?;
                Ok(classifier)
            })??;
            let rate = wire::rate(left, &mut live, count);
            let counters = classifier.counters()?;
            middle.run(|| classifier.detach("eth0"))??;
            // Live frames are used again as the last program left them: a generator that does not restore the hop count
            // would have most of them dropped, and a rate that says nothing.
            let dropped = counters.dropped.frames;
            ensure!(dropped == 0, "{dropped} of {} frames were dropped, not forwarded", counters.received.frames);
            rate
        }
    }
}

fn main() -> Result<()> {
    let words = Words::read(7)?;
    noise::settle();
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::line())?;
    let sink = live::sink(lab.node("right")?, "wire0", SinkAction::Drop)?;
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for bytes in [70, 1024] {
        let mut cases = [
            Case::new("bare", || run(&lab, &sink, Forwarder::Redirect, bytes)),
            Case::new("ours", || run(&lab, &sink, Forwarder::Classifier, bytes)),
        ];
        let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
        let row = BenchRow::of_runs(
            format!("{bytes}-byte messages forwarded"),
            "M frames/s",
            Better::Higher,
            &measured.runs[1],
        );
        rows.extend(row.map(|row| row.beside("bare devmap redirect", &measured.runs[0], GOAL)));
        if bytes == 1024 {
            let row =
                BenchRow::of_runs("1024-byte messages, one core", "M messages/s", Better::Higher, &measured.runs[1]);
            rows.extend(row.map(|row| row.bounded(GOAL_CORE)));
        }
        notes.push(format!("{bytes} bytes: {}", measured.note()));
    }
    let rig = format!("veth pairs, {} XDP, live frames on core {}", sink.mode().name(), wire::GENERATOR);
    report::print("route", &rig, rows, &notes)
}
