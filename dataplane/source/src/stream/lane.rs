//! A lane whose frames lie in buffers of somebody else: descriptors only, and who is to hear that they are finished.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_dataplane_ring::{Descriptor, LaneRing, Memory, RingError};

/// A frame on the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Place of its source.
    pub(super) source: usize,
    /// Its number in the source's sequence.
    pub(super) sequence: u64,
    /// Buffer it lies in.
    pub(super) buffer: u16,
}

/// The producing side of a lane.
pub(super) struct StreamLane {
    ring: LaneRing,
    held: VecDeque<Held>,
    put: bool,
}

impl StreamLane {
    /// A lane of `size` descriptors over `memory`.
    pub(super) fn new(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        Ok(Self { ring: LaneRing::new(memory, size)?, held: VecDeque::with_capacity(size as usize), put: false })
    }

    /// Whether a frame finds room.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.held.len() < self.ring.size() as usize && self.ring.free() > 0
    }

    /// Puts a frame; there is room, as [`StreamLane::has_room`] has said.
    #[inline]
    pub(super) fn put(&mut self, descriptor: Descriptor, held: Held) {
        if self.ring.push(descriptor).is_ok() {
            self.held.push_back(held);
            self.put = true;
        }
    }

    /// Shows what was put; true if something was.
    pub(super) fn publish(&mut self) -> bool {
        let put = std::mem::take(&mut self.put);
        if put {
            self.ring.publish();
        }
        put
    }

    /// The oldest frame, which every taker has passed.
    pub(super) fn finished(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// Frames that are not finished.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}
