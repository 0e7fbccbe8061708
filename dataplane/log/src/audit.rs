//! What is missing, doubled or out of order, for each source of each class, in memory that does not grow with the log.

use std::collections::BTreeMap;

use crate::spec::Stamp;

/// How many of a source's last sequence numbers are remembered one by one.
pub const WINDOW: u32 = 64;

/// What one source of one class sent, by its own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records seen.
    pub records: u64,
    /// Numbers that were skipped and did not come later.
    pub lost: u64,
    /// Records whose number had come before.
    pub doubled: u64,
    /// Records that came after a later one.
    pub reordered: u64,
    /// Records more than [`WINDOW`] numbers late: they may be doubled or reordered, and stay in `lost` if they were.
    pub stale: u64,
}

/// Whose count it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// Its records came over a stream: the count is the stream's, of which other classes have other parts.
    pub stream: bool,
    /// Class of the records.
    pub class: u8,
    /// The source.
    pub source: u32,
}

/// Counts by source.
#[derive(Clone, Debug)]
pub struct Audit {
    most: usize,
    sources: BTreeMap<Sender, Source>,
    untracked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    tally: Tally,
    highest: u32,
    /// How far `highest` is ahead of the first that came, up to [`WINDOW`].
    span: u32,
    /// Bit n: `highest` - n has come.
    seen: u64,
}

impl Audit {
    /// An audit of at most `most` sources; records of further ones are counted as untracked.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, sources: BTreeMap::new(), untracked: 0 }
    }

    /// Looks at the next record's stamp.
    pub fn see(&mut self, stamp: &Stamp) {
        let key = Sender { stream: stamp.stream, class: stamp.class, source: stamp.source };
        let sequence = stamp.sequence as u32; // a window of some numbers is looked at: the lower half tells them apart
        if let Some(source) = self.sources.get_mut(&key) {
            source.see(sequence);
        } else if self.sources.len() < self.most {
            let tally = Tally { records: 1, ..Tally::default() };
            self.sources.insert(key, Source { tally, highest: sequence, span: 0, seen: 1 });
        } else {
            self.untracked += 1;
        }
    }

    /// What was counted, by source.
    pub fn tallies(&self) -> impl Iterator<Item = (Sender, Tally)> {
        self.sources.iter().map(|(key, source)| (*key, source.tally))
    }

    /// Records of sources beyond the limit.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }
}

impl Source {
    fn see(&mut self, sequence: u32) {
        self.tally.records += 1;
        // The count wraps: what is less than half of all numbers ahead is ahead.
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead != 0 && ahead <= u32::MAX / 2 {
            self.tally.lost += u64::from(ahead - 1);
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.highest = sequence;
            self.span = self.span.saturating_add(ahead).min(WINDOW);
            return;
        }
        let behind = self.highest.wrapping_sub(sequence);
        if behind >= WINDOW {
            self.tally.stale += 1;
        } else if self.seen >> behind & 1 == 1 {
            self.tally.doubled += 1;
        } else {
            self.seen |= 1 << behind;
            self.tally.reordered += 1;
            // What is older than the first that came was never counted as lost.
            self.tally.lost -= u64::from(behind <= self.span);
        }
    }
}
