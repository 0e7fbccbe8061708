//! What a worker asks the pool to send: the place of a frame on a ring, and what is to become of it.
//!
//! A worker can write nothing but its own pages, so it names a frame and the pool sends it. Requests travel on a ring of
//! [`crate::record`]; each is published before the cursor passes the frame, which is why the pool, who loads cursors first,
//! has met every request for a frame before it may lend that frame again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One frame to be sent: 32 bytes, half a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SendRequest {
    /// The ring's 64-bit count of the frame's first descriptor.
    pub place: u64,
    /// Line of the worker's cursor page that belongs to the ring.
    pub ring: u32,
    /// [`SendRequest::ANSWER`], [`SendRequest::SEND_ON`] or [`SendRequest::OUT`].
    pub action: u32,
    /// The agent for `SEND_ON`, the interface's position in the configuration (from 0) for `OUT`, else 0.
    pub target: u32,
    /// 0.
    pub reserved: [u32; 3],
}

const _: () = assert!(size_of::<SendRequest>() == 32);

impl SendRequest {
    /// Back to where it came from: link, network and port addresses are exchanged, and the agents of a message.
    pub const ANSWER: u32 = 1;
    /// To another agent, as a forwarded message would go.
    pub const SEND_ON: u32 = 2;
    /// Out of an interface as it is.
    pub const OUT: u32 = 3;

    /// A request about the frame at `place` of ring `ring`.
    #[must_use]
    pub fn new(ring: u32, place: u64, action: u32, target: u32) -> Self {
        Self { place, ring, action, target, reserved: [0; 3] }
    }
}
