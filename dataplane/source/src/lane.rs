//! Frames put on a ring of the kernel's layout by user space, so that the unchanged worker reads them.
//!
//! ```text
//! frame memory   │ 256 bytes of headroom, the last 32 of them FrameMeta │ frame … │   one chunk
//! lane ring      … │ address of `frame`, length, CONTINUED if more follows │ …
//! ```
//! A [`Lane`] plays both the kernel's part (it writes frames and moves the producer) and the pool's (it takes back what
//! the slowest cursor has passed). [`CaptureLane`] fills one from a capture file.

use std::io::Read;
use std::sync::Arc;

use weir_dataplane_io::umem::Umem;
use weir_dataplane_ring::{Allegation, Descriptor, Hostile, LaneRing, Memory, RingError, RxOwner};
use weir_ebpf_abi::meta::FrameMeta;
use zerocopy::IntoBytes;

use crate::capture::{CaptureError, Reader};
use crate::ethernet::as_ethernet;

/// Bytes of a chunk in front of its frame: the kernel's XDP_PACKET_HEADROOM, so that a lane's frames look like a NIC's.
pub const HEADROOM: u32 = 256;
/// Most chunks of one frame.
pub const PIECES_MAX: usize = Descriptor::PIECES_MAX;

const _: () = assert!(FrameMeta::SIZE <= HEADROOM as usize);

/// Why a frame was not put on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Takers have not passed enough; take back and try again.
    #[error("the lane holds {held} descriptors that its takers have not passed; wait for them and recycle")]
    Full {
        /// Descriptors on the ring.
        held: u32,
    },
    /// No lane of this chunk size can hold the frame.
    #[error("a frame of {length} bytes needs more than {PIECES_MAX} chunks; cut it, or take larger chunks")]
    TooLong {
        /// Bytes of the frame.
        length: usize,
    },
}

/// A ring and the frames that go round on it.
pub struct Lane {
    umem: Arc<Umem>,
    ring: LaneRing,
    owner: RxOwner,
    free: Vec<u64>,
    room: usize,
}

impl Lane {
    /// A lane of `size` descriptors over `memory` ([`LaneRing::length`] bytes, zero) that owns the first `size` frames
    /// of `umem` from frame `first` on: one frame for each descriptor, so neither can run out before the other.
    ///
    /// # Errors
    /// [`RingError`] when `size` is no power of two, or the ring's memory or the frames are too few.
    pub fn new(umem: Arc<Umem>, first: u32, memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        let ring = LaneRing::new(Arc::clone(&memory), size)?;
        let owner = RxOwner::new(memory, LaneRing::OFFSETS, size)?;
        let frame_size = u64::from(umem.frame_size());
        let (from, to) = (u64::from(first) * frame_size, (u64::from(first) + u64::from(size)) * frame_size);
        if to > umem.length() as u64 {
            let (offset, end, available) = (from as usize, to as usize, umem.length());
            return Err(RingError::Short { what: "lane's frames", offset, end, available });
        }
        // Lowest address last, so that it is lent first.
        let free = (0..u64::from(size)).rev().map(|frame| from + frame * frame_size).collect();
        let room = (umem.frame_size() - HEADROOM) as usize;
        Ok(Self { umem, ring, owner, free, room })
    }

