//! What a load run came to.

use hdrhistogram::Histogram;

use super::meter::Meter;

/// Latency quantiles in nanoseconds, from the time a frame was due.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// Samples.
    pub samples: u64,
    /// Asked percentiles and their values.
    pub percentiles: Vec<(f64, u64)>,
    /// Longest.
    pub max_ns: u64,
}

impl Latency {
    /// Reads `percentiles` (0 to 100) off a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>, percentiles: &[f64]) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            samples: histogram.len(),
            percentiles: percentiles.iter().map(|at| (*at, histogram.value_at_percentile(*at))).collect(),
            max_ns: histogram.max(),
        }
    }

    /// The value at one of the asked percentiles.
    #[must_use]
    pub fn at(&self, percentile: f64) -> Option<u64> {
        self.percentiles.iter().find(|(at, _)| *at == percentile).map(|(_, value)| *value)
    }
}

/// One source's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceOutcome {
    /// Source agent.
    pub source: u32,
    /// Frames sent.
    pub sent: u64,
    /// Different frames received.
    pub received: u64,
    /// Frames sent and never received.
    pub lost: u64,
    /// Frames received again.
    pub doubled: u64,
    /// Frames received after a later one.
    pub reordered: u64,
}

/// A run's result. It names its rig, its generator and its mode, without which its figures mean nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What the frames went through: `memory`, `veth pair`, ...
    pub rig: String,
    /// What sent them.
    pub generator: String,
    /// How they were received: `zero-copy`, `native-copy`, `generic`, `memory`, `udp`.
    pub mode: String,
    /// Factor on rates and durations that the figures were taken at.
    pub scale: f64,
    /// Frames that were due.
    pub offered: u64,
    /// Frames that were sent; fewer than offered when the generator could not keep up.
    pub sent: u64,
    /// Events in these frames.
    pub events_sent: u64,
    /// Frames received, doubled ones included.
    pub received: u64,
    /// Frames received that were no message.
    pub strange: u64,
    /// Bytes of messages received.
    pub bytes: u64,
    /// From the first frame due to the last one sent, in seconds.
    pub seconds: f64,
    /// How far sending fell behind the schedule at worst, in nanoseconds.
    pub behind_ns: u64,
    /// Frames of each source.
    pub sources: Vec<SourceOutcome>,
    /// Latencies; without samples where the receiver could not tell.
    pub latency: Latency,
}

impl Outcome {
    /// Sums over all sources.
    #[must_use]
    pub fn total(&self) -> SourceOutcome {
        self.sources.iter().fold(SourceOutcome::default(), |sum, source| SourceOutcome {
            source: 0,
            sent: sum.sent + source.sent,
            received: sum.received + source.received,
            lost: sum.lost + source.lost,
            doubled: sum.doubled + source.doubled,
            reordered: sum.reordered + source.reordered,
        })
    }

    /// Whether every frame that was due was sent and came exactly once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let total = self.total();
        self.sent == self.offered && total.lost == 0 && total.doubled == 0
    }

    /// Frames received a second.
    #[must_use]
    pub fn received_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.received as f64 / self.seconds } else { 0.0 }
    }

    /// Events sent a second.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.events_sent as f64 / self.seconds } else { 0.0 }
    }

    /// Enters what the receiver saw against what was sent of each source.
    pub(super) fn enter(&mut self, meter: &Meter, sent: &[(u32, u64)], percentiles: &[f64]) {
        self.received = meter.frames;
        self.strange = meter.strange;
        self.bytes = meter.bytes;
        self.latency = Latency::of(&meter.latency, percentiles);
        let seen: Vec<_> = meter.audit.counts().collect();
        self.sources = sent
            .iter()
            .map(|(source, sent)| {
                let count = seen.iter().find(|(seen, _)| seen == source).map(|(_, count)| *count).unwrap_or_default();
                SourceOutcome {
                    source: *source,
                    sent: *sent,
                    received: count.received,
                    lost: sent.saturating_sub(count.received),
                    doubled: count.doubled,
                    reordered: count.reordered,
                }
            })
            .collect();
    }
}
