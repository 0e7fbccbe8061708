//! The one-page state. `interfaces`, `processes`, `rings` and `counters` are read by scripts: fields are only added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{AgentSpec, RuleSpec};
use crate::taker::FeatureName;

/// The answer to `status`, and what `weir status --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Which weir this is and on what.
    #[serde(default)]
    pub weir: Identity,
    /// Interfaces with the mode that each got, and why.
    pub interfaces: Vec<InterfaceStatus>,
    /// The supervisor's children.
    pub processes: Vec<ProcessStatus>,
    /// One per queue and class in use.
    pub rings: Vec<RingStatus>,
    /// Where the frames of each queue are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueStatus>,
    /// Frames since the classifier was loaded, over all interfaces.
    pub counters: Counters,
    /// Frames' memory.
    #[serde(default)]
    pub memory: MemoryStatus,
    /// Which cores do what.
    #[serde(default)]
    pub cores: CoreStatus,
    /// Each feature that runs, with its latest window.
    #[serde(default)]
    pub features: Vec<FeatureStatus>,
    /// Workers that were killed for breaking the rules since the dataplane started.
    #[serde(default)]
    pub evicted: u64,
    /// The flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<super::FlagStatus>,
    /// The experiments that are not over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<super::ExperimentStatus>,
    /// The services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<super::ServiceStatus>,
    /// The durable log, if a rule is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStatus>,
    /// Messages over TCP and local sockets, if the configuration listens for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamsStatus>,
    /// What features have of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<super::ResourcesReport>,
    /// How the base path is watched, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preservation: Option<super::PreservationStatus>,
    /// The newest revision of what is in force.
    #[serde(default)]
    pub revision: u64,
    /// The change that waits for its confirmation, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<crate::keeper::PendingChange>,
}

/// The streams of a running weir. Its messages are not among [`Status::counters`], which are of the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamsStatus {
    /// Where it listens.
    pub listen: Vec<String>,
    /// How bytes come, as a sentence.
    pub way: String,
    /// Connections now.
    pub connections: u64,
    /// Connections taken since the dataplane started.
    pub connected: u64,
    /// Messages taken, in order, each once: delivered, dropped and untaken.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes copied because their message came in pieces.
    pub bytes_copied: u64,
    /// Messages put on a class's lane.
    pub delivered: u64,
    /// Messages that a rule dropped.
    pub dropped: u64,
    /// Messages that no rule gave to anybody.
    pub untaken: u64,
    /// Messages that had come before and came again.
    pub duplicates: u64,
    /// Messages on lanes that are not finished.
    pub held: u64,
    /// Times that a connection had to wait for room.
    pub waits: u64,
    /// Connections that failed or were reset.
    pub failed: u64,
    /// Connections that were ended here, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Messages taken, by taker.
    pub per_taker: BTreeMap<String, u64>,
    /// Why no more is received, if so.
    pub failure: Option<String>,
}

/// The durable log of a running weir.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// Folder of its segments.
    pub folder: String,
    /// Number that the next record gets.
    pub next: u64,
    /// Every record below this number is on the disk.
    pub durable: u64,
    /// Frames logged since the dataplane started.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames let go unlogged: the disk refused and the configuration says drop, or they were too long.
    pub dropped: u64,
    /// How it is written, as a sentence.
    pub way: String,
    /// What the disk said, while the log stands still.
    pub failure: Option<String>,
}

/// Which weir this is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the package.
    pub version: String,
    /// Build: commit, profile.
    pub build: String,
    /// Seconds since the supervisor started.
    pub uptime_s: f64,
    /// The host.
    pub host: Host,
    /// The last program that was to take over, and what became of it, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<super::UpgradeStatus>,
}

/// The host, as figures name it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Logical cores.
    pub cores: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// `bare-metal`, or the name of the hypervisor or container that is seen.
    pub virtualization: String,
}

