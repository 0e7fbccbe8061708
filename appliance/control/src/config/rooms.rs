//! The narrow structs: what each room gets of the configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::placement::PlacementSpec;
use crate::matching::{MatchExpression, ModalitySet};
use crate::name::{AgentId, InterfaceName, Mac, RuleName};
use crate::problem::Problem;
use crate::share::Share;
use crate::taker::FeatureName;

/// A closed set of words: the enum, its names, and an error that offers all of them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word, as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = Problem;

            fn from_str(text: &str) -> Result<Self, Problem> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    Problem::new(text, concat!("this is not ", $what), format!("write one of: {}", known.join(", ")))
                })
            }
        }
    };
}
pub(super) use words;

// Behind the macro, which it uses.
mod flags;
mod management;
mod preservation;
mod programs;
mod resources;
mod services;
mod supervise;

pub use flags::*;
pub use management::*;
pub use preservation::*;
pub use programs::*;
pub use resources::*;
pub use services::*;
pub use supervise::*;

words! {
    /// How the classifier shall be attached.
    #[derive(Default)]
    ModeWish, "an attach mode" {
        /// The best that the driver can: native, else generic; the status says which and why.
        #[default]
        Best = "best",
        /// In the driver, or refuse.
        Native = "native",
        /// In the network stack, with an `sk_buff`: for comparison only.
        Generic = "generic",
    }
}

words! {
    /// What a loop does when nothing arrives.
    #[derive(Default)]
    WaitMode, "a way to wait" {
        /// Sleep until the kernel wakes it: idle cores stay idle.
        #[default]
        Poll = "poll",
        /// Look again at once: least latency, one whole core each.
        Spin = "spin",
    }
}

words! {
    /// Whether the frames' memory is on 2 MiB pages.
    HugePages, "a choice of pages" {
        /// Where the host has them free, else plain pages; the status says which and why.
        Prefer = "prefer",
        /// Or refuse to start.
        Require = "require",
        /// Plain pages.
        Never = "never",
    }
}

words! {
    /// What is done with a frame.
    RuleAction, "an action" {
        /// Give it to the network stack.
        Pass = "pass",
        /// Drop it, counted under the rule.
        Drop = "drop",
        /// Send it to the agent that its message names.
        Forward = "forward",
        /// Give it to the takers.
        Deliver = "deliver",
        /// Forward it and give it to the takers.
        Mirror = "mirror",
    }
}

impl RuleAction {
    /// Whether the action gives frames to takers, so that a rule must name some.
    pub const fn has_takers(self) -> bool {
        matches!(self, Self::Deliver | Self::Mirror)
    }
}

/// How many of an interface's queues are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All that the interface has (the default).
    #[default]
    All,
    /// The first so many, 1 to [`MAX_QUEUES`](super::MAX_QUEUES).
    First(u32),
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::First(count) => f.pad(&count.to_string()),
        }
    }
}

/// An interface that the classifier is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// The interface.
    pub name: InterfaceName,
    /// Its queues (default all).
    pub queues: Queues,
    /// How to attach (default best).
    pub mode: ModeWish,
    /// What its card is told (default: nothing is changed).
    pub placement: PlacementSpec,
}

impl InterfaceSpec {
    /// All queues, the best mode.
    pub fn new(name: InterfaceName) -> Self {
        Self { name, queues: Queues::All, mode: ModeWish::Best, placement: PlacementSpec::default() }
    }
}

/// Frames and rings. Per queue the frames are counted by the pool's budget, not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySpec {
    /// Bytes of one frame: 2048 (default) or 4096, the only sizes that a page holds a whole number of and a
    /// 1500-byte frame fits in. Longer frames take several.
    pub frame_size: u32,
    /// Descriptors of each receive ring, a power of two in [`RX_RING`](super::RX_RING) (default 2048). Frames go round all of
    /// them in turn, so rings that are larger than a burst needs cost the processor its cache.
    pub rx_ring: u32,
    /// 2 MiB pages (default prefer).
    pub hugepages: HugePages,
}

impl Default for MemorySpec {
    fn default() -> Self {
        Self { frame_size: 2048, rx_ring: 2048, hugepages: HugePages::Prefer }
    }
}

/// Which cores a kind of work is pinned to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CoreSet {
    /// What the host's topology suggests (the default).
    #[default]
    Auto,
    /// These, ascending and without repetition; never empty.
    List(Vec<u32>),
}

/// `auto`, or ranges as `taskset -c` takes them: `0,2-3`.
impl fmt::Display for CoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::List(cores) = self else { return f.pad("auto") };
        let mut text = String::new();
        for run in cores.chunk_by(|a, b| a + 1 == *b) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let comma = if text.is_empty() { "" } else { "," };
            text += &if first == last { format!("{comma}{first}") } else { format!("{comma}{first}-{last}") };
        }
        f.pad(&text)
    }
}

