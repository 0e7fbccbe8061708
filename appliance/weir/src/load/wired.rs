//! The load tools on the wired lab: frames leave an AF_XDP transmit ring on one namespace and the box classifies them in its
//! driver, or messages come over TCP; a worker in its sandbox audits every sequence number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weir_appliance_console::load::{Over, Progress, Reading};
use weir_appliance_control::message::{BenchRow, Better, Counters, Status};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::network::Node;
use weir_appliance_lab::traffic::{Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabSpec, load};
use weir_appliance_sdk_rust::StreamStatistics;
use weir_ebpf_loader::generate::{Sink, SinkAction};

use super::streamed::{self, StreamSender};

/// Messages go to the first auditing worker, batches to the second.
pub(super) const CONFIG: &str = "\
interfaces: [{name: eth0}, {name: eth1}]
features: {streaming: {enabled: false}, test1: {enabled: true}, test2: {enabled: true}}
rules:
  - {name: messages, match: \"udp dport 48100\", action: deliver, to: [test1]}
  - {name: batches, match: \"udp dport 48102\", action: deliver, to: [test2]}
";
/// Time the last frames have to be taken.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// How often the line of progress is renewed.
const RENEW: Duration = Duration::from_millis(500);

/// One stream of traffic: its content, its rate, and the end of the lab it leaves from.
pub(crate) struct Stream {
    /// What is sent; its path is set here.
    pub(crate) spec: TrafficSpec,
    /// Frames a second.
    pub(crate) per_second: f64,
}

/// What came of it.
pub(crate) struct Account {
    /// The rig in words.
    pub(crate) rig: String,
    /// The generator in words.
    pub(crate) generator: String,
    /// Frames that were due.
    pub(crate) offered: u64,
    /// Frames that were sent.
    pub(crate) sent: u64,
    /// Messages or batches that the workers took.
    pub(crate) received: u64,
    /// Sequence numbers that never came.
    pub(crate) lost: u64,
    /// Messages that came twice or late.
    pub(crate) not_rising: u64,
    /// What came of each source.
    pub(crate) sources: Vec<(u32, SourceSeen)>,
    /// Latencies of the messages of the first worker in nanoseconds: 50, 90, 95, 99, 99.9 % and the longest.
    pub(crate) latency_ns: Vec<u64>,
    /// Messages that were sent again, where they were kept for that.
    pub(crate) resent: Option<u64>,
    /// What the box counted meanwhile.
    pub(crate) counters: Counters,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// What the workers saw of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceSeen {
    /// Different messages.
    pub(crate) delivered: u64,
    /// Messages that came twice or late.
    pub(crate) doubled: u64,
}

/// What the box counts of what comes this way.
struct Books {
    received: u64,
    delivered: u64,
    dropped: u64,
    taken: u64,
}

impl Books {
    fn of(status: &Status, over: Over) -> Self {
        let counters = &status.counters;
        let Some(streams) = status.streams.as_ref().filter(|_| over == Over::Tcp) else {
            return Self {
                received: counters.received,
                delivered: counters.delivered,
                dropped: counters.dropped.values().sum(),
                taken: counters.per_taker.values().sum(),
            };
        };
        Self {
            received: streams.messages,
            delivered: streams.delivered,
            dropped: streams.dropped + streams.untaken,
            taken: streams.per_taker.values().sum(),
        }
    }
}

/// What sends.
enum Way {
    Wire(Box<XdpSender>),
    Tcp(StreamSender),
}

impl Way {
    fn new(over: Over, node: &Node, spec: &TrafficSpec) -> Result<Self> {
        Ok(match over {
            Over::Wire => Self::Wire(Box::new(XdpSender::new(node, "wire0")?)),
            Over::Tcp => Self::Tcp(StreamSender::new(node, spec)?),
        })
    }

    fn sender(&mut self) -> &mut dyn Sender {
        match self {
            Self::Wire(sender) => sender.as_mut(),
            Self::Tcp(sender) => sender,
        }
    }

    /// Waits until everything is acknowledged, where something is.
    fn finish(self) -> Result<Option<StreamStatistics>> {
        match self {
            Self::Wire(_) => Ok(None),
            Self::Tcp(sender) => sender.finish(DRAIN).map(Some),
        }
    }
}

/// Sends up to two streams, the first from the left end and the second from the right, for `duration`.
///
/// # Errors
/// The lab cannot be made, or the box does not run.
pub(crate) fn run(streams: [Option<Stream>; 2], duration: Duration, over: Over) -> Result<Account> {
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::line())?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let config = match over {
        Over::Wire => CONFIG.to_owned(),
        Over::Tcp => format!("{CONFIG}tcp: {{listen: [\"10.9.0.2:{0}\", \"10.9.1.2:{0}\"]}}\n", streamed::PORT),
    };
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &program, &config)?;
    let _sinks = match over {
        Over::Wire => vec![sink(&lab, "left")?, sink(&lab, "right")?],
        Over::Tcp => Vec::new(),
    };
    let before = Books::of(&appliance.status()?, over);
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let (mut offered, mut generator, mut sending) = (0.0, String::new(), Vec::new());
    for ((stream, node), link) in streams.into_iter().zip(["left", "right"]).zip(0_u8..) {
        let Some(Stream { spec, per_second }) = stream else { continue };
        let spec = TrafficSpec { path: path(&spec, link), ..spec };
        let mut way = Way::new(over, lab.node(node)?, &spec)?;
        let mut traffic = Traffic::new(&spec)?;
        offered += per_second * duration.as_secs_f64();
        generator = way.sender().describe();
        let stop = Arc::clone(&stop);
        sending.push(std::thread::spawn(move || -> Result<(u64, Option<StreamStatistics>)> {
            let sent = load::drive(way.sender(), &mut traffic, per_second, &stop)?;
            Ok((sent, way.finish()?))
        }));
    }
    watch(&appliance, offered, duration, &before, over)?;
    stop.store(true, Ordering::Relaxed);
    let (mut sent, mut resent) = (0, None);
    for thread in sending {
        let (count, streams) =
            thread.join().map_err(|_| anyhow!("a generator panicked; run again with RUST_BACKTRACE=1"))??;
        sent += count;
        resent = streams.map(|streams| resent.unwrap_or(0) + streams.resent).or(resent);
    }
    let seconds = start.elapsed().as_secs_f64();
    // Whatever was not dropped for a reason is taken in the end; what is not there after that is lost and shown.
    let settled = appliance.wait_until("all frames are taken", DRAIN, |status| {
        let books = Books::of(status, over);
        books.received >= before.received + sent && books.taken >= books.delivered
    });
    let status = settled.or_else(|_| appliance.status())?;
    let mut account = last_word(&appliance, Books::of(&status, over).taken)?;
    account.rig = match over {
        Over::Wire => {
            "namespaces and veth pairs, one queue each, native XDP, AF_XDP copy mode, worker in its sandbox".into()
        }
        Over::Tcp => {
            let way = status.streams.as_ref().map(|streams| streams.way.clone()).unwrap_or_default();
            format!("namespaces and veth pairs, TCP into the box ({way}), worker in its sandbox")
        }
    };
    account.resent = resent;
    let counters = status.counters;
    account.generator = generator;
    (account.offered, account.sent, account.seconds, account.counters) = (offered as u64, sent, seconds, counters);
    appliance.stop();
    Ok(account)
}

