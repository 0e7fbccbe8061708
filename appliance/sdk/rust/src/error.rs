//! What a client is told when something cannot be done.

use std::io;

use weir_dataplane_io::IoError;
use weir_dataplane_ring::{ByteRingError, RingError};
use weir_ebpf_abi::stream::StreamError;

/// Why a stream does not go on, or did not take a message. What was accepted is kept, and sent when there is a box again.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailure {
    /// The address is none.
    #[error("`{address}` is no address of a box; write unix:/run/weir/ingest.sock or HOST:48103")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nobody takes streams there, now.
    #[error("{address}: no box takes streams there: {cause}; start weir with `tcp: listen:` in its configuration")]
    Unreachable {
        /// The address.
        address: String,
        /// What the kernel said, or the box.
        cause: io::Error,
    },
    /// What answers there is no box.
    #[error("{address}: what answers there does not speak the stream form ({cause}); check the port and both versions")]
    Foreign {
        /// The address.
        address: String,
        /// What it did.
        cause: String,
    },
    /// The box has ended the stream.
    #[error("{address}: the box ended the stream: {}", .reason.sentence())]
    Refused {
        /// The address.
        address: String,
        /// Why.
        reason: StreamError,
    },
    /// The box has messages of this source that this program never sent.
    #[error(
        "source {source_id}: the box expects its message {expected}, this program has none from there on; take another source, \
         or begin at that number"
    )]
    Ahead {
        /// The source.
        source_id: u32,
        /// The sequence that the box expects.
        expected: u64,
    },
    /// A message that no stream carries.
    #[error("a message of {length} bytes: a stream carries 28 to 65504; send it in parts")]
    Length {
        /// Its bytes.
        length: usize,
    },
    /// The window is full, and it did not become free in time.
    #[error(
        "{waiting} messages wait for the box and fill the window; send on when some are acknowledged, or send less"
    )]
    Full {
        /// Messages that are not acknowledged.
        waiting: usize,
    },
    /// More at once than the window can ever hold.
    #[error("{bytes} bytes at once can never fit the window; send fewer events at once, or enlarge the window")]
    NeverFits {
        /// Bytes wanted, headers included.
        bytes: usize,
    },
    /// Not everything was acknowledged in time.
    #[error("{waiting} messages were not acknowledged in time; they are kept, wait longer or look at `weir status`")]
    Unacknowledged {
        /// Messages that are not acknowledged.
        waiting: usize,
    },
    /// No thread for it.
    #[error("no thread for a stream: {cause}; raise the limit of threads (ulimit -u)")]
    Thread {
        /// What the kernel said.
        cause: String,
    },
}

/// A refused call of the rest. Nothing of what was asked for has happened.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// What the stream says.
    #[error(transparent)]
    Stream(#[from] StreamFailure),
    /// The limit of events a second is reached.
    #[error(
        "the limit of {per_second} events a second is reached; send on in {} ms, or raise the limit",
        (*wait_ns).div_ceil(1_000_000)
    )]
    Limited {
        /// Events a second.
        per_second: u32,
        /// Nanoseconds until the next batch is let through.
        wait_ns: u64,
    },
    /// An event whose payload fits no message.
    #[error("event {number} of the batch has a payload of {length} bytes, and {most} are the most; send it in parts")]
    EventTooLong {
        /// Which event of the batch, from 0.
        number: usize,
        /// Bytes of its payload.
        length: usize,
        /// Most bytes of a payload.
        most: usize,
    },
    /// A batch of none or too many events.
    #[error("a batch of {count} events is outside 1 to {most}; send it in several batches")]
    Count {
        /// Events of the batch.
        count: usize,
        /// Most events of a batch.
        most: usize,
    },
    /// A value that makes no sense.
    #[error("{what}; {cure}")]
    Invalid {
        /// What is wrong, with the value.
        what: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// A kernel call about memory.
    #[error(transparent)]
    Memory(#[from] IoError),
    /// Memory that cannot hold a ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A message that could not be written to or read from a shared buffer.
    #[error(transparent)]
    Buffer(#[from] ByteRingError),
}
