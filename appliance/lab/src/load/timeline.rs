//! Latencies by when their frames were due: by phase of the run, and in even slices of it.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::ledger::Phase;
use super::meter::LATENCY_MAX_NS;
use super::outcome::Latency;
use crate::error::LabError;

/// Latencies of a run over its time. A frame belongs to the time at which it was due, however late it came.
#[derive(Clone, Debug)]
pub struct Timeline {
    start_ns: u64,
    slice_ns: u64,
    /// Where each phase ends, in nanoseconds from the start.
    ends_ns: Vec<u64>,
    phases: Vec<Histogram<u64>>,
    slices: Vec<Histogram<u64>>,
}

impl Timeline {
    /// An empty one for phases that follow one another from `start_ns` on, and for `slices` even parts of all of them.
    ///
    /// # Errors
    /// No phase, no slice, or no time.
    pub fn new(start_ns: u64, phases: &[Phase], slices: usize) -> Result<Self, LabError> {
        let mut end = Duration::ZERO;
        let ends_ns: Vec<u64> = phases
            .iter()
            .map(|phase| {
                end += phase.duration;
                end.as_nanos() as u64 // 584 years fit
            })
            .collect();
        let slice_ns = (end.as_nanos() as u64).checked_div(slices as u64).unwrap_or(0);
        if slice_ns == 0 {
            return Err(LabError::spec(
                "the time of a run",
                format!("{end:?}"),
                "give it a longer one, or a greater --scale",
            ));
        }
        // 2 significant digits: an error of 1 %, 30 KiB for each phase and slice.
        let empty = || {
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 2)
                .map_err(|error| LabError::spec("the bounds of a histogram", error, "report it"))
        };
        let phases = ends_ns.iter().map(|_| empty()).collect::<Result<_, _>>()?;
        let slices = (0..slices).map(|_| empty()).collect::<Result<_, _>>()?;
        Ok(Self { start_ns, slice_ns, ends_ns, phases, slices })
    }

    /// Notes the latency of a frame that was due at `due_ns`.
    #[inline]
    pub fn note(&mut self, due_ns: u64, latency_ns: u64) {
        let since = due_ns.saturating_sub(self.start_ns);
        let phase = self.ends_ns.partition_point(|end| *end <= since).min(self.phases.len().saturating_sub(1));
        if let Some(phase) = self.phases.get_mut(phase) {
            phase.saturating_record(latency_ns.max(1));
        }
        let slice = self.slice_at(due_ns);
        if let Some(slice) = self.slices.get_mut(slice) {
            slice.saturating_record(latency_ns.max(1));
        }
    }

    /// Which slice a time belongs to.
    pub(super) fn slice_at(&self, due_ns: u64) -> usize {
        let slice = due_ns.saturating_sub(self.start_ns) / self.slice_ns;
        (slice as usize).min(self.slices.len().saturating_sub(1))
    }

    /// How long a slice is.
    pub(super) fn slice(&self) -> Duration {
        Duration::from_nanos(self.slice_ns)
    }

    /// Latencies of the phases, with these percentiles.
    pub(super) fn by_phase(&self, percentiles: &[f64]) -> Vec<Latency> {
        self.phases.iter().map(|phase| Latency::of(phase, percentiles)).collect()
    }

    /// Frames that came of each slice and their 99th percentile in nanoseconds, `None` without frames.
    pub(super) fn by_slice(&self) -> impl Iterator<Item = (u64, Option<u64>)> + '_ {
        self.slices.iter().map(|slice| (slice.len(), (!slice.is_empty()).then(|| slice.value_at_percentile(99.0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_belongs_to_when_it_was_due() {
        let phase = |seconds| Phase { name: "x", duration: Duration::from_secs(seconds), per_second: 1.0 };
        let mut timeline = Timeline::new(1_000, &[phase(1), phase(3)], 4).unwrap();
        timeline.note(1_000 + 999_999_999, 5_000_000_000);
        timeline.note(1_000 + 1_000_000_000, 7);
        timeline.note(1_000 + 90_000_000_000, 7); // beyond the end: the last
        let samples: Vec<u64> = timeline.by_phase(&[99.0]).iter().map(|latency| latency.samples).collect();
        assert_eq!(samples, [1, 2]);
        assert_eq!(timeline.by_slice().map(|(count, _)| count).collect::<Vec<_>>(), [1, 1, 0, 1]);
        assert!(Timeline::new(0, &[], 4).is_err() && Timeline::new(0, &[phase(1)], 0).is_err());
    }
}