/// Waits for `duration`, and shows on a terminal meanwhile how far it is, in frames. The box is not asked otherwise, so
/// that a run in a script is not disturbed.
fn watch(appliance: &Appliance, offered: f64, duration: Duration, before: &Books, over: Over) -> Result<()> {
    let start = Instant::now();
    let mut progress = Progress::on_stderr();
    while let Some(left) = duration.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if !progress.is_shown() {
            std::thread::sleep(left);
            continue;
        }
        std::thread::sleep(left.min(RENEW));
        let books = Books::of(&appliance.status()?, over);
        let elapsed = start.elapsed();
        progress.show(Reading {
            elapsed,
            total: duration,
            offered: (offered * elapsed.as_secs_f64() / duration.as_secs_f64()) as u64,
            delivered: books.delivered.saturating_sub(before.delivered),
            shed: books.dropped.saturating_sub(before.dropped),
        });
    }
    progress.clear();
    Ok(())
}

/// A program at the other end of a link, without which the kernel drops what is sent there.
pub(super) fn sink(lab: &Lab, node: &str) -> Result<Sink> {
    Ok(lab.node(node)?.run(|| Sink::attach("wire0", SinkAction::Pass))??)
}

/// The way from the left or the right end to the box.
pub(super) fn path(spec: &TrafficSpec, link: u8) -> weir_appliance_lab::packet::Path {
    let near = link + 1; // the ends of a link are numbered in the order of the lab's specification
    weir_appliance_lab::packet::Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, link, near],
        destination_mac: [0x02, 0x57, 0x45, 0x49, link, 3 - near],
        source: [10, 9, link, 1].into(),
        destination: [10, 9, link, 2].into(),
        ..spec.path.clone()
    }
}

