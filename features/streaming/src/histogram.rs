//! Log-linear latency buckets: fixed memory, stated error, one shift and one add per sample.
//!
//! Values below 64 have a bucket each; every octave above is cut into 32 equal buckets. A bucket is read as its middle,
//! so a quantile is off by at most half a bucket: 1/64 of the value (1.6 %, inside the 3 % that the room promises).

/// Samples at or above this are not latencies but wrong clocks, and are counted apart: 60 s in nanoseconds.
pub const LATENCY_LIMIT_NS: u64 = 60_000_000_000;
/// Buckets of one histogram: 64 exact ones, then 32 for each octave from 2^6 to 2^35, which covers the limit.
pub const BUCKETS: usize = 1024;
/// In place of a bucket: the stamp is [`LATENCY_LIMIT_NS`] or more in the past.
pub const LATE: u64 = BUCKETS as u64;
/// In place of a bucket: the stamp lies in the future.
pub const EARLY: u64 = LATE + 1;
/// Largest relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 1.0 / 64.0;

/// Values below this have a bucket of their own.
pub(crate) const EXACT: u64 = 64;
const EXACT_BITS: u32 = EXACT.ilog2();
/// log2 of the buckets per octave.
const STEP_BITS: u32 = 5;

const _: () = assert!(bucket(LATENCY_LIMIT_NS - 1) < BUCKETS);
const _: () = assert!(bucket(EXACT) == EXACT as usize);

/// The bits of 2^52: below it, a double's lowest bit counts 1, so that `bits | value` is 2^52 + value.
pub(crate) const DOUBLE_WHOLE: u64 = 0x433 << 52;
/// Places behind the octave and the step in a double.
pub(crate) const DOUBLE_SHIFT: u32 = 52 - STEP_BITS;
/// Octave and step of the first logarithmic bucket, less the buckets before it.
pub(crate) const DOUBLE_BIAS: u64 = ((1023 + EXACT_BITS as u64) << STEP_BITS) - EXACT;

/// Bucket of a latency below [`LATENCY_LIMIT_NS`].
///
/// A double holds octave and step side by side, and every value below 2^52 is exact in it: one shift gives both, without
/// a branch, one by one or in a vector register.
#[inline(always)]
#[must_use]
pub const fn bucket(value: u64) -> usize {
    let double = f64::from_bits(DOUBLE_WHOLE | value) - f64::from_bits(DOUBLE_WHOLE);
    let logarithmic = (double.to_bits() >> DOUBLE_SHIFT).wrapping_sub(DOUBLE_BIAS);
    if value < EXACT { value as usize } else { logarithmic as usize }
}

/// The value a bucket is read as: its middle.
#[must_use]
pub const fn middle(bucket: usize) -> u64 {
    if bucket < EXACT as usize {
        return bucket as u64;
    }
    let above = bucket - EXACT as usize;
    let octave = (above >> STEP_BITS) as u32 + EXACT_BITS;
    let step = (above & ((1 << STEP_BITS) - 1)) as u64 + (1 << STEP_BITS);
    let width_bits = octave - STEP_BITS;
    (step << width_bits) + (1 << width_bits >> 1)
}

/// The values at `quantiles` (rising, each in 0..=1) of a histogram of `samples` samples; zeros when there are none.
///
/// A quantile q is the smallest value with at least `ceil(q * samples)` samples at or below it.
#[must_use]
pub fn quantiles<const N: usize>(counts: &[u32], samples: u64, quantiles: [f64; N]) -> [u64; N] {
    let mut values = [0; N];
    if samples == 0 {
        return values;
    }
    let mut seen = 0;
    let mut buckets = counts.iter().enumerate();
    let mut at = 0;
    for (value, quantile) in values.iter_mut().zip(quantiles) {
        let rank = ((quantile * samples as f64).ceil() as u64).clamp(1, samples);
        while seen < rank {
            let Some((index, count)) = buckets.next() else { break };
            seen += u64::from(*count);
            at = index;
        }
        *value = middle(at);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_read_within_the_error(value in 0..LATENCY_LIMIT_NS, shift in 0..36u32) {
            let value = value >> shift;
            let read = middle(bucket(value));
            prop_assert!(read.abs_diff(value) as f64 <= value as f64 * RELATIVE_ERROR, "{value} reads {read}");
        }

        #[test]
        fn buckets_rise_with_the_value(value in 0..LATENCY_LIMIT_NS - 1) {
            prop_assert!(bucket(value) <= bucket(value + 1));
            prop_assert!(bucket(value + 1) - bucket(value) <= 1);
        }

        #[test]
        fn quantiles_agree_with_a_sorted_list(mut values in prop::collection::vec(0..LATENCY_LIMIT_NS, 1..300)) {
            let mut counts = vec![0; BUCKETS];
            for value in &values {
                counts[bucket(*value)] += 1;
            }
            values.sort_unstable();
            let asked = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0];
            for (read, quantile) in quantiles(&counts, values.len() as u64, asked).into_iter().zip(asked) {
                let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
                let exact = values[rank - 1];
                prop_assert!(read.abs_diff(exact) as f64 <= exact as f64 * RELATIVE_ERROR, "{quantile}: {exact} {read}");
            }
        }
    }
}
