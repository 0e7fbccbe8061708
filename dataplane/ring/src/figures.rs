//! Figures in memory that outlives whoever writes them: after a sudden death they are whole, as of the last write.
//!
//! ```text
//! chosen │ bank 0 │ bank 1      a write fills the bank that is not chosen, then chooses it
//! ```

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::memory::{Memory, RingError, SharedSlots, SharedU64};

/// `N` figures that one thread writes together.
pub struct LastFigures<const N: usize> {
    chosen: SharedU64,
    banks: SharedSlots<N>,
}

impl<const N: usize> LastFigures<N> {
    /// 64-bit words of memory that they take.
    pub const WORDS: usize = 1 + 2 * N;

    /// Lays them over writable `memory` from word `word` on. In new memory, which is zero, all are 0.
    ///
    /// # Errors
    /// [`RingError`] when less than [`LastFigures::WORDS`] words are there.
    pub fn at(memory: &Arc<dyn Memory>, word: usize) -> Result<Self, RingError> {
        let chosen = SharedU64::at(memory, word.saturating_mul(8), "the chosen bank of figures")?;
        let banks = SharedSlots::at(memory, word.saturating_add(1).saturating_mul(8), 2, "two banks of figures")?;
        Ok(Self { chosen, banks })
    }

    /// What was written last; zeros before that. For the writer, or for who knows that it is dead.
    #[inline]
    pub fn last(&self) -> [u64; N] {
        let bank = self.banks.slot(self.chosen.load(Ordering::Acquire) as u32); // the lowest bit counts
        std::array::from_fn(|at| bank.get(at).map_or(0, |word| word.load(Ordering::Relaxed)))
    }

    /// Writes all figures. If the writer dies in the middle, the ones before stand.
    #[inline]
    pub fn write(&self, figures: &[u64; N]) {
        let next = self.chosen.load(Ordering::Relaxed).wrapping_add(1);
        // The former choice is made before the bank that it left is touched.
        fence(Ordering::Release);
        self.banks.slot(next as u32).iter().zip(figures).for_each(|(word, new)| word.store(*new, Ordering::Relaxed));
        self.chosen.store(next, Ordering::Release);
    }
}

/// Words in shared memory that are read and written now and then, each for itself.
pub struct SharedWords(Vec<SharedU64>);

impl SharedWords {
    /// Lays `count` words over writable `memory` from word `word` on.
    ///
    /// # Errors
    /// [`RingError`] when they do not fit.
    pub fn at(memory: &Arc<dyn Memory>, word: usize, count: usize) -> Result<Self, RingError> {
        let place = |at: usize| SharedU64::at(memory, word.saturating_add(at).saturating_mul(8), "shared words");
        (0..count).map(place).collect::<Result<_, _>>().map(Self)
    }

    /// The word at `at` (acquire); 0 behind the last.
    pub fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores the word at `at` (release); nothing behind the last.
    pub fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// Stores the word at `at` unless it is higher already: for what only grows and several threads look at.
    pub fn raise(&self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.fetch_max(value, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    const N: usize = 5;
    const WORDS: usize = LastFigures::<N>::WORDS;

    #[test]
    fn a_death_in_the_middle_of_a_write_leaves_what_was_before() {
        let memory: Arc<dyn Memory> = HeapMemory::zeroed(WORDS * 8);
        let words = SharedWords::at(&memory, 0, WORDS).expect("they fit");
        let figures = LastFigures::<N>::at(&memory, 0).expect("they fit");
        let copy = || (0..WORDS).map(|at| words.get(at)).collect::<Vec<_>>();
        let put = |all: &[u64]| all.iter().enumerate().for_each(|(at, word)| words.set(at, *word));
        let mut old = [0; N];
        for round in 1..5 {
            assert_eq!(figures.last(), old);
            let before = copy();
            let new = std::array::from_fn(|at| round * 100 + at as u64);
            figures.write(&new);
            let after = copy();
            // Words reach memory in the order in which they are written: a bank's, then the choice.
            let mut torn = before;
            for place in (1..WORDS).chain([0]) {
                put(&torn);
                assert_eq!(figures.last(), old, "before word {place}");
                torn[place] = after[place];
            }
            assert_eq!(torn, after);
            put(&after);
            old = new;
        }
    }

    #[test]
    fn memory_that_is_too_short_is_refused() {
        let memory: Arc<dyn Memory> = HeapMemory::zeroed(WORDS * 8);
        assert!(LastFigures::<N>::at(&memory, 1).is_err());
        assert!(LastFigures::<N>::at(&memory, usize::MAX).is_err());
        assert!(SharedWords::at(&memory, 1, WORDS).is_err());
        let words = SharedWords::at(&memory, 0, 2).expect("they fit");
        words.set(2, 7);
        words.raise(1, 5);
        words.raise(1, 4);
        assert_eq!((words.get(2), words.get(1)), (0, 5));
    }
}
