//! What tests of several rooms share: the wired lab with the appliance in it, and the reasons to skip.
#![allow(clippy::print_stderr, clippy::print_stdout)] // a skip is told on the test's output

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_appliance_control::message::{Counters, ProcessStatus, Status};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::packet::{self, message};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_appliance_lab::{Lab, LabError, LabSpec, load};
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::probe::{self, State};
use weir_dataplane_io::wait::PidFd;
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_ebpf_loader::generate::{Sink, SinkAction};

/// Longest wait for a condition in a test, on a loaded machine of two cores.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Factor on the size of tests that have a long form (`just test-long`).
#[must_use]
pub fn scaled(short: u64, long: u64) -> u64 {
    if std::env::var_os("WEIR_TEST_LONG").is_some() { long } else { short }
}

/// Why a test of the wired lab cannot run here, if it cannot.
#[must_use]
pub fn cannot_wire() -> Option<String> {
    let lacking = probe::capability_probes().into_iter().find(|probe| probe.state == State::Missing);
    lacking.map(|probe| format!("{}: {}", probe.name, probe.detail))
}

/// Prints why a test is skipped, in the form that the test command counts.
pub fn skip(test: &str, reason: &str) {
    println!("weir-skip: {test}: {reason}");
}

/// Ends the test with a printed reason where the wired lab cannot be made.
#[macro_export]
macro_rules! wired {
    ($test:literal) => {
        if let Some(reason) = $crate::cannot_wire() {
            $crate::skip($test, &reason);
            return;
        }
    };
}

/// The `weir` binary that belongs to this test run.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop(); // the test's own name
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(name);
    assert!(path.exists(), "{} is not there; build it: cargo build --workspace", path.display());
    path
}

/// `left` and `right` with the box between them, and a sink on either side so that veth takes redirected frames.
pub struct Rig {
    /// The appliance in the box.
    pub appliance: Appliance,
    /// Sinks of left and right; each counts what arrives there.
    pub sinks: [Sink; 2],
    /// The namespaces. The last field: dropped when everything in them is gone.
    pub lab: Lab,
}

/// Ends a generator however the test ends: without it a failed expectation would leave the test waiting for its threads.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends from the left end for agent 2 in the background until it is finished or dropped.
pub struct Background {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    /// Starts sending so many frames a second of two producers, as [`Rig::traffic`] makes them.
    #[must_use]
    pub fn start(rig: &Rig, content: Content, per_second: f64) -> Self {
        Self::of(rig, content, 2, per_second)
    }

    /// The same of so many producers, each a flow of its own.
    ///
    /// # Panics
    /// When the generator's way is gone.
    #[must_use]
    pub fn of(rig: &Rig, content: Content, producers: u32, per_second: f64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut sender, mut traffic) = (rig.sender(), rig.traffic(content, producers));
        let (flag, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let frames = load::drive(&mut sender, &mut traffic, per_second, &flag).expect("the generator goes on");
            count.store(frames, Ordering::Release);
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Stops and gives the frames sent.
    ///
    /// # Panics
    /// When the generator has failed.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        self.end().expect("the generator ends");
        self.sent.load(Ordering::Acquire)
    }

    fn end(&mut self) -> std::thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), std::thread::JoinHandle::join)
    }
}

/// Kills a process, if it is still there.
pub fn kill(pid: u32) {
    let _ = PidFd::open(pid).and_then(|process| process.kill());
}

/// The process of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn process<'a>(status: &'a Status, name: &str) -> &'a ProcessStatus {
    let found = status.processes.iter().find(|process| process.name == name);
    found.unwrap_or_else(|| panic!("no process {name}: {:?}", status.processes))
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.end(); // the test has failed already, or says so itself
    }
}

