//! The words worker and pool exchange when a worker attaches, over a local seqpacket socket.
//!
//! `Hello` from the worker, `Offer` with file descriptors from the pool. After that neither says a word: the worker's first
//! heartbeat on its page says that its sandbox is closed, and the connection stays open so that each side learns of the
//! other's end.
//! Descriptors travel in this order: frame memory, taker page, owner page, epoll, kick, record ring, flow verdicts
//! (when [`FLAG_VERDICTS`] is set), send ring (when [`FLAG_SENDS`] is set), then one per ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of every message: "WEIR" in ASCII, and the version of these words in the low byte's place of the next field.
pub const MAGIC: u32 = 0x5745_4952;
/// Version of these words; both sides come from one binary, so a difference means that two builds were mixed.
pub const VERSION: u32 = 3;
/// Rings one worker may take: one cursor line each, and one line of the page is the heartbeat's.
pub const MAX_TAKER_RINGS: usize = 31;
/// The offer carries the flow-verdict map: this worker may steer the flows it was given.
pub const FLAG_VERDICTS: u32 = 1;
/// The worker spins on its rings instead of sleeping.
pub const FLAG_SPIN: u32 = 2;
/// The offer carries a ring of send requests: this worker may send the frames it was given.
pub const FLAG_SENDS: u32 = 4;
/// Number of descriptors in front of the optional and per-ring ones.
pub const FIXED_FDS: usize = 6;
/// "No core is set".
pub const ANY_CORE: u32 = u32::MAX;

/// Worker to pool: who asks.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// How often the supervisor has started this worker before.
    pub restarts: u32,
    /// 0.
    pub reserved: u32,
    /// Name of the feature, padded with zero bytes.
    pub name: [u8; 32],
}

impl Hello {
    /// A hello of the worker `name`; longer names are cut, and then no taker has that name.
    #[must_use]
    pub fn new(name: &str, restarts: u32) -> Self {
        let mut padded = [0; 32];
        let length = name.len().min(padded.len());
        padded[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self { magic: MAGIC, version: VERSION, restarts, reserved: 0, name: padded }
    }

    /// The name without its padding, if it is text.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).ok()
    }
}

/// One ring of an [`Offer`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RingOffer {
    /// 64-bit count at which this worker begins: the producer's at the time of the offer.
    pub start: u64,
    /// Slots of the ring, a power of two.
    pub size: u32,
    /// Line of the cursor page that this worker publishes for the ring.
    pub slot: u32,
    /// Class the ring belongs to.
    pub class: u32,
    /// Queue of the interface.
    pub queue: u32,
    /// [`RING_OF_SOCKET`] or [`RING_IN_MEMORY`]: what its descriptor is.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

/// The descriptor is an AF_XDP socket, whose RX ring is mapped.
pub const RING_OF_SOCKET: u32 = 0;
/// The descriptor is the memory of a lane.
pub const RING_IN_MEMORY: u32 = 1;

/// Pool to worker: what it may map.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offer {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of frame memory.
    pub umem_length: u64,
    /// [`FLAG_VERDICTS`], [`FLAG_SPIN`], [`FLAG_SENDS`].
    pub flags: u32,
    /// Core to pin to, or [`ANY_CORE`].
    pub core: u32,
    /// Slots of the send ring, 0 without one.
    pub send_slots: u32,
    /// Descriptors between two kicks.
    pub kick_every: u32,
    /// Slots of the record ring.
    pub record_slots: u32,
    /// Rings used of `rings`.
    pub ring_count: u32,
    /// User and group the worker becomes.
    pub user: u32,
    /// Slots of the flow-verdict map.
    pub flow_slots: u32,
    /// The rings.
    pub rings: [RingOffer; MAX_TAKER_RINGS],
}

/// Why a worker and the pool do not come together.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The other side speaks other words.
    #[error(
        "attach message of {length} bytes is not `{expected}`: two builds of weir are mixed; stop both and start one"
    )]
    Malformed {
        /// Bytes received.
        length: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// The pool offered fewer descriptors than it announced.
    #[error(
        "offer came with {found} file descriptors, {expected} were announced: two builds of weir are mixed; stop both and start one"
    )]
    Descriptors {
        /// Descriptors received.
        found: usize,
        /// Descriptors announced.
        expected: usize,
    },
    /// The other side ended.
    #[error("the dataplane closed the connection while `{waiting_for}` was awaited; its log says why")]
    Closed {
        /// What was awaited.
        waiting_for: &'static str,
    },
    /// A kernel call failed.
    #[error("{0}")]
    Kernel(#[from] weir_dataplane_io::IoError),
    /// The offered memory does not hold what the offer says.
    #[error("an offered ring does not fit its memory: {0}; two builds of weir are mixed, stop both and start one")]
    Ring(#[from] weir_dataplane_ring::RingError),
}

/// Parses `bytes` as exactly one `T`.
///
/// # Errors
/// [`AttachError::Malformed`] when the length differs.
pub fn parse<T: FromBytes>(bytes: &[u8], expected: &'static str) -> Result<T, AttachError> {
    T::read_from_bytes(bytes).map_err(|_| AttachError::Malformed { length: bytes.len(), expected })
}
