//! The account of a source's sequence numbers: what was lost, doubled or out of order.
//!
//! Numbers are 32 bits and wrap. The last [`WINDOW`] numbers are remembered exactly; a number further back than that is
//! counted as doubled, since a network that holds a frame back for so long has lost it for every purpose.

use std::collections::BTreeMap;

/// Numbers of each source that are remembered: 8 KiB of bits.
pub const WINDOW: u64 = 65_536;

/// What became of one source's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCount {
    /// Different numbers received.
    pub received: u64,
    /// Numbers up to the highest (and from the first on) that never came.
    pub lost: u64,
    /// Numbers that came again.
    pub doubled: u64,
    /// Numbers that came after a higher one.
    pub reordered: u64,
}

/// One source.
#[derive(Clone, Debug)]
struct Source {
    /// First number that is expected, and the highest seen, both unwrapped to 64 bits.
    first: u64,
    highest: u64,
    seen: Vec<u64>,
    count: SourceCount,
}

/// The numbers of all sources.
#[derive(Clone, Debug, Default)]
pub struct SequenceAudit {
    sources: BTreeMap<u32, Source>,
    expected_first: Option<u32>,
}

/// Unwrapped numbers start here, so that a number slightly before the first does not go below zero.
const ORIGIN: u64 = 1 << 32;

impl SequenceAudit {
    /// An account that begins with whatever number comes first from each source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An account in which every source begins with `first`, so that a loss of the first frames is seen as well.
    #[must_use]
    pub fn from_first(first: u32) -> Self {
        Self { sources: BTreeMap::new(), expected_first: Some(first) }
    }

    /// Notes a number of a source.
    #[inline]
    pub fn note(&mut self, source: u32, number: u32) {
        let first = self.expected_first.unwrap_or(number);
        let entry = self.sources.entry(source).or_insert_with(|| Source {
            first: ORIGIN + u64::from(first),
            // One below the first, so that the first number is a step forward like any other.
            highest: ORIGIN + u64::from(first) - 1,
            seen: vec![0; (WINDOW / 64) as usize],
            count: SourceCount::default(),
        });
        entry.note(number);
    }

    /// What became of each source's numbers, by source.
    pub fn counts(&self) -> impl Iterator<Item = (u32, SourceCount)> + '_ {
        self.sources.iter().map(|(source, entry)| {
            let span = entry.highest + 1 - entry.first;
            (*source, SourceCount { lost: span - entry.count.received, ..entry.count })
        })
    }

    /// All sources together.
    #[must_use]
    pub fn total(&self) -> SourceCount {
        self.counts().fold(SourceCount::default(), |sum, (_, count)| SourceCount {
            received: sum.received + count.received,
            lost: sum.lost + count.lost,
            doubled: sum.doubled + count.doubled,
            reordered: sum.reordered + count.reordered,
        })
    }
}

impl Source {
    fn note(&mut self, number: u32) {
        // The nearest unwrapped number to the highest that has these low 32 bits.
        let step = i64::from(number.wrapping_sub(self.highest as u32).cast_signed());
        let number = self.highest.wrapping_add_signed(step);
        if step > 0 {
            self.forget(number);
            self.highest = number;
        } else if self.highest - number >= WINDOW || number < self.first || self.is_seen(number) {
            self.count.doubled += 1;
            return;
        } else {
            self.count.reordered += 1;
        }
        self.seen[(number % WINDOW / 64) as usize] |= 1 << (number % 64);
        self.count.received += 1;
    }

    fn is_seen(&self, number: u64) -> bool {
        self.seen[(number % WINDOW / 64) as usize] >> (number % 64) & 1 == 1
    }

    /// Clears the places of the numbers between the highest and `number`.
    fn forget(&mut self, number: u64) {
        if number - self.highest >= WINDOW {
            self.seen.fill(0);
            return;
        }
        for place in self.highest + 1..=number {
            self.seen[(place % WINDOW / 64) as usize] &= !(1 << (place % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_doubles_and_late_ones() {
        let mut audit = SequenceAudit::from_first(0);
        for number in [1, 2, 5, 4, 4, 7] {
            audit.note(9, number);
        }
        let wanted = SourceCount { received: 5, lost: 3, doubled: 1, reordered: 1 };
        assert_eq!(audit.counts().collect::<Vec<_>>(), [(9, wanted)]);
    }

    #[test]
    fn numbers_wrap() {
        let mut audit = SequenceAudit::new();
        for number in (u32::MAX - 3..=u32::MAX).chain(0..4) {
            audit.note(1, number);
        }
        assert_eq!(audit.total(), SourceCount { received: 8, ..SourceCount::default() });
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            first in any::<u32>(),
            order in prop::collection::vec(0..300u32, 1..600),
        ) {
            let mut audit = SequenceAudit::from_first(first);
            let mut seen = BTreeSet::new();
            let mut wanted = SourceCount::default();
            for offset in &order {
                audit.note(3, first.wrapping_add(*offset));
                let late = seen.last().is_some_and(|highest| highest > offset);
                if !seen.insert(*offset) {
                    wanted.doubled += 1;
                } else {
                    wanted.received += 1;
                    wanted.reordered += u64::from(late);
                }
            }
            wanted.lost = u64::from(seen.last().copied().unwrap_or(0)) + 1 - wanted.received;
            prop_assert_eq!(audit.total(), wanted);
        }
    }
}
