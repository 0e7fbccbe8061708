//! Borrowed views of frames, a batch at a time.

use weir_ebpf_abi::meta::FrameMeta;

/// Most frames a batch holds. 64 is the kernel's own NAPI budget, so one wake-up of the driver is about one batch.
pub const BATCH_FRAMES: usize = 64;

/// One frame on a ring, borrowed for the length of a batch.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// What the classifier found out about the frame.
    pub meta: FrameMeta,
    /// Bytes of the first descriptor, from the Ethernet header on. The whole frame unless it is a jumbo frame.
    pub head: &'a [u8],
    /// Length of the whole frame in bytes, all descriptors together.
    pub length: u32,
    /// Index of the frame's first descriptor on its ring, as the ring's 64-bit count.
    pub place: u64,
    /// The worker's line for that ring; 0 outside a worker. With `place` it names the frame to who sends it.
    pub ring: u32,
    rest: &'a [&'a [u8]],
}

impl<'a> FrameView<'a> {
    /// A frame that lies in one piece.
    #[must_use]
    pub fn whole(meta: FrameMeta, bytes: &'a [u8], place: u64) -> Self {
        Self { meta, head: bytes, length: bytes.len() as u32, place, ring: 0, rest: &[] }
    }

    /// A frame of several descriptors: `head` and then `rest`, in order.
    #[must_use]
    pub fn jumbo(meta: FrameMeta, head: &'a [u8], rest: &'a [&'a [u8]], place: u64) -> Self {
        let length = head.len() + rest.iter().map(|piece| piece.len()).sum::<usize>();
        Self { meta, head, length: length as u32, place, ring: 0, rest }
    }

    /// The same frame on the ring of line `ring`.
    #[must_use]
    pub fn on_ring(self, ring: u32) -> Self {
        Self { ring, ..self }
    }

    /// The transport payload as far as it lies in the first descriptor; empty when the classifier found none.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        let start = usize::from(self.meta.payload_offset);
        if start == 0 {
            return &[];
        }
        let end = (start + usize::from(self.meta.payload_length)).min(self.head.len());
        self.head.get(start..end).unwrap_or(&[])
    }

    /// All pieces of the frame, in order.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        std::iter::once(self.head).chain(self.rest.iter().copied())
    }
}

/// Frames of one class, in ring order, with the time at which the worker took them.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The worker's monotonic clock in nanoseconds, read once for the batch; in a replay the last frame's capture time.
    pub now_ns: u64,
    frames: &'a [FrameView<'a>],
}

impl<'a> Batch<'a> {
    /// A batch over `frames`, taken at `now_ns`.
    #[must_use]
    pub fn new(now_ns: u64, frames: &'a [FrameView<'a>]) -> Self {
        Self { now_ns, frames }
    }

    /// The frames, in ring order.
    #[must_use]
    pub fn frames(&self) -> &'a [FrameView<'a>] {
        self.frames
    }
}
