//! What a client is told when something cannot be done.

use std::time::Duration;

use weir_dataplane_io::IoError;
use weir_dataplane_ring::{ByteRingError, RingError};

/// A refused call. Nothing of what was asked for has happened.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// The window is full: back-pressure.
    #[error(
        "{wanted} bytes are wanted and {free} of the window's {size} are free; send on when messages are acknowledged, or \
         flush"
    )]
    Full {
        /// Bytes wanted, headers included.
        wanted: usize,
        /// Bytes free.
        free: usize,
        /// Bytes of the window.
        size: usize,
    },
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
    /// More than the window can ever hold.
    #[error("{wanted} bytes can never fit the window of {size}; send fewer events at once, or enlarge the window")]
    NeverFits {
        /// Bytes wanted, headers included.
        wanted: usize,
        /// Bytes of the window.
        size: usize,
    },
    /// A message of a length that the stream form does not have.
    #[error("a message of {length} bytes is outside the {least} to {most} that a stream carries; send it in parts")]
    Length {
        /// Bytes of the message.
        length: usize,
        /// Fewest.
        least: usize,
        /// Most.
        most: usize,
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
    /// There is no connection to a box.
    #[error(
        "no connection to {endpoint}: {cause}; start the box, or name where it listens (WEIR_INGEST, weir_connect)"
    )]
    NotConnected {
        /// Where a box was expected.
        endpoint: String,
        /// What happened instead.
        cause: String,
    },
    /// The box refused the stream for good.
    #[error("{endpoint} ended the stream for good: {cause}; connect anew when that is cured")]
    Refused {
        /// Which box.
        endpoint: String,
        /// What it said.
        cause: String,
    },
    /// The box counts further than this program: another one sent under the same source.
    #[error(
        "{endpoint} expects message {expected} of source {source_id}, and this program has {from} to {to}; give each program \
         a source of its own, or go on at that number"
    )]
    Ahead {
        /// Which box.
        endpoint: String,
        /// The source.
        source_id: u32,
        /// The first message that the box wants.
        expected: u64,
        /// The first message that is not acknowledged.
        from: u64,
        /// The next message to be accepted.
        to: u64,
    },
    /// Something took longer than it was given.
    #[error("{left} messages are not acknowledged after {} ms; give it longer, or look at the box with `weir status`", waited.as_millis())]
    Timeout {
        /// How long it was given.
        waited: Duration,
        /// Messages still to be acknowledged.
        left: u64,
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