/// The account of both workers once it covers `taken` frames: they write it about every 100 ms.
pub(super) fn last_word(appliance: &Appliance, taken: u64) -> Result<Account> {
    let deadline = Instant::now() + DRAIN;
    loop {
        let account = audited(appliance)?;
        if account.received >= taken || Instant::now() > deadline {
            return Ok(account);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What both auditing workers have written last, each source's row once.
fn audited(appliance: &Appliance) -> Result<Account> {
    let mut account = Account {
        rig: String::new(),
        generator: String::new(),
        offered: 0,
        sent: 0,
        received: 0,
        lost: 0,
        not_rising: 0,
        sources: Vec::new(),
        latency_ns: Vec::new(),
        resent: None,
        counters: Counters::default(),
        seconds: 0.0,
    };
    for name in ["test1", "test2"] {
        let feature = name.parse().map_err(|problem| anyhow!("{problem}"))?;
        let mut seen = std::collections::BTreeSet::new();
        for row in appliance.records(feature, u32::MAX)?.iter().rev() {
            let number = |field: &str| row.get(field).and_then(serde_json::Value::as_u64).unwrap_or(0);
            if row.get("kind").and_then(serde_json::Value::as_str) != Some("audit") || !seen.insert(number("source")) {
                continue;
            }
            account.received += number("messages");
            account.lost += number("missing");
            account.not_rising += number("not_rising");
            let doubled = number("not_rising");
            let source = SourceSeen { delivered: number("messages").saturating_sub(doubled), doubled };
            account.sources.extend(u32::try_from(number("source")).ok().map(|agent| (agent, source)));
            if name == "test1" && account.latency_ns.is_empty() {
                let list = row.get("latency_ns").and_then(serde_json::Value::as_array);
                account.latency_ns =
                    list.map(|list| list.iter().filter_map(serde_json::Value::as_u64).collect()).unwrap_or_default();
            }
        }
    }
    Ok(account)
}

/// The figures of an account that both tools show.
pub(crate) fn rows(account: &Account, events_per_frame: f64) -> Vec<Option<BenchRow>> {
    let higher = |case: &str, unit: &str, value: f64| BenchRow::of_runs(case, unit, Better::Higher, &[value]);
    let lower = |case: &str, unit: &str, value: f64| BenchRow::of_runs(case, unit, Better::Lower, &[value]);
    let per_second = |count: u64| count as f64 / account.seconds.max(f64::EPSILON);
    let mut rows = vec![
        higher("offered", "frames", account.offered as f64),
        higher("sent", "frames", account.sent as f64),
        higher("taken", "frames", account.received as f64),
        higher("taken", "frames/s", per_second(account.received)),
        higher("taken", "events/s", per_second(account.received) * events_per_frame),
    ];
    rows.extend(account.resent.map(|count| lower("sent again", "messages", count as f64)));
    for (reason, count) in &account.counters.dropped {
        rows.push(lower(&format!("dropped: {reason}"), "frames", *count as f64));
    }
    rows
}
