//! Events of one size as columns: the headers of a block, eight at a time, in vector registers.
//!
//! Senders fill a frame with events of one size, 64 bytes each where they come in millions, so the headers lie at even
//! distances. Eight of them are turned into columns with one load each and nine shuffles, and their latencies and buckets
//! are made on the way, without a decision that hangs on the data. What is left for the table is to look up a row and add.
//! Everything else, and everything on a processor without the instructions, is walked ([`crate::events::walk`]).

use weir_ebpf_abi::batch::{EVENT_ALIGN, EVENT_HEADER, EventHeader};
use zerocopy::FromBytes;
#[cfg(target_arch = "x86_64")]
use zerocopy::transmute_ref;

#[cfg(target_arch = "x86_64")]
use crate::histogram::{EARLY, LATE, LATENCY_LIMIT_NS};
use crate::simd::{Simd, with_lanes};

/// Most events of a block. 22 events of 64 bytes fill an ordinary frame; what holds more is several blocks.
pub const BLOCK: usize = 64;
/// Events that are turned into columns at a time, and the least that a block has.
pub const LANES: usize = 8;
/// Bytes from one header to the next one's in a block.
pub const STRIDE: usize = 64;

/// A block of events of one size. Whole cache lines, so that no register of eight words straddles two.
#[repr(align(64))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Type in the low half, source in the high half.
    pub keys: [u64; BLOCK],
    /// Nanoseconds from the event's time to the clock's; 0 where the time makes no latency.
    pub latencies: [u64; BLOCK],
    /// Buckets of the latencies; [`LATE`] or [`EARLY`] where the time makes none.
    pub buckets: [u64; BLOCK],
    /// Bytes of each payload, padding left out.
    pub payload_length: u32,
    /// Events in the block; what stands behind them in the columns means nothing.
    pub length: usize,
}

impl Columns {
    /// Columns without an event.
    #[must_use]
    pub fn new() -> Self {
        let column = [0; BLOCK];
        Self { keys: column, latencies: column, buckets: column, payload_length: 0, length: 0 }
    }

    /// Takes the first events of `events`, `count` of them but at most [`BLOCK`], seen from `now_ns`, and gives the bytes
    /// behind them. `None`, with nothing taken, when they are fewer than [`LANES`], not [`STRIDE`] apart, of different
    /// sizes or not all there, or when `simd` is [`Simd::Scalar`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "vectors alone look at them"))]
    #[inline]
    pub fn take<'a>(&mut self, simd: Simd, now_ns: u64, events: &'a [u8], count: u16) -> Option<&'a [u8]> {
        let length = usize::from(count).min(BLOCK);
        if length < LANES {
            return None;
        }
        let (first, _) = EventHeader::ref_from_prefix(events).ok()?;
        self.payload_length = first.payload_length.get();
        let size = EVENT_HEADER as u64 + u64::from(self.payload_length);
        // The padding of the last event may be cut; then the block is walked.
        let (block, rest) = events.split_at_checked(length * STRIDE)?;
        if size.next_multiple_of(EVENT_ALIGN as u64) != STRIDE as u64 {
            return None;
        }
        self.length = length;
        let (blocks, _) = block.as_chunks::<STRIDE>();
        with_lanes!(simd, false, lanes => self.fill(lanes, now_ns, blocks)).then_some(rest)
    }

    /// Fills the columns; false when the events are not of one size. The last eight overlap those before them where the
    /// number is no multiple of eight: the same words are written twice.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fill<S: fearless_simd::Simd>(&mut self, lanes: S, now_ns: u64, block: &[[u8; STRIDE]]) -> bool {
        use fearless_simd::{Bytes, Select, SimdBase, SimdCombine, SimdFrom, SimdMask, f64x8, u64x4, u64x8};

        use crate::histogram::{DOUBLE_BIAS, DOUBLE_SHIFT, DOUBLE_WHOLE, EXACT};

        let all = |value: u64| u64x8::splat(lanes, value);
        let (now, limit) = (all(now_ns), all(LATENCY_LIMIT_NS));
        let mut others = all(0);
        let last = self.length.min(block.len()).min(BLOCK) - LANES;
        for at in (0..last).step_by(LANES).chain([last]) {
            let Some(eight) = block[at..].first_chunk::<LANES>() else { return false };
            let header = |lane: usize| u64x4::simd_from(lanes, words(&eight[lane]));
            let pair = |lane: usize| header(lane).combine(header(lane + 1));
            // Words 0 and 2 of four events, and 1 and 3; then those of eight, each word in a register of its own.
            let (low, high) = (pair(0).deinterleave(pair(2)), pair(4).deinterleave(pair(6)));
            let keys = low.0.unzip_high(high.0);
            let stamps = low.1.unzip_low(high.1);
            let lengths = low.1.unzip_high(high.1);
            others |= (lengths & all(LENGTH)) ^ all(u64::from(self.payload_length));
            let latency = now - stamps;
            let sane = latency.simd_lt(limit);
            let latency = sane.select(latency, all(0));
            // As `histogram::bucket` does it.
            let double: f64x8<S> = (latency | all(DOUBLE_WHOLE)).bitcast();
            let double = double - f64x8::splat(lanes, f64::from_bits(DOUBLE_WHOLE));
            let logarithmic = (double.bitcast::<u64x8<S>>() >> DOUBLE_SHIFT) - all(DOUBLE_BIAS);
            let bucket = latency.simd_lt(all(EXACT)).select(latency, logarithmic);
            let stray = stamps.simd_gt(now).select(all(EARLY), all(LATE));
            keys.store_slice(&mut self.keys[at..at + LANES]);
            latency.store_slice(&mut self.latencies[at..at + LANES]);
            sane.select(bucket, stray).store_slice(&mut self.buckets[at..at + LANES]);
        }
        others.simd_eq(all(0)).all_true()
    }
}

/// An event's header as words: id, time, type with source above it, payload's length with a reserved word above it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn words(event: &[u8; STRIDE]) -> [u64; EVENT_HEADER / size_of::<u64>()] {
    let words: &[[u8; size_of::<u64>()]; STRIDE / size_of::<u64>()] = transmute_ref!(event);
    [0, 1, 2, 3].map(|place| u64::from_le_bytes(words[place]))
}

/// The length in a header's last word.
#[cfg(target_arch = "x86_64")]
const LENGTH: u64 = u32::MAX as u64;

impl Default for Columns {
    fn default() -> Self {
        Self::new()
    }
}
