//! Time, as stores and deadlines ask for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Two clocks: one that nobody can set, for everything that waits, and one for people.
pub trait Clock: Send + Sync {
    /// Time since some moment, never set and never backwards. It starts anew with the process.
    fn monotonic(&self) -> Duration;

    /// Milliseconds since 1970. It may jump; nothing is decided by it.
    fn wall_ms(&self) -> u64;
}

/// The clocks of this host.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64) // good for 10^8 years
    }
}

/// Clocks that stand until somebody moves them, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<(Duration, u64)>,
}

impl ManualClock {
    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 += by;
        now.1 += by.as_millis() as u64; // tests do not advance by ages
    }

    /// Sets the wall clock, as an operator or a time server does.
    pub fn set_wall_ms(&self, to: u64) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1 = to;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn wall_ms(&self) -> u64 {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