/// How frames come from an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceMode {
    /// The card writes into the rings' memory.
    #[serde(rename = "zero-copy")]
    ZeroCopy,
    /// Classified in the driver; the kernel copies once.
    #[serde(rename = "native-copy")]
    NativeCopy,
    /// Classified in the network stack; the kernel copies once.
    #[serde(rename = "generic")]
    Generic,
}

impl InterfaceMode {
    /// The word in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::NativeCopy => "native-copy",
            Self::Generic => "generic",
        }
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The mode that it got.
    pub mode: InterfaceMode,
    /// Why it got that one.
    pub why: String,
    /// Queues in use.
    pub queues: u32,
    /// Whether the link is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Longest payload of a frame in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// NUMA node of its card; absent for virtual interfaces and where the firmware does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// What the configuration has its card told, and what came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlacementStatus>,
}

/// One setting of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementStatus {
    /// What is set: `queues`, `rss`, `threaded`, `irq:123`, `napi:8193`, `napi_defer_hard_irqs`, `gro_flush_timeout`,
    /// `busy_poll`.
    pub setting: String,
    /// The value that was asked for.
    pub value: String,
    /// The value that it gets back at the end; absent when it was refused or ends with the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Why the device refused; absent when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// Started, not ready yet.
    Starting,
    /// At work.
    Running,
    /// It has frames and finishes none.
    Stalled,
    /// Died; waiting before it is started again.
    BackingOff,
    /// It died too often; not started again before somebody asks for it.
    Parked,
    /// Ending in good order.
    Stopping,
    /// Ended, and will not be started again.
    Stopped,
}

impl ProcessState {
    /// The word in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::BackingOff => "backing-off",
            Self::Parked => "parked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// `supervisor`, `dataplane`, `worker streaming`.
    pub name: String,
    /// Its number; 0 if it does not run.
    pub pid: u32,
    /// What it is doing.
    pub state: ProcessState,
    /// Its proportional share of memory in bytes.
    pub pss_bytes: u64,
    /// Percent of one core since the last status, 100 for one whole core.
    pub cpu_percent: f64,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Why it is in this state, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds until it is started again, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_in_ms: Option<u64>,
}

impl ProcessStatus {
    /// Why it is in its state and when it is started again, a line each.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        notes(self.again_in_ms, self.reason.as_deref())
    }
}

/// Why a process is in its state and when it is started again, a line each.
pub(super) fn notes(again_in_ms: Option<u64>, reason: Option<&str>) -> impl Iterator<Item = String> {
    let again = again_in_ms.map(|ms| format!("starts again in {:.1} s", ms as f64 / 1000.0));
    [reason.map(str::to_owned), again].into_iter().flatten()
}

/// One ring: a queue's class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RingStatus {
    /// The interface, or the source that writes the ring.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The class.
    pub class: u8,
    /// Who takes its frames.
    pub takers: Vec<String>,
    /// Descriptors that it holds.
    pub size: u32,
    /// Descriptors in it now.
    pub fill: u32,
    /// Frames that the kernel dropped because it was full or had no frame to fill.
    pub dropped: u64,
}

/// Where the frames of one queue are. At rest `frames = lent + held_back + on_rings + on_the_way`; while frames arrive the driver has some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// Frames that circulate on it: its budget.
    pub frames: u32,
    /// Lent to the kernel and not filled.
    pub lent: u64,
    /// At home, and held back from the kernel while very many frames pass, so that few go round.
    #[serde(default)]
    pub held_back: u64,
    /// On class rings.
    pub on_rings: u64,
    /// On transmit rings.
    pub on_the_way: u64,
}

/// Frames since the classifier was loaded, over all dataplanes behind it. Always `received = passed + sum of dropped +
/// forwarded + delivered`; mirrored frames count as forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Seen by the classifier.
    pub received: u64,
    /// Given to the network stack.
    pub passed: u64,
    /// Dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Sent on to an agent.
    pub forwarded: u64,
    /// Put on a ring.
    pub delivered: u64,
    /// Forwarded and put on a ring; part of `forwarded`.
    pub mirrored: u64,
    /// Taken, by taker.
    pub per_taker: BTreeMap<String, u64>,
    /// Oddities that were counted and passed, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub noted: BTreeMap<String, u64>,
}

