//! The rig in memory: a generator and a taker joined by a ring of the kernel's layout. No privilege, no wire.

use std::sync::Arc;

use weir_dataplane_io::umem::{Backing, HugePages, Umem, UmemOptions, UmemView};
use weir_dataplane_ring::{HeapMemory, LaneRing, Memory, OwnerCursors, PAGE_LENGTH, RxReader, TakerCursors};
use weir_dataplane_source::lane::Lane;

use crate::error::LabError;
use crate::generate::ring::RingSender;

/// What a rig in memory is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySpec {
    /// Frames on the ring, a power of two.
    pub ring: u32,
    /// Bytes of a frame: 2048 or 4096.
    pub frame_size: u32,
    /// What kind of pages to ask for.
    pub hugepages: HugePages,
    /// Class that frames are labelled with.
    pub class: u8,
}

impl Default for MemorySpec {
    /// 4096 frames of 2 KiB, on hugepages if there are any.
    fn default() -> Self {
        Self { ring: 4096, frame_size: 2048, hugepages: HugePages::Prefer, class: 0 }
    }
}

/// What a taker needs, be it a worker's `Taker` or a [`RingReceiver`](super::RingReceiver).
pub struct Parts {
    /// The ring, for reading.
    pub reader: RxReader,
    /// The frames, for reading.
    pub view: UmemView,
    /// Where the taker says how far it is.
    pub cursors: TakerCursors,
    /// Its line there.
    pub slot: usize,
}

/// Both ends of a ring in memory.
pub struct MemoryRig {
    /// The generator's end.
    pub sender: RingSender,
    /// The taker's end.
    pub taker: Parts,
    backing: Backing,
}

impl MemoryRig {
    /// Makes ring, frames and cursor page.
    ///
    /// # Errors
    /// Sizes that are no power of two, or no memory.
    pub fn new(spec: &MemorySpec) -> Result<Self, LabError> {
        let MemorySpec { ring: frames, frame_size, hugepages, class } = *spec;
        let umem = Arc::new(Umem::create_with(UmemOptions { frames, frame_size, hugepages, node: None })?);
        let backing = umem.backing().clone();
        let ring: Arc<dyn Memory> = HeapMemory::zeroed(LaneRing::length(frames));
        let page: Arc<dyn Memory> = HeapMemory::zeroed(PAGE_LENGTH);
        let reader = RxReader::new(Arc::clone(&ring), LaneRing::OFFSETS, frames)?;
        let view = UmemView::of(&umem);
        let lane = Lane::new(umem, 0, ring, frames)?;
        let sender = RingSender::new(lane, OwnerCursors::new(Arc::clone(&page), 0)?, 0, class);
        let taker = Parts { reader, view, cursors: TakerCursors::new(page, 0)?, slot: 0 };
        Ok(Self { sender, taker, backing })
    }

    /// What kind of pages the frames are on, and why.
    #[must_use]
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The rig in words, for results.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("memory: generator and taker are threads of one process, frames on {}", self.backing)
    }
}
