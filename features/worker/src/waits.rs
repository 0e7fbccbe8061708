//! How long frames wait between the classifier and the feature, counted by the worker whatever the feature is.
//!
//! Only frames that the classifier stamped count; while stamping is off a batch costs one comparison. Times go into buckets of a
//! sixteenth of their power of two, by class and by the parity of the flow's bucket: two halves of the same frames, which
//! show how much equals differ. What was counted leaves as records with every tick.

use weir_dataplane_ring::record::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::batch::FrameView;
use crate::outputs::RecordSink;

/// Feature number of these records: no feature's own.
pub const ID: u16 = 0xfffe;
/// Their kind.
pub const KIND_WAITS: u16 = 1;
/// Buckets: from 16 ns to 2^36 ns, which is 68 s; what is longer is in the last.
pub const BUCKETS: usize = 33 << STEP_BITS;
/// Bits behind the leading one that tell buckets apart.
const STEP_BITS: u32 = 4;
/// Counts in one record.
pub const COUNTS: usize = 24;

/// The bucket of a wait in nanoseconds.
#[inline]
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    let value = if ns < 1 << STEP_BITS { 1 << STEP_BITS } else { ns };
    let shift = value.ilog2() - STEP_BITS;
    let index = (shift as usize) << STEP_BITS | (value >> shift) as usize & ((1 << STEP_BITS) - 1);
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// So many frames more in a bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WaitCount {
    /// The bucket.
    pub bucket: u16,
    /// Frames, from 1; a larger number takes several.
    pub count: u16,
}

/// Some of what was counted since the last tick. One record's body.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WaitRow {
    /// The class of the frames.
    pub class: u8,
    /// 0 for flows with an even bucket, 1 for flows with an odd one.
    pub half: u8,
    /// How many of `counts` are used.
    pub used: u8,
    /// Zero.
    pub reserved: [u8; 13],
    /// The counts.
    pub counts: [WaitCount; COUNTS],
}

const _: () = assert!(size_of::<WaitRow>() == Record::BODY);

/// The counts of one ring's frames since the last tick.
pub(crate) struct Waits {
    class: u8,
    any: bool,
    halves: [Box<[u32]>; 2],
}

impl Default for Waits {
    fn default() -> Self {
        let empty = || vec![0; BUCKETS].into_boxed_slice();
        Self { class: 0, any: false, halves: [empty(), empty()] }
    }
}

impl Waits {
    /// Counts a batch that is handed on at `now_ns`. All its frames are of one class.
    #[inline]
    pub(crate) fn note(&mut self, now_ns: u64, frames: &[FrameView<'_>]) {
        if frames.first().is_none_or(|frame| frame.meta.received_ns == 0) {
            return;
        }
        for meta in frames.iter().map(|frame| &frame.meta).filter(|meta| meta.received_ns != 0) {
            let at = bucket(now_ns.saturating_sub(meta.received_ns));
            if let Some(count) = self.halves[usize::from(meta.bucket & 1)].get_mut(at) {
                *count = count.saturating_add(1);
            }
            self.class = meta.class;
        }
        self.any = true;
    }

    /// Gives what was counted, and forgets it.
    pub(crate) fn report(&mut self, now_ns: u64, records: &mut dyn RecordSink) {
        if !std::mem::take(&mut self.any) {
            return;
        }
        let mut put = |row: &mut WaitRow| {
            if row.used > 0
                && let Some(record) = Record::new(ID, KIND_WAITS, now_ns, row.as_bytes())
            {
                records.put(record); // one that finds no room is counted by the sink
            }
            row.used = 0;
        };
        for (half, counts) in (0..).zip(&mut self.halves) {
            let mut row = WaitRow { class: self.class, half, ..WaitRow::default() };
            for (bucket, count) in (0..).zip(counts.iter_mut()) {
                while *count > 0 {
                    let part = (*count).min(u32::from(u16::MAX));
                    *count -= part;
                    row.counts[usize::from(row.used)] = WaitCount { bucket, count: part as u16 }; // cut just above
                    row.used += 1;
                    if usize::from(row.used) == COUNTS {
                        put(&mut row);
                    }
                }
            }
            put(&mut row);
        }
    }
}

impl WaitRow {
    /// The counts in use; a number of them beyond the row, which only a broken writer gives, is cut to it.
    pub fn used(&self) -> impl Iterator<Item = &WaitCount> {
        self.counts.iter().take(usize::from(self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf_abi::meta::FrameMeta;

    fn rows(records: &[Record]) -> Vec<WaitRow> {
        records.iter().map(|record| WaitRow::read_from_bytes(&record.body).expect("a row")).collect()
    }

    #[test]
    fn what_is_counted_leaves_once_and_all_of_it() {
        let (mut waits, mut records) = (Waits::default(), Vec::new());
        let bytes = [0; 60];
        let frame = |number: u16, received_ns| {
            FrameView::whole(FrameMeta { received_ns, class: 3, bucket: number, ..FrameMeta::default() }, &bytes, 0)
        };
        for number in 0..640_u16 {
            waits.note(10_000_000, &[frame(number, 10_000_000 - u64::from(number) * 1_000)]);
        }
        waits.note(10_000_000, &[frame(1, 0)]);
        for _ in 0..70_000 {
            waits.note(10_000_000, &[frame(0, 9_000_000)]);
        }
        waits.report(10_000_000, &mut records);
        let found = rows(&records);
        assert!(found.iter().all(|row| row.class == 3) && found.len() > 4, "{} rows", found.len());
        let of = |half: u8| -> u64 {
            let rows = found.iter().filter(|row| row.half == half);
            rows.flat_map(WaitRow::used).map(|count| u64::from(count.count)).sum()
        };
        assert_eq!((of(0), of(1)), (320 + 70_000, 320), "frames without a stamp are not among them");
        records.clear();
        waits.report(10_000_001, &mut records);
        assert!(records.is_empty(), "what has left is forgotten");
    }

    #[test]
    fn a_broken_writer_gives_no_more_than_a_row() {
        let row = WaitRow { used: 255, ..WaitRow::default() };
        assert_eq!(row.used().count(), COUNTS);
    }
}