    /// Descriptors the lane can hold.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.ring.size()
    }

    /// Descriptors put and not taken back.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.size() - self.free.len() as u32 // one frame for each descriptor
    }

    /// The frame memory.
    #[must_use]
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Writes a frame with `meta` in front of it; takers see it after [`Lane::publish`].
    ///
    /// # Errors
    /// [`Refused`]; nothing was put then.
    #[inline]
    pub fn put(&mut self, meta: &FrameMeta, frame: &[u8]) -> Result<(), Refused> {
        let pieces = frame.len().div_ceil(self.room).max(1);
        if pieces > PIECES_MAX {
            return Err(Refused::TooLong { length: frame.len() });
        }
        if self.free.len() < pieces {
            return Err(Refused::Full { held: self.held() });
        }
        let mut rest = frame;
        for piece in (0..pieces).rev() {
            // The length was checked above: neither the frames nor the ring can be exhausted here.
            let Some(chunk) = self.free.pop() else { break };
            let (bytes, behind) = rest.split_at(rest.len().min(self.room));
            rest = behind;
            let address = chunk + u64::from(HEADROOM);
            if piece + 1 == pieces {
                self.umem.write(address - FrameMeta::SIZE as u64, meta.as_bytes());
            }
            self.umem.write(address, bytes);
            let options = if piece == 0 { 0 } else { Descriptor::CONTINUED };
            let _ = self.ring.push(Descriptor { address, length: bytes.len() as u32, options });
        }
        Ok(())
    }

    /// Shows takers what was put.
    #[inline]
    pub fn publish(&mut self) {
        self.ring.publish();
    }

    /// Takes back what a taker claims to have finished; with several takers, give the slowest claim. Returns the
    /// descriptors taken back.
    ///
    /// # Errors
    /// [`Hostile`] when the claim is outside what is on the ring; nothing was taken back then.
    #[inline]
    pub fn recycle(&mut self, claim: Allegation) -> Result<u32, Hostile> {
        let end = self.owner.judge(claim)?;
        let before = self.free.len();
        let umem = &self.umem;
        self.free.extend(self.owner.until(end).map(|descriptor| umem.frame_of(descriptor.address)));
        self.owner.release(end);
        Ok((self.free.len() - before) as u32)
    }

    /// 64-bit count of the descriptors taken back: where a new taker has to begin at the least.
    #[must_use]
    pub fn consumer(&self) -> u64 {
        self.owner.consumer()
    }
}

/// What one [`CaptureLane::pump`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pumped {
    /// Frames put on the lane.
    pub frames: u64,
    /// Frames of a link layer that cannot be presented as Ethernet; skipped.
    pub foreign: u64,
    /// Frames too long for the lane; skipped.
    pub too_long: u64,
    /// Whether the capture has ended.
    pub ended: bool,
}

/// A capture that is put on a lane.
pub struct CaptureLane<R> {
    lane: Lane,
    reader: Reader<R>,
    buffer: Vec<u8>,
}

impl<R: Read> CaptureLane<R> {
    /// Plays `reader` on `lane`.
    pub fn new(lane: Lane, reader: Reader<R>) -> Self {
        Self { lane, reader, buffer: Vec::new() }
    }

    /// The lane, for taking back.
    pub fn lane(&mut self) -> &mut Lane {
        &mut self.lane
    }

    /// Puts frames until the lane has no room for a frame of the largest size, or the capture ends, and publishes them.
    /// `classify` gets each frame from its Ethernet header on and the capture's time, and gives what the classifier
    /// would have written in front of it.
    ///
    /// # Errors
    /// The capture is damaged from here on; what was put before stays.
    pub fn pump(&mut self, mut classify: impl FnMut(&[u8], u64) -> FrameMeta) -> Result<Pumped, CaptureError> {
        let mut pumped = Pumped::default();
        let result = loop {
            if self.lane.free.len() < PIECES_MAX {
                break Ok(());
            }
            let frame = match self.reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    pumped.ended = true;
                    break Ok(());
                }
                Err(error) => break Err(error),
            };
            let Some(presented) = as_ethernet(&frame, &mut self.buffer) else {
                pumped.foreign += 1;
                continue;
            };
            let meta = classify(presented.bytes, frame.time_ns);
            match self.lane.put(&meta, presented.bytes) {
                Ok(()) => pumped.frames += 1,
                Err(_) => pumped.too_long += 1, // there was room for the largest that can be put
            }
        };
        self.lane.publish();
        result.map(|()| pumped)
    }
}
