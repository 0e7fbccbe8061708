//! Questions to a column of 64 words: where a value stands, and which is the least.

use crate::simd::{Simd, with_lanes};

/// Words of a column: as many as a word has bits for the answers.
pub const COLUMN: usize = 64;
/// A column, whole cache lines of it.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(pub [u64; COLUMN]);

/// Words compared at a time.
#[cfg(target_arch = "x86_64")]
const LANES: usize = 8;

impl Column {
    /// Zeros.
    pub const EMPTY: Self = Self([0; COLUMN]);

    /// The first place below `length` whose word is `value`.
    #[inline]
    #[must_use]
    pub fn position(&self, simd: Simd, length: usize, value: u64) -> Option<usize> {
        let words = &self.0;
        with_lanes!(
            simd,
            words.iter().take(length).position(|word| *word == value),
            lanes => position(lanes, words, length, value)
        )
    }

    /// The least of all words.
    #[inline]
    #[must_use]
    pub fn least(&self, simd: Simd) -> u64 {
        let words = &self.0;
        with_lanes!(simd, words.iter().copied().min().unwrap_or(0), lanes => least(lanes, words))
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn position<S: fearless_simd::Simd>(lanes: S, words: &[u64; COLUMN], length: usize, value: u64) -> Option<usize> {
    use fearless_simd::{SimdBase, SimdFrom, SimdMask, u64x8};

    let wanted = u64x8::splat(lanes, value);
    let (eights, _) = words.as_chunks::<LANES>();
    let eights = eights.iter().zip(0..).take(length.div_ceil(LANES));
    // All are compared, one bit for each place: where it stood would be a branch that nobody can foresee.
    let found = eights.fold(0, |found, (eight, number)| {
        found | u64x8::simd_from(lanes, *eight).simd_eq(wanted).to_bitmask() << (number * LANES)
    });
    let place = found.trailing_zeros() as usize;
    (place < length).then_some(place)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn least<S: fearless_simd::Simd>(lanes: S, words: &[u64; COLUMN]) -> u64 {
    use fearless_simd::{SimdBase, SimdFrom, u64x8};

    let (eights, _) = words.as_chunks::<LANES>();
    let least =
        eights.iter().fold(u64x8::splat(lanes, u64::MAX), |least, eight| least.min(u64x8::simd_from(lanes, *eight)));
    least.reduce_min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_set_of_instructions_gives_the_same(
            words in prop::collection::vec(prop_oneof![0..4u64, any::<u64>()], COLUMN),
            length in 0..=COLUMN,
            value in 0..4u64,
        ) {
            let column = Column(words.clone().try_into().expect("as many as a column has"));
            for simd in Simd::available() {
                let wanted = words[..length].iter().position(|word| *word == value);
                prop_assert_eq!(column.position(simd, length, value), wanted, "{}", simd.name());
                prop_assert_eq!(Some(column.least(simd)), words.iter().copied().min(), "{}", simd.name());
            }
        }
    }
}
