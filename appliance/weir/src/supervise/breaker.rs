//! When a feature is given up: so many deaths in so much time. It has no clock of its own.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// Counts deaths; [`Breaker::died`] says which one is one too many.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    limit: usize,
    within: Duration,
    /// The latest deaths, oldest first: as many as the limit at most.
    deaths: VecDeque<Instant>,
}

impl Breaker {
    /// One that opens at the `limit`-th death `within` this time.
    pub(super) fn new(limit: u32, within: Duration) -> Self {
        let limit = limit.max(1) as usize;
        Self { limit, within, deaths: VecDeque::with_capacity(limit) }
    }

    /// A death at `now`; true when with it there are as many as the limit within the time.
    pub(super) fn died(&mut self, now: Instant) -> bool {
        if self.deaths.len() == self.limit {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        let first = self.deaths.front().filter(|_| self.deaths.len() == self.limit);
        first.is_some_and(|first| now.saturating_duration_since(*first) <= self.within)
    }

    /// Takes back the deaths since `since`: they were not the feature's fault.
    pub(super) fn forgive(&mut self, since: Instant) {
        self.deaths.retain(|death| *death < since);
    }

    /// Forgets all deaths.
    pub(super) fn reset(&mut self) {
        self.deaths.clear();
    }
}

/// What a feature did that it opened for.
impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "died {} times within {} s", self.limit, self.within.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What can happen, so many milliseconds after the last thing.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Death(u64),
        Forgiveness(u64, u64),
        Reset,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..4_000_u64).prop_map(Step::Death),
            1 => (0..4_000_u64, 0..3_000_u64).prop_map(|(after, back)| Step::Forgiveness(after, back)),
            1 => Just(Step::Reset),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Against the plain meaning: of all deaths that still count, how many lie within the time?
        #[test]
        fn it_opens_at_the_limit_and_not_before(limit in 1..8_u32, within_ms in 1..20_000_u64, steps in steps()) {
            let within = Duration::from_millis(within_ms);
            let (mut breaker, mut counted) = (Breaker::new(limit, within), Vec::new());
            // Far enough from the clock's beginning to look back.
            let mut now = Instant::now() + Duration::from_secs(60);
            for step in steps {
                match step {
                    Step::Death(after) => {
                        now += Duration::from_millis(after);
                        counted.push(now);
                        let near = counted.iter().filter(|death| now.duration_since(**death) <= within).count();
                        prop_assert_eq!(breaker.died(now), near >= limit as usize);
                    }
                    Step::Forgiveness(after, back) => {
                        now += Duration::from_millis(after);
                        let since = now - Duration::from_millis(back);
                        breaker.forgive(since);
                        counted.retain(|death| *death < since);
                        // It keeps no more than it needs, so what is older than those it kept is no deed of its.
                        let kept = counted.len().saturating_sub(breaker.deaths.len());
                        counted.drain(..kept);
                    }
                    Step::Reset => {
                        breaker.reset();
                        counted.clear();
                    }
                }
            }
        }
    }
}
