//! So many events a second: a token bucket that goes into debt for the batch that empties it.
//!
//! Events come in batches of up to 4,096 and the limit may be far lower than that, so a batch is let through whole while
//! nothing is owed, and paid for afterwards. Over time exactly the limit passes; in any stretch of time at most what
//! the limit gives, the credit that was saved, and one batch.

const SECOND: u64 = 1_000_000_000;
/// Credit saved while nobody asked: 1 % of a second's.
const SAVED_IDLE_NS: u64 = SECOND / 100;
/// Credit saved while somebody was turned away: a caller that the scheduler kept waiting gets what it waited for.
const SAVED_WAITING_NS: u64 = SECOND / 10;

/// The limit. Time is what the caller says it is, in nanoseconds of a clock that does not go back.
#[derive(Debug, Default)]
pub struct RateLimit {
    per_second: u32,
    /// When the account stands at zero; before that, something is owed.
    even_at_ns: u64,
    /// Parts of a nanosecond owed besides, in nanoseconds / `per_second`.
    remainder: u64,
    turned_away: bool,
}

impl RateLimit {
    /// Lets `per_second` events through from `now_ns` on; 0 is no limit. Saved credit and debt are forgotten.
    pub fn set(&mut self, per_second: u32, now_ns: u64) {
        *self = Self { per_second, even_at_ns: now_ns, ..Self::default() };
    }

    /// Events a second, 0 for no limit.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Nanoseconds until a batch is let through; `None`: now.
    pub fn wait_ns(&mut self, now_ns: u64) -> Option<u64> {
        let wait = self.even_at_ns.saturating_sub(now_ns);
        if self.per_second == 0 || wait == 0 {
            return None;
        }
        self.turned_away = true;
        Some(wait)
    }

    /// Books `events` as let through at `now_ns`.
    pub fn charge(&mut self, events: usize, now_ns: u64) {
        if self.per_second == 0 {
            return;
        }
        let saved = if self.turned_away { SAVED_WAITING_NS } else { SAVED_IDLE_NS };
        let from = self.even_at_ns.max(now_ns.saturating_sub(saved));
        // The remainder is carried on, so that rates that do not divide a second are met exactly in the long run.
        let cost = events as u128 * u128::from(SECOND) + u128::from(self.remainder);
        let (whole, rest) = (cost / u128::from(self.per_second), cost % u128::from(self.per_second));
        self.even_at_ns = from.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        self.remainder = rest as u64; // below `per_second`, which is a u32
        // Until the credit of the wait is used up, it was a wait and no rest.
        self.turned_away &= self.even_at_ns.saturating_add(SAVED_IDLE_NS) < now_ns;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events that pass in `for_ns` when `batch` of them are offered every `step_ns`.
    fn passed(limit: &mut RateLimit, start: u64, for_ns: u64, step_ns: u64, batch: usize) -> u64 {
        let mut passed = 0;
        for now in (start..start + for_ns).step_by(step_ns as usize) {
            if limit.wait_ns(now).is_none() {
                limit.charge(batch, now);
                passed += batch as u64;
            }
        }
        passed
    }

    #[test]
    fn steps_of_the_limit_are_followed_within_a_hundredth() {
        let mut limit = RateLimit::default();
        let mut now = 5 * SECOND;
        for per_second in [1_000, 10_000, 7_777, 1_000_000, 333, 50_000_000] {
            limit.set(per_second, now);
            let batch = (per_second / 200).clamp(1, 4096) as usize;
            let step = SECOND * batch as u64 / u64::from(per_second) / 7 + 1; // seven times as often as may pass
            let passed = passed(&mut limit, now, SECOND, step, batch);
            let error = passed.abs_diff(u64::from(per_second));
            assert!(error * 100 <= u64::from(per_second), "{passed} passed at a limit of {per_second}");
            now += SECOND;
        }
    }

    #[test]
    fn zero_is_no_limit_and_rest_is_hardly_saved() {
        let mut limit = RateLimit::default();
        assert_eq!(passed(&mut limit, 0, SECOND, 1_000_000, 4096), 4_096_000);
        limit.set(100_000, SECOND);
        // After an hour without demand a second brings one per cent more than the limit, and no hour's worth.
        let passed = passed(&mut limit, 3_600 * SECOND, SECOND, 10_000, 100);
        assert!((100_000..=101_100).contains(&passed), "{passed}");
    }

    #[test]
    fn a_caller_that_was_kept_waiting_gets_what_it_waited_for() {
        let mut limit = RateLimit::default();
        limit.set(1000, 0);
        limit.charge(1, 0);
        assert_eq!(limit.wait_ns(999_999), Some(1));
        // Kept from the processor for 50 ms, then it sends as fast as it may.
        assert_eq!(passed(&mut limit, 51_000_000, 1_000, 1, 1), 51);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_the_savings_and_a_batch(
            per_second in 1_u32..2_000_000,
            offers in prop::collection::vec((0_u64..20_000_000, 1_usize..4097), 1..200),
        ) {
            let mut limit = RateLimit::default();
            limit.set(per_second, 0);
            let (mut now, mut passed, mut last) = (0, 0_u128, 0_u128);
            for (pause, batch) in offers {
                now += pause;
                if limit.wait_ns(now).is_none() {
                    limit.charge(batch, now);
                    passed += batch as u128;
                    last = batch as u128;
                }
            }
            let most = u128::from(now + SAVED_WAITING_NS) * u128::from(per_second) / u128::from(SECOND) + last + 1;
            prop_assert!(passed <= most, "{} of at most {}", passed, most);
        }
    }
}
