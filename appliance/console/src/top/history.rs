//! Rates: what counters did between two looks, and how that went over the last minutes.

use std::collections::{BTreeMap, VecDeque};

use weir_appliance_control::message::{Counters, Status};

/// What is done with frames, in the order in which the screen shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Series {
    Received,
    Passed,
    Forwarded,
    Mirrored,
    Delivered,
    Dropped,
}

impl Series {
    pub(super) const ALL: [Self; 6] =
        [Self::Received, Self::Passed, Self::Forwarded, Self::Mirrored, Self::Delivered, Self::Dropped];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Passed => "passed",
            Self::Forwarded => "forwarded",
            Self::Mirrored => "mirrored",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
        }
    }

    pub(super) fn count(self, counters: &Counters) -> u64 {
        match self {
            Self::Received => counters.received,
            Self::Passed => counters.passed,
            Self::Forwarded => counters.forwarded,
            Self::Mirrored => counters.mirrored,
            Self::Delivered => counters.delivered,
            Self::Dropped => counters.dropped_total(),
        }
    }
}

/// A look at the counters, in seconds from any start.
#[derive(Clone, Debug)]
struct Look {
    at: f64,
    counters: Counters,
    /// Events by feature.
    events: BTreeMap<String, u64>,
    /// Frames by feature.
    frames: BTreeMap<String, u64>,
}

impl Look {
    fn new(at: f64, status: &Status) -> Self {
        let by_feature = |count: fn(&weir_appliance_control::message::FeatureStatus) -> u64| {
            status.features.iter().map(|feature| (feature.name.to_string(), count(feature))).collect()
        };
        let (events, frames) = (by_feature(|feature| feature.events), by_feature(|feature| feature.frames));
        Self { at, counters: status.counters.clone(), events, frames }
    }
}

/// The last looks, as rates.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    before: Option<Look>,
    last: Option<Look>,
    series: BTreeMap<Series, VecDeque<f64>>,
}

impl History {
    /// How many rates are kept: the widest screen's sparkline.
    const KEPT: usize = 512;

    /// Takes a look. Counters that went back are those of a new start: the history begins again.
    pub(super) fn look(&mut self, at: f64, status: &Status) {
        if self.last.as_ref().is_some_and(|last| status.counters.received < last.counters.received) {
            *self = Self::default();
        }
        let now = Look::new(at, status);
        self.before = self.last.replace(now);
        if self.before.is_none() {
            return;
        }
        for which in Series::ALL {
            let rate = self.rate(|look| which.count(&look.counters));
            let series = self.series.entry(which).or_default();
            series.push_back(rate);
            if series.len() > Self::KEPT {
                series.pop_front();
            }
        }
    }

    /// How much a count grew a second between the last two looks; 0 before the second look.
    fn rate(&self, count: impl Fn(&Look) -> u64) -> f64 {
        let (Some(before), Some(last)) = (&self.before, &self.last) else { return 0.0 };
        let seconds = last.at - before.at;
        if seconds <= 0.0 {
            return 0.0;
        }
        count(last).saturating_sub(count(before)) as f64 / seconds
    }

    pub(super) fn frames(&self, which: Series) -> f64 {
        self.rate(|look| which.count(&look.counters))
    }

    pub(super) fn dropped(&self, reason: &str) -> f64 {
        self.rate(|look| look.counters.dropped.get(reason).copied().unwrap_or(0))
    }

    pub(super) fn noted(&self, reason: &str) -> f64 {
        self.rate(|look| look.counters.noted.get(reason).copied().unwrap_or(0))
    }

    pub(super) fn taken(&self, taker: &str) -> f64 {
        self.rate(|look| look.counters.per_taker.get(taker).copied().unwrap_or(0))
    }

    pub(super) fn feature_frames(&self, feature: &str) -> f64 {
        self.rate(|look| look.frames.get(feature).copied().unwrap_or(0))
    }

    pub(super) fn feature_events(&self, feature: &str) -> f64 {
        self.rate(|look| look.events.get(feature).copied().unwrap_or(0))
    }

    /// The last so many rates of a series, the oldest first.
    pub(super) fn series(&self, which: Series, most: usize) -> impl Iterator<Item = f64> {
        let series = self.series.get(&which);
        let skip = series.map_or(0, |series| series.len().saturating_sub(most));
        series.into_iter().flatten().skip(skip).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(received: u64) -> Status {
        Status { counters: Counters { received, passed: received, ..Counters::default() }, ..Status::default() }
    }

    #[test]
    fn rates_are_between_looks_and_a_new_start_begins_again() {
        let mut history = History::default();
        history.look(0.0, &status(1000));
        assert_eq!(history.frames(Series::Received), 0.0);
        history.look(0.5, &status(2000));
        history.look(1.5, &status(3000));
        assert_eq!(history.frames(Series::Received), 1000.0);
        assert_eq!(history.series(Series::Passed, 9).collect::<Vec<_>>(), [2000.0, 1000.0]);
        assert_eq!(history.series(Series::Passed, 1).collect::<Vec<_>>(), [1000.0]);
        history.look(1.5, &status(4000));
        assert_eq!(history.frames(Series::Received), 0.0, "two looks in one instant have no rate");
        history.look(2.0, &status(5));
        assert_eq!((history.frames(Series::Received), history.series(Series::Passed, 9).count()), (0.0, 0));
    }
}
