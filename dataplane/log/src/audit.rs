//! What is missing, doubled or out of order, for each source of each class, in memory that does not grow with the log.

use std::collections::BTreeMap;

use crate::spec::Stamp;

/// How many of a source's last sequence numbers are remembered one by one.
pub const WINDOW: u64 = 64;

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

/// Whose count it is: messages over a stream and messages in packets are counted apart by their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// Its records came over a stream: the count is the stream's, of which other classes have other parts.
    pub stream: bool,
    /// Class of the records.
    pub class: u8,
    /// The source.
    pub source: u32,
}

/// Counts by class and source.
#[derive(Clone, Debug)]
pub struct Audit {
    most: usize,
    sources: BTreeMap<Sender, Source>,
    untracked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    tally: Tally,
    highest: u64,
    /// How far `highest` is ahead of the first that came, up to [`WINDOW`].
    span: u64,
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
        let key = Sender { class: stamp.class, source: stamp.source, stream: stamp.stream };
        if let Some(source) = self.sources.get_mut(&key) {
            source.see(stamp.sequence, stamp.stream);
        } else if self.sources.len() < self.most {
            let tally = Tally { records: 1, ..Tally::default() };
            self.sources.insert(key, Source { tally, highest: stamp.sequence, span: 0, seen: 1 });
        } else {
            self.untracked += 1;
        }
    }

    /// What was counted, by class and source.
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
    fn see(&mut self, sequence: u64, stream: bool) {
        self.tally.records += 1;
        // The count wraps: what is less than half of all numbers ahead is ahead.
        let wrapped = if stream { u64::MAX } else { u32::MAX.into() };
        let ahead = sequence.wrapping_sub(self.highest) & wrapped;
        if ahead != 0 && ahead <= wrapped / 2 {
            self.tally.lost = self.tally.lost.saturating_add(ahead - 1);
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.highest = sequence;
            self.span = self.span.saturating_add(ahead).min(WINDOW);
            return;
        }
        let behind = self.highest.wrapping_sub(sequence) & wrapped;
        if behind >= WINDOW {
            self.tally.stale += 1;
        } else if self.seen >> behind & 1 == 1 {
            self.tally.doubled += 1;
        } else {
            self.seen |= 1 << behind;
            self.tally.reordered += 1;
            // What is older than the first that came was never counted as lost.
            self.tally.lost -= u64::from(behind <= self.span); // it was counted, so there is one
        }
    }
}
