//! The receiving side's account: frames, sequence numbers and latencies.

use hdrhistogram::Histogram;
use weir_ebpf_abi::message::StandardHeader;
use zerocopy::FromBytes;

use super::timeline::Timeline;
use crate::sequence::SequenceAudit;

/// Longest latency that is told apart: 60 s in nanoseconds. Anything longer is another clock.
pub(super) const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What arrived.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Frames with a message.
    pub frames: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Frames without a message that could be read.
    pub strange: u64,
    /// Messages whose stamp lies in the future or over 60 s back.
    pub bad_stamps: u64,
    /// Numbers by source.
    pub audit: SequenceAudit,
    /// Nanoseconds from the time a message was due to its arrival, of all messages, or of the probes alone when
    /// [`Meter::of_probes`] made this.
    pub latency: Histogram<u64>,
    /// The same by phase and over time, where a run has phases.
    pub timeline: Option<Timeline>,
    probes_from: u32,
}

impl Meter {
    /// An empty account; every source is expected to begin with number 0.
    ///
    /// # Panics
    /// Never: the bounds of the histogram are constants.
    #[must_use]
    pub fn new() -> Self {
        Self::of_probes(0)
    }

    /// An account whose latencies are those of sources from `first_probe` on.
    #[must_use]
    pub fn of_probes(first_probe: u32) -> Self {
        // 3 significant digits: an error of 0.1 %, 0.3 MiB. The bounds are valid, so the other arm is never taken.
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3);
        Self {
            frames: 0,
            bytes: 0,
            strange: 0,
            bad_stamps: 0,
            audit: SequenceAudit::from_first(0),
            latency: latency.unwrap_or_else(|_| unbounded()),
            timeline: None,
            probes_from: first_probe,
        }
    }

    /// An account that also tells latencies apart by when they were due.
    #[must_use]
    pub fn over_time(timeline: Timeline) -> Self {
        Self { timeline: Some(timeline), ..Self::new() }
    }

    /// Notes a message that arrived at `now_ns`.
    #[inline]
    pub fn note(&mut self, now_ns: u64, message: &[u8]) {
        let Ok((header, _)) = StandardHeader::ref_from_prefix(message) else {
            self.strange += 1;
            return;
        };
        self.frames += 1;
        self.bytes += message.len() as u64;
        let source = header.source_agent_id.get();
        self.audit.note(source, header.sequence_number.get());
        if source < self.probes_from {
            return;
        }
        let latency = now_ns.wrapping_sub(header.timestamp_ns.get());
        if latency < LATENCY_MAX_NS {
            self.latency.saturating_record(latency.max(1));
            if let Some(timeline) = &mut self.timeline {
                timeline.note(header.timestamp_ns.get(), latency);
            }
        } else {
            self.bad_stamps += 1;
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram that grows as needed.
fn unbounded() -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap_or_else(|error| panic!("3 digits are a valid precision: {error}"));
    histogram.auto(true);
    histogram
}
