//! Times in logarithmic buckets: sixteen for each power of two from 16 ns on, so that a bucket is at most a sixteenth wide.

use serde::{Deserialize, Serialize};

/// Buckets: up to 2^36 ns, which is 68 s; what is longer is in the last.
pub const BUCKETS: usize = 33 * STEPS;
/// Buckets of one power of two.
const STEPS: usize = 16;
/// Bits of [`STEPS`].
const BITS: u32 = STEPS.ilog2();

/// The bucket of a time in nanoseconds: four bits behind the leading one.
#[must_use]
pub const fn bucket(ns: u64) -> usize {
    let value = if ns < STEPS as u64 { STEPS as u64 } else { ns };
    let power = value.ilog2();
    let index = (power - BITS) as usize * STEPS + ((value >> (power - BITS)) & (STEPS as u64 - 1)) as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// First nanosecond of a bucket and of the next.
#[must_use]
pub const fn edges(index: usize) -> (u64, u64) {
    let (power, part) = ((index / STEPS) as u32, (index % STEPS) as u64);
    let first = (STEPS as u64 + part) << power;
    (first, first + (1 << power))
}

/// How many times there were in each bucket. Written as the first bucket in use and the counts from there on, `120:3,14,,2`:
/// a window has a hundred of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Histogram {
    first: usize,
    /// No zero at either end.
    counts: Vec<u64>,
}

impl Histogram {
    /// The histogram of these counts, by bucket; those beyond the last bucket are left out.
    #[must_use]
    pub fn of(counts: &[u64]) -> Self {
        let counts = counts.get(..counts.len().min(BUCKETS)).unwrap_or_default();
        let Some(first) = counts.iter().position(|count| *count > 0) else { return Self::default() };
        let last = counts.iter().rposition(|count| *count > 0).unwrap_or(first);
        Self { first, counts: counts.get(first..=last).unwrap_or_default().to_vec() }
    }

    /// Whether it counts nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many times it counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn count(&self, bucket: usize) -> u64 {
        bucket.checked_sub(self.first).and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }

    /// Both together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let first = self.first.min(other.first);
        let end = (self.first + self.counts.len()).max(other.first + other.counts.len());
        let counts = (first..end).map(|at| self.count(at).saturating_add(other.count(at))).collect();
        Self { first, counts }
    }

    /// The value in nanoseconds below which a share `quantile` of the times lies; evenly spread within its bucket, since a
    /// bucket is wider than the differences that are looked for. `None` without any.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (index, count) in (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= rank {
                let (start, end) = edges(index);
                return Some(start as f64 + (end - start) as f64 * (rank - below) / count);
            }
            below += count;
        }
        None
    }
}

impl From<Histogram> for String {
    fn from(histogram: Histogram) -> Self {
        if histogram.is_empty() {
            return String::new();
        }
        let counts = histogram.counts.iter().map(|count| if *count == 0 { String::new() } else { count.to_string() });
        format!("{}:{}", histogram.first, counts.collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for Histogram {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let refuse = || format!("`{text}` is no histogram; write it as 120:3,14,,2");
        let (first, counts) = text.split_once(':').ok_or_else(refuse)?;
        let first: usize = first.parse().map_err(|_| refuse())?;
        let one = |count: &str| if count.is_empty() { Ok(0) } else { count.parse::<u64>() };
        let counts: Vec<u64> = counts.split(',').map(one).collect::<Result<_, _>>().map_err(|_| refuse())?;
        if first >= BUCKETS || first + counts.len() > BUCKETS || counts.first() == Some(&0) || counts.last() == Some(&0)
        {
            return Err(refuse());
        }
        Ok(Self { first, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_times_and_buckets_touch() {
        for ns in [0, 15, 16, 17, 31, 32, 33, 1_000, 123_456, 5_000_000, 67_000_000_000] {
            let (start, end) = edges(bucket(ns));
            assert!((start..end).contains(&ns.max(16)), "{ns} in {start}..{end}");
        }
        for index in 1..BUCKETS {
            assert_eq!(edges(index - 1).1, edges(index).0);
            assert_eq!(bucket(edges(index).0), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_where_they_belong() {
        let mut counts = vec![0; BUCKETS];
        (1..=10_000_u64).for_each(|at| counts[bucket(at * 100)] += 1);
        let histogram = Histogram::of(&counts);
        for (quantile, due) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.01, 10_000.0)] {
            let read = histogram.quantile(quantile).unwrap();
            assert!((read - due).abs() < due * 0.01, "{quantile}: {read}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_histogram_reads_back_from_its_text() {
        let mut counts = vec![0; BUCKETS];
        (counts[120], counts[121], counts[123]) = (3, 14, 2);
        let histogram = Histogram::of(&counts);
        assert_eq!(String::from(histogram.clone()), "120:3,14,,2");
        assert_eq!(Histogram::try_from("120:3,14,,2".to_owned()), Ok(histogram.clone()));
        let both = histogram.with(&Histogram::try_from("118:1".to_owned()).unwrap());
        assert_eq!(String::from(both), "118:1,,3,14,,2");
        for bad in ["x", "1", ":", "1:", "1:0,1", "1:1,", "528:1", "1:-1", "1:1;2"] {
            assert!(Histogram::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
