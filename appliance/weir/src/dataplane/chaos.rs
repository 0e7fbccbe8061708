//! What somebody breaks on purpose, to see that the rest does not notice: a feature that is slow, or hangs at its start.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use weir_appliance_control::message::{Done, SLOWEST_FOR, SLOWEST_US};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::FeatureName;

use super::control::internal;
use super::lock;
use super::supervised::Supervised;
use crate::supervise::{Hang, Heard};

/// A wish, and when it ends by itself.
struct Slow {
    delay: Duration,
    until: Instant,
}

/// What is broken on purpose. Nothing of it is saved: a restart ends it.
#[derive(Default)]
pub(super) struct Chaos {
    slow: Mutex<BTreeMap<String, Slow>>,
}

impl Chaos {
    /// Has the workers of `feature` rest after each batch. In force within a few milliseconds, for those that are
    /// started meanwhile too.
    ///
    /// # Errors
    /// A delay or a time beyond what is allowed.
    pub(super) fn slow(&self, feature: FeatureName, delay_us: u64, seconds: u64) -> Result<Done, Problem> {
        if delay_us > SLOWEST_US {
            return Err(Problem::new(
                format!("{delay_us} us"),
                "a worker rests at most 1 s after a batch",
                "write 1s or less",
            ));
        }
        let time = Duration::from_secs(seconds);
        if time > SLOWEST_FOR || seconds == 0 {
            return Err(too_long(seconds, "is slow"));
        }
        let delay = Duration::from_micros(delay_us);
        let mut slow = lock(&self.slow);
        let text = if delay.is_zero() {
            slow.remove(feature.as_str());
            format!("{feature} is as fast as it can be")
        } else {
            slow.insert(feature.as_str().to_owned(), Slow { delay, until: Instant::now() + time });
            tracing::warn!("{feature} is made slow on purpose: {delay:?} after each batch, for {time:?}");
            format!("{feature} rests {delay:?} after each batch, for {time:?}")
        };
        Ok(done(text))
    }

    /// How long a worker of the feature `name` rests after each batch now.
    pub(super) fn delay(&self, name: &str) -> Duration {
        let mut slow = lock(&self.slow);
        slow.retain(|_, wish| wish.until > Instant::now());
        slow.get(name).map_or(Duration::ZERO, |wish| wish.delay)
    }
}

/// Has the workers of `feature` hang at their start. Who starts them is the supervisor: it is told, and forgets it by itself.
///
/// # Errors
/// A time beyond what is allowed, or the supervisor does not listen.
pub(super) fn hang(
    supervised: &Supervised,
    feature: FeatureName,
    after_hello: bool,
    seconds: u64,
) -> Result<Done, Problem> {
    if Duration::from_secs(seconds) > SLOWEST_FOR {
        return Err(too_long(seconds, "hangs"));
    }
    let hang = if after_hello { Hang::AfterHello } else { Hang::BeforeHello };
    supervised.say(&Heard::Hang { feature, hang, seconds }).map_err(internal)?;
    Ok(done(match seconds {
        0 => format!("workers of {feature} start as they should"),
        _ => format!("workers of {feature} that start within {seconds} s hang {hang}"),
    }))
}

fn too_long(seconds: u64, what: &str) -> Problem {
    Problem::new(
        format!("{seconds} s"),
        format!("a feature {what} on purpose for 1 second to 1 hour"),
        "write a time between, and ask again when it is over",
    )
}

fn done(text: String) -> Done {
    Done { text, saved: false, unsaved_because: Some("what is broken on purpose is never saved".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ends_by_itself_or_when_it_is_taken_back() {
        let chaos = Chaos::default();
        let streaming = FeatureName::STREAMING;
        let done = chaos.slow(streaming, 5_000, 60).unwrap();
        assert!(!done.saved && done.text.contains("5ms"), "{done:?}");
        assert_eq!(chaos.delay("streaming"), Duration::from_millis(5));
        assert_eq!(chaos.delay("test1"), Duration::ZERO);
        lock(&chaos.slow).get_mut("streaming").unwrap().until = Instant::now();
        assert_eq!(chaos.delay("streaming"), Duration::ZERO);
        chaos.slow(streaming, 5_000, 60).unwrap();
        chaos.slow(streaming, 0, 60).unwrap();
        assert_eq!(chaos.delay("streaming"), Duration::ZERO);
    }

    #[test]
    fn what_would_be_a_dead_feature_is_refused() {
        let chaos = Chaos::default();
        for (delay_us, seconds, cause) in [(1_000_001, 1, "at most 1 s"), (5, 0, "1 second"), (5, 3601, "1 hour")] {
            let problem = chaos.slow(FeatureName::STREAMING, delay_us, seconds).unwrap_err().to_string();
            assert!(problem.contains(cause), "{problem}");
        }
        assert_eq!(chaos.delay("streaming"), Duration::ZERO);
    }
}
