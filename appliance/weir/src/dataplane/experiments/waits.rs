//! How long frames waited, as workers report it: counts by taker and class since the dataplane started.

use std::collections::BTreeMap;
use std::sync::Mutex;

use weir_dataplane_ring::Record;
use weir_ebpf_abi::layout::MAX_CLASSES;
use weir_features_worker::waits::{BUCKETS, ID, KIND_WAITS, WaitRow};
use zerocopy::FromBytes;

/// Counts by bucket, of flows with an even bucket number and of those with an odd one.
pub(super) type Halves = [Vec<u64>; 2];

pub(super) fn none() -> Halves {
    [vec![0; BUCKETS], vec![0; BUCKETS]]
}

/// What was reported so far. At most one entry for each taker and class there can be.
#[derive(Default)]
pub(super) struct Waits {
    counts: Mutex<BTreeMap<(String, u8), Halves>>,
}

impl Waits {
    /// Takes in a record of `taker`, if it is one of these.
    pub(super) fn take(&self, taker: &str, record: &Record) -> bool {
        if (record.feature, record.kind) != (ID, KIND_WAITS) {
            return false;
        }
        let Ok((row, _)) = WaitRow::read_from_prefix(&record.body) else { return true };
        // A worker may write what it likes: what cannot be is left out.
        if usize::from(row.class) < MAX_CLASSES && row.half < 2 {
            let mut counts = super::super::lock(&self.counts);
            let halves = counts.entry((taker.to_owned(), row.class)).or_insert_with(none);
            for count in row.used() {
                if let Some(sum) = halves[usize::from(row.half)].get_mut(usize::from(count.bucket)) {
                    *sum = sum.wrapping_add(u64::from(count.count));
                }
            }
        }
        true
    }

    /// The counts of these takers and classes together.
    pub(super) fn of<'a>(&self, measured: impl Iterator<Item = (&'a str, u8)>) -> Halves {
        let counts = super::super::lock(&self.counts);
        let mut sum = none();
        for (taker, class) in measured {
            let Some(found) = counts.get(&(taker.to_owned(), class)) else { continue };
            for (sum, half) in sum.iter_mut().zip(found) {
                sum.iter_mut().zip(half).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_features_worker::waits::{WaitCount, bucket};
    use zerocopy::IntoBytes;

    #[test]
    fn workers_and_experiments_have_the_same_buckets() {
        assert_eq!(BUCKETS, weir_appliance_experiment::BUCKETS);
        for shift in 0..64 {
            for ns in [1_u64 << shift, (1 << shift) + (1 << shift >> 2), (1_u64 << shift).wrapping_sub(1)] {
                assert_eq!(bucket(ns), weir_appliance_experiment::bucket(ns), "{ns}");
            }
        }
    }

    #[test]
    fn what_a_worker_reports_adds_up_and_what_cannot_be_is_left_out() {
        let waits = Waits::default();
        let put = |class, half, bucket| {
            let mut row = WaitRow { class, half, used: 1, ..WaitRow::default() };
            row.counts[0] = WaitCount { bucket, count: 3 };
            waits.take("test1", &Record::new(ID, KIND_WAITS, 1, row.as_bytes()).expect("a record"))
        };
        for (class, half, bucket) in [(2, 0, 100), (2, 0, 100), (2, 1, 7), (200, 0, 1), (2, 9, 1), (2, 0, 60_000)] {
            assert!(put(class, half, bucket));
        }
        let sum = waits.of([("test1", 2), ("test1", 3), ("test2", 2)].into_iter());
        assert_eq!((sum[0][100], sum[1][7]), (6, 3));
        assert_eq!(sum.iter().flatten().sum::<u64>(), 9);
        assert!(!waits.take("test1", &Record::new(1, KIND_WAITS, 1, &[]).expect("a record")), "a feature's own");
    }
}