/// Interfaces and agents of the box in a [`Rig`]; rules follow. A worker that a test stops is not taken for stalled, and
/// one that it kills again and again is not given up.
pub const BOX: &str = "\
interfaces: [{name: eth0}, {name: eth1}]
memory: {rx_ring: 1024}
supervise: {stall_seconds: 600, park_deaths: 100}
agents:
  - {id: 1, address: 10.9.0.1, mac: \"02:57:45:49:00:01\", interface: eth0}
  - {id: 2, address: 10.9.1.1, mac: \"02:57:45:49:01:02\", interface: eth1}
";

/// [`BOX`] as [`Rig::soon`] has it.
#[must_use]
pub fn soon() -> String {
    let supervise = "supervise: {stall_seconds: 600, park_deaths: 100, park_within_seconds: 1, \
        restart_first_ms: 10, restart_most_ms: 50}";
    BOX.replace("supervise: {stall_seconds: 600, park_deaths: 100}", supervise)
}

impl Rig {
    /// A rig whose box runs [`BOX`] and `more`.
    ///
    /// # Panics
    /// When the lab cannot be made or the appliance does not start.
    #[must_use]
    pub fn new(more: &str) -> Self {
        Self::try_new(&format!("{BOX}{more}")).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A rig whose box runs [`BOX`] and `more`, starts again soon whoever dies, and gives nobody up: for tests that ask what a
    /// death costs, not how long the next start waits.
    ///
    /// # Panics
    /// As [`Rig::new`].
    #[must_use]
    pub fn soon(more: &str) -> Self {
        Self::try_new(&format!("{}{more}", soon())).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A rig whose box runs this configuration.
    ///
    /// # Errors
    /// The lab cannot be made, or the appliance does not start.
    pub fn try_new(config: &str) -> Result<Self, LabError> {
        Self::with_links(config, 1500, 1)
    }

    /// The same over links that take IP packets of `mtu` bytes and have so many queues.
    ///
    /// # Errors
    /// The lab cannot be made, or the appliance does not start.
    pub fn with_links(config: &str, mtu: u32, queues: u32) -> Result<Self, LabError> {
        Self::with_prepared_links(config, mtu, queues, |_| Ok(()))
    }

    /// The same, with what `prepare` does to the lab before anything is attached in it.
    ///
    /// # Errors
    /// The lab cannot be made or prepared, or the appliance does not start.
    pub fn with_prepared_links(
        config: &str,
        mtu: u32,
        queues: u32,
        prepare: impl FnOnce(&Lab) -> Result<(), LabError>,
    ) -> Result<Self, LabError> {
        Self::with_program(&program("weir"), config, mtu, queues, prepare)
    }

    /// The same with another program than the one of this test run.
    ///
    /// # Errors
    /// The lab cannot be made or prepared, or the appliance does not start.
    pub fn with_program(
        weir: &Path,
        config: &str,
        mtu: u32,
        queues: u32,
        prepare: impl FnOnce(&Lab) -> Result<(), LabError>,
    ) -> Result<Self, LabError> {
        let mut spec = LabSpec::line();
        spec.links.iter_mut().for_each(|link| (link.mtu, link.queues) = (mtu, queues));
        let lab = Lab::create(&spec)?;
        prepare(&lab)?;
        let sink = |node: &str| lab.node(node)?.run(|| Sink::attach("wire0", SinkAction::Pass));
        let sinks = [sink("left")?, sink("right")?].map(|sink| sink.unwrap_or_else(|error| panic!("{error}")));
        let appliance = Appliance::start(&lab, lab.node("box")?, weir, config)?;
        Ok(Self { appliance, sinks, lab })
    }

    /// A generator at the left end.
    ///
    /// # Panics
    /// When the queue there is taken.
    #[must_use]
    pub fn sender(&self) -> XdpSender {
        let left = self.lab.node("left").unwrap_or_else(|error| panic!("{error}"));
        XdpSender::new(left, "wire0").unwrap_or_else(|error| panic!("{error}"))
    }

    /// Traffic from the left end for agent 2 at the right, as base messages or as batches for a feature.
    ///
    /// # Panics
    /// When the specification is wrong.
    #[must_use]
    pub fn traffic(&self, content: Content, producers: u32) -> Traffic {
        self.traffic_for(2, content, producers)
    }

    /// The same for another agent, or for a number that asks something of the audit.
    ///
    /// # Panics
    /// When the specification is wrong.
    #[must_use]
    pub fn traffic_for(&self, agent: u32, content: Content, producers: u32) -> Traffic {
        let spec = TrafficSpec::pair(content);
        let mut path = spec.path.clone();
        path.source_mac = [0x02, 0x57, 0x45, 0x49, 0, 1];
        path.destination_mac = [0x02, 0x57, 0x45, 0x49, 0, 2];
        let spec = TrafficSpec { producers, destination_agent: agent, path, ..spec };
        Traffic::new(&spec).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Frames that sink `index` has seen, once they are `enough` or the deadline is over.
    ///
    /// # Panics
    /// When the sink does not count.
    #[must_use]
    pub fn arrives(&self, index: usize, enough: u64) -> u64 {
        let end = Instant::now() + DEADLINE;
        loop {
            let seen = self.sinks[index].count().unwrap_or_else(|error| panic!("{error}")).frames;
            if seen >= enough || Instant::now() > end {
                return seen;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The counters, once the classifier has seen at least `received` frames more than `before`, they add up and stand
    /// still. The kernels at both ends send a few frames of their own, so "at least" alone could be a frame too early.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[must_use]
    pub fn counters_after(&mut self, before: &Counters, received: u64) -> Counters {
        let enough = before.received + received;
        let what = format!("{received} more frames");
        let last = std::cell::Cell::new(0);
        let status = self.appliance.wait_until(&what, DEADLINE, |status| {
            let counters = &status.counters;
            let still = last.replace(counters.received) == counters.received;
            still && counters.received >= enough && counters.is_balanced()
        });
        status.unwrap_or_else(|error| panic!("{error}")).counters
    }

    /// The counters now.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.appliance.status().unwrap_or_else(|error| panic!("{error}")).counters
    }
}

/// Sends `count` frames as fast as the generator takes them, in small steps so that nothing is lost before the box.
///
/// # Panics
/// When the generator's way is gone.
pub fn send(sender: &mut XdpSender, traffic: &mut Traffic, count: u64) {
    let mut sent = 0;
    while sent < count {
        let burst = (count - sent).min(32) as usize;
        let taken = sender.send(traffic, &vec![monotonic_ns(); burst]).unwrap_or_else(|error| panic!("{error}"));
        sent += taken as u64;
        sender.flush().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A message of `kind` from UDP port `port` of the left end to the box.
#[must_use]
pub fn small_message(port: u16, kind: u32, sequence: u32) -> Vec<u8> {
    let header = StandardHeader {
        message_type: kind.into(),
        source_agent_id: u32::from(port).into(),
        dest_agent_id: 0.into(),
        timestamp_ns: 0.into(),
        priority: 0.into(),
        sequence_number: sequence.into(),
    };
    let path = packet::Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, 0, 1],
        destination_mac: [0x02, 0x57, 0x45, 0x49, 0, 2],
        vlans: Vec::new(),
        source: [10, 9, 0, 1].into(),
        destination: [10, 9, 0, 2].into(),
        source_port: port,
        destination_port: PORT_STANDARD,
    };
    path.udp(&message(&header, b"measure")).0
}

/// Sends so many messages of `kind` from UDP port `port` of the left end to the box, one by one.
///
/// # Panics
/// When the generator's way is gone.
pub fn send_messages(sender: &mut XdpSender, port: u16, kind: u32, count: u32) {
    for sequence in 0..count {
        let frame = small_message(port, kind, sequence);
        while !sender.send_bytes(&frame).unwrap_or_else(|error| panic!("{error}")) {}
        sender.flush().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Rules of the rig: batches to streaming, base messages forwarded, port 9 dropped.
pub const RULES: &str = "\
rules:
  - {name: telemetry, match: \"udp dport 48102\", action: deliver, to: [streaming]}
  - {name: no-discard, match: \"udp dport 9\", action: drop}
";

/// A base message of 128 bytes.
pub const MESSAGE: Content = Content::Message { frame_bytes: 128 };
/// A batch of 22 events of 64 bytes.
pub const BATCH: Content = Content::Batch { events: 22, event_bytes: 64 };
