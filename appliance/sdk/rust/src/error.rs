//! Why a message could not be sent.

use std::io;

use weir_ebpf_abi::stream::StreamError;

/// Why a stream does not go on. What was accepted is kept, and sent when a later call succeeds.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailure {
    /// The address is none.
    #[error("{address}: this is no address of a box; write unix:/run/weir/ingest.sock or HOST:48103")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nobody takes streams there.
    #[error("{address}: no box takes streams there: {cause}; start weir with `tcp: listen:` in its configuration")]
    Unreachable {
        /// The address.
        address: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The connection broke.
    #[error("{address}: the connection to the box broke: {cause}; what was not acknowledged is sent again")]
    Broken {
        /// The address.
        address: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// What answers there is no box.
    #[error("{address}: what answers there does not speak the stream form; check the port")]
    Foreign {
        /// The address.
        address: String,
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
        "source {source_id}: the box expects its message {expected}, this program has none from there on; take another source, or begin at that number"
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
    #[error("{waiting} messages wait for the box, which is as many as the window holds; wait, or send less")]
    Full {
        /// Messages that are not acknowledged.
        waiting: usize,
    },
    /// Not everything was acknowledged in time.
    #[error("{waiting} messages were not acknowledged in time; they are kept, wait longer")]
    Unacknowledged {
        /// Messages that are not acknowledged.
        waiting: usize,
    },
}