/// Cores of the data plane and of the features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreSpec {
    /// Cores that move frames.
    pub critical: CoreSet,
    /// Cores that features work on.
    pub batch: CoreSet,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Whether its worker runs (default true).
    pub enabled: bool,
    /// How its worker waits (default poll).
    pub wait: WaitMode,
    /// Most Mbit/s of frames it may send, in [`SEND_MBIT`](super::SEND_MBIT), counted from the Ethernet header to the last byte
    /// before the check sequence (default: no cap).
    pub send_mbit: Option<u32>,
    /// Whether its worker runs now (default started); a feature that is not enabled has no rings either.
    pub run: Run,
    /// Absolute path of the weir whose worker it runs as (default: the program that started the box).
    pub program: Option<PathBuf>,
}

impl Default for FeatureSpec {
    fn default() -> Self {
        Self { enabled: true, wait: WaitMode::Poll, send_mbit: None, run: Run::Started, program: None }
    }
}

/// A rule. Its place in the list is its priority: the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name, unique.
    pub name: RuleName,
    /// What it matches.
    #[serde(rename = "match")]
    pub matches: MatchExpression,
    /// What it does.
    pub action: RuleAction,
    /// Who takes the frames: not empty exactly if the action has takers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<FeatureName>,
    /// Which share of the matching flows it applies to; the others go on to the next rule.
    #[serde(default)]
    pub share: Share,
    /// Whether the frames are written to the durable log as well (default false); only for actions that have takers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub durable: bool,
}

/// An agent: where frames to it go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its number in message headers, unique.
    pub id: AgentId,
    /// Its address; the destination of a forwarded frame becomes this.
    pub address: IpAddr,
    /// Its Ethernet address, or its gateway's.
    pub mac: Mac,
    /// The interface it is behind.
    pub interface: InterfaceName,
    /// Its type (default 1): services pick among agents of one type.
    #[serde(rename = "type", default = "one")]
    pub kind: u32,
    /// Its weight among agents of its type, 1 to 1000 (default 1).
    #[serde(default = "one")]
    pub weight: u32,
    /// What it prefers, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality: Option<ModalitySet>,
    /// Whether it gets no new connections of services (default false); those that it has stay with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

fn one() -> u32 {
    1
}

words! {
    /// What happens to frames of durable rules while the log cannot be written.
    #[derive(Default)]
    WhenFull, "what to do while the log cannot be written" {
        /// The log lets them go, counted as `log-full`; whoever else takes them does not notice.
        #[default]
        Drop = "drop",
        /// The log holds them: their rings fill, and the kernel counts what it then drops.
        Hold = "hold",
    }
}

/// The durable log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Folder of its segments (default [`LogSpec::DEFAULT_FOLDER`]); made when a rule is durable.
    pub folder: PathBuf,
    /// MiB of one segment file, 1 to 4096 (default 64).
    pub segment_mib: u32,
    /// MiB kept, the oldest segments go first; at least two segments (default 1024).
    pub keep_mib: u32,
    /// Hours kept, `None` for as long as there is room (default).
    pub keep_hours: Option<u32>,
    /// What happens while it cannot be written (default drop).
    pub when_full: WhenFull,
}

impl LogSpec {
    /// Where the log is unless the configuration says otherwise.
    pub const DEFAULT_FOLDER: &str = "/var/lib/weir/log";
}

impl Default for LogSpec {
    fn default() -> Self {
        Self {
            folder: PathBuf::from(Self::DEFAULT_FOLDER),
            segment_mib: 64,
            keep_mib: 1024,
            keep_hours: None,
            when_full: WhenFull::Drop,
        }
    }
}

/// An address that streams are listened for at: `127.0.0.1:48103`, `[::]:48103`, or `unix:/run/weir/ingest.sock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A local socket.
    Local(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.pad(&address.to_string()),
            Self::Local(path) => f.pad(&format!("unix:{}", path.display())),
        }
    }
}

/// Messages over TCP and local sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    /// Where to listen (default nowhere).
    pub listen: Vec<ListenAddress>,
    /// Connections at the same time, in [`STREAM_CONNECTIONS`](super::STREAM_CONNECTIONS) (default 10,000).
    pub connections: u32,
    /// MiB of buffers that the kernel fills, a power of two in [`STREAM_BUFFERS_MIB`](super::STREAM_BUFFERS_MIB) (default 16);
    /// they lie in the frames' memory, and a quarter more for messages that come in pieces.
    pub buffers_mib: u32,
    /// Messages of a source that may be on their way, in [`STREAM_CREDIT`](super::STREAM_CREDIT) (default 4096).
    pub credit: u32,
    /// Seconds in which a begun hello or message has to go on, in
    /// [`STREAM_STALL_SECONDS`](super::STREAM_STALL_SECONDS) (default 10).
    pub stall_seconds: u32,
}

impl Default for TcpSpec {
    fn default() -> Self {
        Self { listen: Vec::new(), connections: 10_000, buffers_mib: 16, credit: 4096, stall_seconds: 10 }
    }
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSpec {
    /// Where it is (default [`ControlSpec::DEFAULT_SOCKET`]).
    pub socket: PathBuf,
}

impl ControlSpec {
    /// Where the control socket is unless the configuration says otherwise.
    pub const DEFAULT_SOCKET: &str = "/run/weir/control.sock";
}

impl Default for ControlSpec {
    fn default() -> Self {
        Self { socket: PathBuf::from(Self::DEFAULT_SOCKET) }
    }
}
