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
    /// Its frames in each buffer, and buffers that have some.
    in_buffer: Vec<u32>,
    buffers: usize,
    put: bool,
}

impl StreamLane {
    /// A lane of `size` descriptors over `memory`.
    pub(super) fn new(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        let held = VecDeque::with_capacity(size as usize);
        Ok(Self { ring: LaneRing::new(memory, size)?, held, in_buffer: Vec::new(), buffers: 0, put: false })
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
            let buffer = usize::from(held.buffer);
            if self.in_buffer.len() <= buffer {
                self.in_buffer.resize(buffer + 1, 0);
            }
            self.buffers += usize::from(self.in_buffer[buffer] == 0);
            self.in_buffer[buffer] += 1;
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
        let held = self.held.pop_front()?;
        if let Some(count) = self.in_buffer.get_mut(usize::from(held.buffer)) {
            *count = count.saturating_sub(1);
            self.buffers -= usize::from(*count == 0);
        }
        Some(held)
    }

    /// Whether a frame may stay in `buffer`: it keeps the buffer from everybody else, so a lane has `share` of them.
    #[inline]
    pub(super) fn may_hold(&self, buffer: u16, share: usize) -> bool {
        self.buffers < share || self.in_buffer.get(usize::from(buffer)).is_some_and(|count| *count > 0)
    }

    /// Whether frames of it lie in a buffer from number `first` on.
    pub(super) fn lies_from(&self, first: u16) -> bool {
        self.in_buffer.get(usize::from(first)..).is_some_and(|counts| counts.iter().any(|count| *count > 0))
    }

    /// Frames that are not finished.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}
