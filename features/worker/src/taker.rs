//! From rings to batches: a taker reads descriptors from its own cursor to the kernel's producer and publishes the cursor.

use heapless::Vec as Fixed;
use weir_dataplane_io::umem::UmemView;
use weir_dataplane_io::wait::EventFd;
use weir_dataplane_ring::{RxReader, SLOTS, TakerCursors};
use weir_ebpf_abi::meta::{FrameMeta, NO_RULE};

use crate::batch::{BATCH_FRAMES, Batch, FrameView};
use crate::feature::Feature;
use crate::outputs::{Outputs, RecordSink};
use crate::waits::Waits;

/// One ring a taker reads, with its own place on it.
pub struct TakerRing {
    reader: RxReader,
    slot: usize,
    cursor: u64,
}

impl TakerRing {
    /// Reads `reader` from the 64-bit count `start` on and publishes progress in line `slot` of the cursor page.
    #[must_use]
    pub fn new(reader: RxReader, slot: usize, start: u64) -> Self {
        Self { reader, slot, cursor: start }
    }
}

/// Frames to be sent after which a worker that has more to read wakes the pool. Where both share a core a wake-up is two
/// changes of process, which four batches share.
const SEND_EVERY: u32 = 4 * BATCH_FRAMES as u32;

/// What a taker has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakerCounts {
    /// Frames handed to the feature.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Frames without the classifier's metadata in front; they are handed on with an empty one.
    pub without_metadata: u64,
    /// Descriptors that point outside the frame memory; skipped.
    pub bad_descriptors: u64,
    /// Times the worker woke the pool.
    pub kicks: u64,
}

/// Where each ring of a taker ended at some time.
pub struct Ends(Fixed<u64, SLOTS>);

/// All rings of one worker.
pub struct Taker {
    rings: Vec<TakerRing>,
    /// One for each ring.
    waits: Vec<Waits>,
    frames: UmemView,
    cursors: TakerCursors,
    kick: Option<EventFd>,
    kick_every: u32,
    since_kick: u32,
    /// Frames to be sent of which the pool was not told.
    unsent: u32,
    counts: TakerCounts,
}

impl Taker {
    /// A taker over `rings`. After every `kick_every` finished descriptors `kick` wakes the pool, so that it recycles
    /// long before a ring is full; and when some batches of frames are to be sent, or fewer and nothing more to read.
    /// Without `kick` the pool looks by itself.
    #[must_use]
    pub fn new(
        rings: Vec<TakerRing>,
        frames: UmemView,
        cursors: TakerCursors,
        kick: Option<EventFd>,
        kick_every: u32,
    ) -> Self {
        let waits = rings.iter().map(|_| Waits::default()).collect();
        Self {
            rings,
            waits,
            frames,
            cursors,
            kick,
            kick_every,
            since_kick: 0,
            unsent: 0,
            counts: TakerCounts::default(),
        }
    }

