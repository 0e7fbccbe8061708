//! The plan of the in-kernel traffic generator: what it changes in each copy of the template frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sources the generator can play.
pub const MAX_SOURCES: usize = 1024;
/// Events of one batch that are stamped; a template may not hold more.
pub const MAX_EVENTS: u32 = 64;

/// The one value of the plan map: what user space asks, and the generator's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Plan {
    /// Frames made so far.
    pub frames: u64,
    /// `event_id` of the next event.
    pub next_event: u64,
    /// The first 64 bytes of the template as big-endian words, written anew into each frame: the kernel uses a frame's
    /// memory again as the last receiver left it, with a hop less and another destination. All 0 leaves the frame as it is.
    pub head: [u64; 8],
    /// Egress slot to send to.
    pub egress: u32,
    /// Bytes from the frame's start to the message.
    pub message_offset: u32,
    /// Number of the message kind; 0 leaves the frame as it is.
    pub kind: u32,
    /// `source_agent_id` of the first source.
    pub first_source: u32,
    /// Sources in turn, 1 to [`MAX_SOURCES`].
    pub sources: u32,
    /// `message_type` of the first source's turn; the type follows the turn of sources.
    pub first_type: u32,
    /// Message types in turn, at least 1.
    pub types: u32,
    /// Events in a batch, up to [`MAX_EVENTS`].
    pub events: u32,
    /// Bytes from one event of the template to the next.
    pub event_stride: u32,
    /// Source whose turn it is.
    pub source: u32,
    /// Type whose turn it is.
    pub r#type: u32,
    /// Position in the rotation of event types, below 20.
    pub rotation: u32,
    /// Next sequence number of each source.
    pub sequences: Sequences,
}

/// One sequence number per source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sequences(pub [u32; MAX_SOURCES]);
