//! The demo's lab: `left` and `right` talk through the box between them.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_appliance_console::demo::DemoArgs;
use weir_appliance_console::top::{Banner, Socket, Source, Symbols, watch};
use weir_appliance_control::message::{BenchReport, Better, Status};
use weir_appliance_control::problem::Problem;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabError, LabSpec, generate, load, packet};
use weir_ebpf_abi::message::{Modality, MultimodalHeader, PORT_MULTIMODAL, PORT_STANDARD, StandardHeader};
use weir_ebpf_loader::generate::{Sink, SinkAction};

use super::figures;

/// What steers the demo's box. Everything not named here goes to the host's stack, as on any box.
const CONFIG: &str = "\
interfaces: [{name: eth0}, {name: eth1}]
rules:
  - {name: telemetry, match: \"udp dport 48102\", action: deliver, to: [streaming]}
  - {name: multimodal, match: \"udp dport 48101\", action: mirror, to: [streaming]}
  - {name: no-discard, match: \"udp dport 9\", action: drop}
agents:
  - {id: 1, address: 10.9.0.1, mac: \"02:57:45:49:00:01\", interface: eth0}
  - {id: 2, address: 10.9.1.1, mac: \"02:57:45:49:01:02\", interface: eth1}
";
/// 2 MiB pages for the frames of two queues with three classes each: 31,744 frames of 2 KiB, and some to spare.
const HUGEPAGES: u64 = 40;
/// Base messages a second from left to right; a small part of what the kernel forwards, so that a laptop stays usable.
const MESSAGES_PER_SECOND: f64 = 20_000.0;
/// Frames of 22 events a second, and captured frames a second.
const BATCHES_PER_SECOND: f64 = 2_000.0;
const CAPTURED_PER_SECOND: f64 = 200.0;
/// A capture of everyday traffic between two hosts.
const CAPTURE: &[u8] = include_bytes!("../../../lab/captures/everyday.pcap");
/// How often the plain view prints a line.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Runs the demo on veth pairs.
pub(super) fn run(args: &DemoArgs, out: &mut dyn Write) -> Result<BenchReport> {
    let plain = args.plain || args.json || !std::io::stdout().is_terminal();
    let mut tell = |line: &str| if args.json { Ok(()) } else { writeln!(out, "{line}") };
    let swept = Lab::sweep()?;
    if swept.any() {
        tell("an earlier lab's remains were removed")?;
    }
    tell("rig: three network namespaces in a row, joined by veth pairs; the box is the middle one")?;
    let mut lab = Lab::create(&LabSpec::line())?;
    // Given back with the lab. Where the host has not enough memory in one piece, the box says that it runs on plain pages.
    let pages = lab.reserve_hugepages(HUGEPAGES).unwrap_or(0);
    tell(&format!("{pages} hugepages are free for frames"))?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &program, CONFIG)?;
    tell("the box is up: classifier attached, rings bound, streaming in its sandbox")?;
    // Without a program on its peer a veth interface refuses redirected frames.
    let _sinks = [sink(&lab, "left")?, sink(&lab, "right")?];
    let stop = Arc::new(AtomicBool::new(false));
    let senders = senders(&lab, &stop)?;
    let first =
        appliance.wait_until("traffic arrives", Duration::from_secs(10), |status| status.counters.delivered > 0)?;
    let start = Instant::now();
    let used = figures::processor_ns(&first);
    let shown = if plain { lines(&appliance, args, start, &mut tell) } else { live(&appliance, args, start) };
    let seconds = start.elapsed().as_secs_f64();
    let last = appliance.status();
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        let _ = sender.join();
    }
    shown?;
    let last = last?;
    let mut rows = figures::between(&first, &last, seconds);
    let used = figures::processor_ns(&last).saturating_sub(used) as f64 / 1e9;
    rows.push(figures::once("processor", "% of a core", Better::Lower, used * 100.0 / seconds.max(f64::EPSILON)));
    appliance.stop();
    let modes: Vec<String> =
        first.interfaces.iter().map(|port| format!("{} {}", port.name, port.mode.as_str())).collect();
    let pages = &first.memory.backing;
    Ok(figures::report(format!("namespaces and veth pairs ({}), frames on {pages}", modes.join(", ")), rows))
}

fn sink(lab: &Lab, node: &str) -> Result<Sink> {
    Ok(lab.node(node)?.run(|| Sink::attach("wire0", SinkAction::Pass))??)
}

type Sending = JoinHandle<Result<(), LabError>>;

/// Starts what sends: base messages both ways, event batches, multi-modal messages and captured frames.
fn senders(lab: &Lab, stop: &Arc<AtomicBool>) -> Result<Vec<Sending>> {
    let path = |source: [u8; 4], destination: [u8; 4], link: u8, near: u8| packet::Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, link, near],
        destination_mac: [0x02, 0x57, 0x45, 0x49, link, 3 - near],
        source: source.into(),
        destination: destination.into(),
        ..TrafficSpec::pair(Content::Message { frame_bytes: 128 }).path
    };
    let east = path([10, 9, 0, 1], [10, 9, 0, 2], 0, 1);
    let west = path([10, 9, 1, 1], [10, 9, 1, 2], 1, 2);
    let messages = TrafficSpec {
        producers: 8,
        destination_agent: 2,
        path: east.clone(),
        ..TrafficSpec::pair(Content::Message { frame_bytes: 256 })
    };
    let batches = TrafficSpec {
        producers: 4,
        first_source: 100,
        path: east,
        ..TrafficSpec::pair(Content::Batch { events: 22, event_bytes: 64 })
    };
    let mut wire = generate::afxdp::XdpSender::new(lab.node("left")?, "wire0")?;
    let mut sockets = generate::udp::UdpSender::new(lab.node("left")?, &batches)?;
    let mut capture = generate::capture::CaptureSender::new(lab.node("right")?, "wire0", CAPTURE, between(&west))?;
    let (mut messages, mut batches) = (Traffic::new(&messages)?, Traffic::new(&batches)?);
    let flags = [Arc::clone(stop), Arc::clone(stop), Arc::clone(stop)];
    let [one, two, three] = flags;
    Ok(vec![
        std::thread::spawn(move || load::drive(&mut wire, &mut messages, MESSAGES_PER_SECOND, &one).map(drop)),
        std::thread::spawn(move || load::drive(&mut sockets, &mut batches, BATCHES_PER_SECOND, &two).map(drop)),
        std::thread::spawn(move || capture.drive(CAPTURED_PER_SECOND, &three).map(drop)),
    ])
}

/// Frames that show the rest of what the box does: multi-modal messages, which it mirrors; datagrams that a rule drops; a
/// message for an agent it does not know and a cut frame, both of which pass and are noted.
fn between(path: &packet::Path) -> Vec<Vec<u8>> {
    let to = |port: u16, payload: &[u8]| packet::Path { destination_port: port, ..path.clone() }.udp(payload).0;
    let standard = |agent: u32| StandardHeader {
        source_agent_id: 2.into(),
        dest_agent_id: agent.into(),
        ..StandardHeader::default()
    };
    let header = MultimodalHeader { standard: standard(1), ..MultimodalHeader::default() };
    let parts: [(Modality, &[u8]); 2] =
        [(Modality::Text, b"valve 7 sounds odd"), (Modality::Sensor, &[0, 1, 4, 9, 16, 25])];
    let multimodal = to(PORT_MULTIMODAL, &packet::multimodal(&header, &parts));
    let discarded = to(9, b"nobody reads this");
    let unknown = to(PORT_STANDARD, &packet::message(&standard(4711), b"to nobody"));
    let mut cut = unknown.clone();
    cut.truncate(30);
    let often = std::iter::repeat_n(multimodal, 20).chain(std::iter::repeat_n(discarded, 10));
    often.chain([unknown, cut]).collect()
}

/// The box, seen through its control socket until the time is over.
struct Watched {
    socket: Socket,
    end: Instant,
}

impl Source for Watched {
    fn status(&mut self) -> Result<Status, Problem> {
        self.socket.status()
    }

    fn banner(&mut self) -> Option<Banner> {
        let left = self.end.saturating_duration_since(Instant::now());
        let line = "weir demo: left → box → right, generated messages and a capture; q leaves".to_owned();
        Some(Banner { line, left: Some(left) })
    }

    fn is_over(&mut self) -> bool {
        Instant::now() >= self.end
    }
}

fn live(appliance: &Appliance, args: &DemoArgs, start: Instant) -> Result<()> {
    let socket = Socket::new(appliance.socket().to_owned());
    watch(&mut Watched { socket, end: start + args.minutes }, Symbols::of_terminal())
        .context("the terminal cannot be used")
}

/// One line a second, for logs and pipes.
fn lines(
    appliance: &Appliance,
    args: &DemoArgs,
    start: Instant,
    tell: &mut impl FnMut(&str) -> std::io::Result<()>,
) -> Result<()> {
    let end = start + args.minutes;
    let mut before = appliance.status()?.counters;
    while Instant::now() < end {
        std::thread::sleep(LINE_EVERY.min(end.saturating_duration_since(Instant::now())));
        let now = appliance.status()?.counters;
        let (forwarded, delivered) = (now.forwarded - before.forwarded, now.delivered - before.delivered);
        let (passed, dropped) = (now.passed - before.passed, now.dropped_total() - before.dropped_total());
        tell(&format!(
            "{:>5.0} s  forwarded {forwarded}  delivered {delivered}  passed {passed}  dropped {dropped}",
            start.elapsed().as_secs_f64()
        ))?;
        before = now;
    }
    Ok(())
}