    /// Gives how long frames have waited since the last call, where the classifier stamps them.
    pub fn report_waits(&mut self, now_ns: u64, records: &mut dyn RecordSink) {
        self.waits.iter_mut().for_each(|waits| waits.report(now_ns, records));
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> TakerCounts {
        self.counts
    }

    /// Where the rings end now, by ring.
    #[must_use]
    pub fn ends(&self) -> Ends {
        Ends(self.rings.iter().map(|ring| ring.cursor + u64::from(ring.reader.available(ring.cursor))).collect())
    }

    /// Whether all that was on the rings then is finished.
    #[must_use]
    pub fn has_passed(&self, ends: &Ends) -> bool {
        self.rings.iter().zip(&ends.0).all(|(ring, end)| ring.cursor >= *end)
    }

    /// Hands at most one batch of every ring to `feature` and publishes the cursors. `clock` is read once for each batch.
    /// Gives the number of frames handed on: 0 means that all rings were empty.
    pub fn poll<F: Feature>(&mut self, feature: &mut F, out: &mut Outputs<'_>, clock: impl Fn() -> u64) -> usize {
        let mut handed = 0;
        for (ring, waits) in self.rings.iter_mut().zip(&mut self.waits) {
            let available = ring.reader.available(ring.cursor);
            if available == 0 {
                continue;
            }
            let (frames, descriptors) = one_batch(ring, &self.frames, available, &mut self.counts, |batch| {
                let now_ns = clock();
                waits.note(now_ns, batch);
                feature.on_batch(&Batch::new(now_ns, batch), out);
            });
            handed += frames;
            // In this order: who sees the cursor behind a frame has met every wish to send it.
            self.unsent += out.publish_sends();
            ring.cursor += u64::from(descriptors);
            self.cursors.publish(ring.slot, ring.cursor);
            self.since_kick += descriptors;
        }
        let waits = self.unsent >= SEND_EVERY || self.unsent > 0 && handed == 0;
        if (waits || self.since_kick >= self.kick_every)
            && let Some(kick) = &self.kick
        {
            (self.since_kick, self.unsent) = (0, 0);
            self.counts.kicks += 1;
            kick.signal();
        }
        handed
    }
}

/// Reads up to a batch of descriptors, hands the whole frames among them to `on_batch`, and gives (frames, descriptors).
fn one_batch(
    ring: &TakerRing,
    memory: &UmemView,
    available: u32,
    counts: &mut TakerCounts,
    on_batch: impl FnOnce(&[FrameView<'_>]),
) -> (usize, u32) {
    let wanted = available.min(BATCH_FRAMES as u32);
    let mut pieces: Fixed<(&[u8], u64), BATCH_FRAMES> = Fixed::new();
    let mut ends = 0_u64; // bit i: piece i is the last of its frame
    for (offset, descriptor) in ring.reader.batch(ring.cursor, wanted).enumerate() {
        let bytes = memory.bytes(descriptor.address, descriptor.length).unwrap_or_else(|| {
            counts.bad_descriptors += 1;
            &[]
        });
        ends |= u64::from(!descriptor.is_continued()) << offset;
        if pieces.push((bytes, descriptor.address)).is_err() {
            break; // `wanted` is bounded by the capacity
        }
    }
    // Only whole frames are handed on; the pieces behind the last end wait for the next batch. A frame has at most 18
    // pieces (the kernel's MAX_SKB_FRAGS + 1), so a full batch without an end cannot come from the kernel: it is skipped.
    let used =
        if ends == 0 { if wanted == BATCH_FRAMES as u32 { wanted } else { 0 } } else { 64 - ends.leading_zeros() };
    let tails: Fixed<&[u8], BATCH_FRAMES> = pieces.iter().map(|piece| piece.0).collect();
    let mut frames: Fixed<FrameView<'_>, BATCH_FRAMES> = Fixed::new();
    let mut first = 0_usize;
    for index in 0..used as usize {
        if ends >> index & 1 == 0 {
            continue;
        }
        let (head, address) = pieces[first];
        let place = ring.cursor + first as u64;
        let meta = metadata(memory, address, counts);
        let frame = match tails.get(first + 1..=index) {
            Some(rest) if !rest.is_empty() => FrameView::jumbo(meta, head, rest, place),
            _ => FrameView::whole(meta, head, place),
        };
        let frame = frame.on_ring(ring.slot as u32); // a line of the cursor page, below 31
        counts.bytes += u64::from(frame.length);
        first = index + 1;
        if !head.is_empty() {
            let _ = frames.push(frame); // never full: at most one frame for each of the 64 pieces
        }
    }
    counts.frames += frames.len() as u64;
    if !frames.is_empty() {
        on_batch(&frames);
    }
    (frames.len(), used)
}

/// The classifier's words in front of the frame at `address`.
fn metadata(memory: &UmemView, address: u64, counts: &mut TakerCounts) -> FrameMeta {
    let front =
        address.checked_sub(FrameMeta::SIZE as u64).and_then(|start| memory.bytes(start, FrameMeta::SIZE as u32));
    front.and_then(|bytes| FrameMeta::read_before(bytes, FrameMeta::SIZE)).unwrap_or_else(|| {
        counts.without_metadata += 1;
        FrameMeta { rule: NO_RULE, ..FrameMeta::default() }
    })
}