impl Counters {
    /// All drops together.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether every received frame is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.received == self.passed + self.dropped_total() + self.forwarded + self.delivered
    }
}

/// Frames' memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// Bytes that hold frames.
    pub umem_bytes: u64,
    /// `hugepages-2M` or `plain`.
    pub backing: String,
    /// Why it is on these pages.
    pub why: String,
    /// What all processes together hold beside the frames, in bytes.
    pub pss_beside_umem_bytes: u64,
    /// The NUMA node that frames shall be on: that of the first interface whose card is known to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// Whether every page that the kernel was asked about is on that node; absent when there is none or nobody answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_node: Option<bool>,
    /// Pages that the kernel was asked about, by the node that they are on; `absent` counts those that are nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pages: BTreeMap<String, u32>,
}

/// Which cores do what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreStatus {
    /// `critical 0, batch 1-3`.
    pub plan: String,
    /// Where that comes from: the configuration, the kernel's core types, capacities, or all cores being equal.
    pub source: String,
    /// The grounds as a sentence, with how many cores are on the card's NUMA node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What all processes together take while nothing arrives, in percent of one core; absent until measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_cpu_percent: Option<f64>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureStatus {
    /// Its name.
    pub name: FeatureName,
    /// What its worker is doing.
    pub state: ProcessState,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Frames taken: of the wire as in [`Counters::per_taker`], of streams since the dataplane started.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Records written.
    pub records: u64,
    /// Descriptors in its rings that it has not finished.
    pub behind: u64,
    /// How long its worker rests after each batch because somebody wants to see it slow, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slowed_us: u64,
    /// The window that closed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowStatus>,
    /// What became of the frames it wanted sent; absent while it has named none and has no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends: Option<SendStatus>,
}

/// What became of the frames that a feature wanted sent: `requested = sent + capped + full + already_sent + abandoned +
/// refused + waiting`, and `sent = completed + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SendStatus {
    /// Most it may send, in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_mbit: Option<u32>,
    /// Frames named.
    pub requested: u64,
    /// Frames put on a transmit ring.
    pub sent: u64,
    /// Bytes of these, from the Ethernet header on.
    pub bytes: u64,
    /// Frames of these that the kernel has sent.
    pub completed: u64,
    /// Frames of these that it has not.
    pub in_flight: u64,
    /// Frames that wait on their rings.
    pub waiting: u64,
    /// Frames beyond the cap, not sent.
    pub capped: u64,
    /// Frames not sent because their way out took none for a while.
    pub full: u64,
    /// Frames that another feature had named, or a mirror rule had sent on.
    pub already_sent: u64,
    /// Frames not sent because their worker died.
    pub abandoned: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds of the turn that these figures are of: two answers give a rate.
    pub clock_ns: u64,
    /// Frames that cannot be sent as asked.
    pub refused: u64,
    /// The same by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A closed window of a feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// Length in milliseconds.
    pub length_ms: u64,
    /// Sources seen in it.
    pub sources: u64,
    /// Events in it.
    pub events: u64,
    /// Events a second.
    pub events_per_s: f64,
    /// Latency from the time in the message, microseconds, median; absent where clocks do not allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// The same, 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// Messages that a gap in sequence numbers says are missing.
    #[serde(default)]
    pub missing: u64,
    /// The busiest sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<SourceWindow>,
}

/// One source in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceWindow {
    /// The agent's number, or the address.
    pub source: String,
    /// Message or event type, if the row is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<u32>,
    /// Events in the window.
    pub events: u64,
    /// Events a second.
    pub events_per_s: f64,
    /// Latency, microseconds, median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// Latency, microseconds, 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
}

/// One rule with its counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its place from 1.
    pub place: u32,
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleSpec,
    /// The class that its frames go to, if any.
    pub class: Option<u8>,
    /// Frames that it decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// One agent with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSpec,
    /// Whether frames to it can leave now: its interface is there and up.
    pub reachable: bool,
}
