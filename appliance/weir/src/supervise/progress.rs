//! Health by progress: how long something that has work to do has not moved. A process that exists and sleeps on a lock, or
//! runs in a circle, is as dead as one that has ended.

use std::time::{Duration, Instant};

/// The most that one look adds. Whoever looks may have been stopped itself (a debugger, a frozen group, a loaded machine), and
/// what it did not see it must not hold against others.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// What is known of one process's progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    last: Option<(u64, Instant)>,
    still: Duration,
}

impl Progress {
    /// One look: `mark` changes with every bit of progress, `has_work` says whether there is anything to be done. Gives how
    /// long there was something to do and nothing was done.
    pub(crate) fn look(&mut self, mark: u64, has_work: bool, now: Instant) -> Duration {
        let moved = self.last.is_none_or(|(before, _)| before != mark);
        let passed = self.last.map_or(Duration::ZERO, |(_, before)| now.saturating_duration_since(before));
        self.last = Some((mark, now));
        self.still = if moved || !has_work { Duration::ZERO } else { self.still + passed.min(LONGEST_STEP) };
        self.still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn only_work_that_waits_makes_a_standstill() {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        let mut look = |mark, has_work, looks: u32| {
            (0..looks).fold(Duration::ZERO, |_, _| {
                now += TENTH;
                progress.look(mark, has_work, now)
            })
        };
        assert_eq!(look(1, true, 1), Duration::ZERO, "the first look knows nothing");
        assert_eq!(look(1, true, 30), TENTH * 30);
        assert_eq!(look(2, true, 1), Duration::ZERO, "one frame is progress");
        assert_eq!(look(2, false, 500), Duration::ZERO, "who has nothing to do may rest");
        assert_eq!(look(2, true, 2), TENTH * 2, "counted from when there was something to do");
    }

    #[test]
    fn who_looks_and_was_away_himself_holds_no_more_than_a_step_against_others() {
        let (mut progress, now) = (Progress::default(), Instant::now());
        progress.look(1, true, now);
        assert_eq!(progress.look(1, true, now + Duration::from_secs(3600)), LONGEST_STEP);
        assert_eq!(progress.look(1, true, now), LONGEST_STEP, "a clock never goes back");
    }
}
