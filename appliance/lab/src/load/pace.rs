//! When frames are due.

/// A schedule of evenly spaced frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    start_ns: u64,
    per_second: f64,
}

impl Pace {
    /// `per_second` frames from `start_ns` on; 0 means as many as go, each due when it is sent.
    #[must_use]
    pub fn new(start_ns: u64, per_second: f64) -> Self {
        Self { start_ns, per_second: per_second.max(0.0) }
    }

    /// Whether the schedule has times of its own.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.per_second > 0.0
    }

    /// Frames due by `now_ns`.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> u64 {
        let elapsed = now_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        // The first is due at once, so a started schedule is never empty.
        if now_ns < self.start_ns { 0 } else { (elapsed * self.per_second) as u64 + 1 }
    }

    /// When frame `number` (from 0) is due.
    #[must_use]
    pub fn time(&self, number: u64) -> u64 {
        if self.is_paced() { self.start_ns + (number as f64 * 1e9 / self.per_second) as u64 } else { self.start_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_are_due_when_their_time_has_come(rate in 0.1..1e8, number in 0..1_000_000u64) {
            let pace = Pace::new(1_000, rate);
            let time = pace.time(number);
            // Rounding may move a frame by one in its schedule, never by more.
            prop_assert!(pace.due(time).abs_diff(number + 1) <= 1, "{} at {time}", pace.due(time));
            prop_assert!(pace.time(number + 1) >= time);
        }
    }
}
