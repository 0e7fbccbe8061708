//! The load tools on the wired lab: frames leave an AF_XDP transmit ring on one namespace, the box classifies them in its
//! driver, and a worker in its sandbox audits every sequence number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weir_appliance_console::load::{Progress, Reading};
use weir_appliance_control::message::{BenchRow, Better, Counters};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::traffic::{Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabError, LabSpec, load};
use weir_ebpf_loader::generate::{Sink, SinkAction};

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

/// Sends up to two streams, the first from the left end and the second from the right, for `duration`.
///
/// # Errors
/// The lab cannot be made, or the box does not run.
pub(crate) fn run(streams: [Option<Stream>; 2], duration: Duration) -> Result<Account> {
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::line())?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &program, CONFIG)?;
    let _sinks = [sink(&lab, "left")?, sink(&lab, "right")?];
    let before = appliance.status()?.counters;
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let (mut offered, mut generator, mut sending) = (0.0, String::new(), Vec::new());
    for ((stream, node), link) in streams.into_iter().zip(["left", "right"]).zip(0_u8..) {
        let Some(Stream { spec, per_second }) = stream else { continue };
        let mut sender = XdpSender::new(lab.node(node)?, "wire0")?;
        let mut traffic = Traffic::new(&TrafficSpec { path: path(&spec, link), ..spec })?;
        offered += per_second * duration.as_secs_f64();
        generator = sender.describe();
        let stop = Arc::clone(&stop);
        sending.push(std::thread::spawn(move || -> Result<u64, LabError> {
            load::drive(&mut sender, &mut traffic, per_second, &stop)
        }));
    }
    watch(&appliance, offered, duration, &before)?;
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for thread in sending {
        sent += thread.join().map_err(|_| anyhow!("a generator panicked; run again with RUST_BACKTRACE=1"))??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let taken = |counters: &Counters| counters.per_taker.values().sum::<u64>();
    // Whatever was not dropped for a reason is taken in the end; what is not there after that is lost and shown.
    let settled = appliance.wait_until("all frames are taken", DRAIN, |status| {
        let counters = &status.counters;
        counters.received >= before.received + sent && taken(counters) >= counters.delivered
    });
    let counters = settled.or_else(|_| appliance.status())?.counters;
    let mut account = last_word(&appliance, taken(&counters))?;
    account.rig =
        "namespaces and veth pairs, one queue each, native XDP, AF_XDP copy mode, worker in its sandbox".to_owned();
    account.generator = generator;
    (account.offered, account.sent, account.seconds, account.counters) = (offered as u64, sent, seconds, counters);
    appliance.stop();
    Ok(account)
}

/// Waits for `duration`, and shows on a terminal meanwhile how far it is, in frames. The box is not asked otherwise, so
/// that a run in a script is not disturbed.
fn watch(appliance: &Appliance, offered: f64, duration: Duration, before: &Counters) -> Result<()> {
    let start = Instant::now();
    let mut progress = Progress::on_stderr();
    while let Some(left) = duration.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if !progress.is_shown() {
            std::thread::sleep(left);
            continue;
        }
        std::thread::sleep(left.min(RENEW));
        let counters = appliance.status()?.counters;
        let dropped = |counters: &Counters| counters.dropped.values().sum::<u64>();
        let elapsed = start.elapsed();
        progress.show(Reading {
            elapsed,
            total: duration,
            offered: (offered * elapsed.as_secs_f64() / duration.as_secs_f64()) as u64,
            delivered: counters.delivered.saturating_sub(before.delivered),
            shed: dropped(&counters).saturating_sub(dropped(before)),
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
    for (reason, count) in &account.counters.dropped {
        rows.push(lower(&format!("dropped: {reason}"), "frames", *count as f64));
    }
    rows
}
