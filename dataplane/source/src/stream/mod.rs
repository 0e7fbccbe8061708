//! Messages over TCP and local stream sockets, put on rings that the unchanged worker reads (docs/wire.md, "Stream").
//!
//! ```text
//! buffer in the frames' memory   │ header 32 ‖ prefix 16 │ message … │ header ‖ prefix │ message … │ half a mess
//!                                     ▲ FrameMeta   ▲ descriptor: 16 + length               copied aside ▲
//! lane of the message's class    … │ address, length │ …           a message is not copied to get there
//! ```
//! What no taker has finished holds its buffer, full lanes and lent-out buffers stop the receive, and the sender feels it as
//! credit that does not grow: nothing is dropped. A message is acknowledged when everyone who takes it has passed it.

mod buffers;
mod connection;
mod counts;
mod lane;
mod receiver;
mod sources;

use std::net::SocketAddr;
use std::time::Duration;

use weir_ebpf_abi::meta::FrameMeta;

pub use counts::StreamCounts;
pub use receiver::{Receiver, StreamSetup, StreamSetupError, Turn};

/// Bytes of a buffer: the longest message and its header fit, and one round of a fast sender.
pub const BUFFER_BYTES: u32 = 128 << 10;

/// What a receiver may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections at the same time.
    pub connections: usize,
    /// Messages of a source that are not acknowledged yet.
    pub credit: u64,
    /// Time in which a begun hello or message has to go on.
    pub stall: Duration,
    /// Bytes of begun messages of all connections together.
    pub carried: usize,
    /// Sources whose place in their sequence is remembered.
    pub sources: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { connections: 10_000, credit: 4096, stall: Duration::from_secs(10), carried: 64 << 20, sources: 65_536 }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on a lane, with these words in front.
    Deliver {
        /// Position of the lane.
        lane: usize,
        /// What a worker reads in front of the frame.
        meta: FrameMeta,
    },
    /// A rule drops it.
    Drop,
    /// No rule gives it to anybody: over the wire it would have gone to the network stack or to another agent.
    Untaken,
    /// It does not have the form that it claims.
    Malformed,
}

/// Who decides about messages: the rules in force.
pub trait Steering {
    /// What becomes of a message of `form` (a UDP port of docs/wire.md) on a connection between `ends`, ours first.
    fn fate(&mut self, ends: &[SocketAddr; 2], form: u16, message: &[u8]) -> Fate;
}
