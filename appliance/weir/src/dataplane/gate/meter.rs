//! Slices of the base path, from counters that the classifier keeps, and from what it counts while it is asked to.

use std::num::NonZeroU8;

use anyhow::Result;
use weir_appliance_experiment::Histogram;
use weir_appliance_experiment::base::Sample;
use weir_dataplane_io::clock;
use weir_ebpf_abi::counters::Counters;
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_abi::watched::Watched;

use super::super::{Dataplane, counters, lock};

/// Why frames that were to be forwarded were not. A message to an agent that nobody knows is not among them: taking an agent
/// away, or a flag, is what somebody wanted.
const UNFORWARDED: [Reason; 5] =
    [Reason::AgentFamily, Reason::NoEgress, Reason::NoAgentUp, Reason::TooLongForAgent, Reason::NoHeaderRoom];
/// How long the fastest delay of a source is that of its era: clocks drift by some microseconds a second.
const ERA_MS: u64 = 60_000;

/// What was counted until one moment.
struct Reading {
    totals: Counters,
    /// Mirrored frames that were lost at their rings.
    lost: u64,
    watched: Box<Watched>,
}

impl Reading {
    fn take(dataplane: &Dataplane) -> Result<Self> {
        let (totals, watched) = {
            let classifier = lock(&dataplane.classifier);
            (classifier.counters()?, Box::new(classifier.watched()?))
        };
        let mut lost = 0;
        for ring in dataplane.rings.iter().filter(|ring| dataplane.mirrors(ring.class)) {
            let found = counters::lost(ring, true)?;
            lost += found.by_kernel() + found.mirror_full;
        }
        Ok(Self { totals, lost, watched })
    }

    /// What happened since `before`.
    fn since(&self, before: &Self) -> Sample {
        let unforwarded = |totals: &Counters| -> u64 { UNFORWARDED.iter().map(|reason| totals.reason(*reason)).sum() };
        let more = |now: &[u64], then: &[u64]| -> Vec<u64> {
            now.iter().zip(then).map(|(now, then)| now.wrapping_sub(*then)).collect()
        };
        let lost = self.lost.saturating_sub(before.lost);
        let forwarded = self.totals.forwarded.frames.wrapping_sub(before.totals.forwarded.frames);
        let refused = unforwarded(&self.totals).wrapping_sub(unforwarded(&before.totals));
        let sample = Sample {
            forwarded: forwarded.saturating_sub(lost),
            unforwarded: refused + lost,
            late: Histogram::of(&more(&self.watched.late, &before.watched.late)),
            ..Sample::default()
        };
        let (now, then) = (&self.watched, &before.watched);
        sample.with_costs(&more(&now.costs, &then.costs), &more(&now.cost_ns, &then.cost_ns))
    }
}

/// Measures slices, one after the other or with pauses between them.
#[derive(Default)]
pub(super) struct Meter {
    open: Option<(Reading, u64)>,
    /// When the next thing is to be done, in milliseconds of the monotonic clock.
    due_ms: u64,
    /// Whether the classifier was last told to watch; it outlives this process, so at first nobody knows.
    told: Option<Option<NonZeroU8>>,
    era: u8,
    era_began_ms: u64,
}

pub(super) fn now_ms() -> u64 {
    clock::monotonic_ns() / 1_000_000
}

pub(super) fn wall_ms() -> u64 {
    clock::realtime_ns() / 1_000_000
}

impl Meter {
    /// The slice that is over, with the frames forwarded a second; the next one begins after a pause, which may be nothing.
    pub(super) fn step(
        &mut self,
        dataplane: &Dataplane,
        slice_ms: u64,
        pause_ms: u64,
    ) -> Result<Option<(Sample, f64)>> {
        if now_ms() < self.due_ms {
            return Ok(None);
        }
        let Some((before, began_ms)) = self.open.take() else {
            return self.begin(dataplane, slice_ms).map(|()| None);
        };
        let now = Reading::take(dataplane)?;
        let sample = now.since(&before);
        let rate = sample.forwarded as f64 * 1000.0 / now_ms().saturating_sub(began_ms).max(1) as f64;
        if pause_ms == 0 {
            self.open = Some((now, now_ms()));
            self.due_ms = now_ms() + slice_ms;
        } else {
            self.tell(dataplane, None)?;
            self.due_ms = now_ms() + pause_ms;
        }
        Ok(Some((sample, rate)))
    }

    /// Forgets the open slice; the next begins now.
    pub(super) fn begin(&mut self, dataplane: &Dataplane, slice_ms: u64) -> Result<()> {
        self.tell(dataplane, NonZeroU8::new(self.era.max(1)))?;
        self.open = Some((Reading::take(dataplane)?, now_ms()));
        self.due_ms = now_ms() + slice_ms;
        Ok(())
    }

    /// Forgets the open slice, and lets the classifier rest.
    pub(super) fn stop(&mut self, dataplane: &Dataplane) -> Result<()> {
        (self.open, self.due_ms) = (None, 0);
        self.tell(dataplane, None)
    }

    /// When the next slice begins or ends; 0 if none does.
    pub(super) const fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Begins a new era when it is time. Not in the middle of a comparison: both sides of one have the same reference.
    pub(super) fn age(&mut self) {
        if now_ms().saturating_sub(self.era_began_ms) >= ERA_MS {
            self.era = self.era % u8::MAX + 1;
            self.era_began_ms = now_ms();
        }
    }

    fn tell(&mut self, dataplane: &Dataplane, era: Option<NonZeroU8>) -> Result<()> {
        if self.told != Some(era) {
            lock(&dataplane.classifier).watch_forwarded(era)?;
            self.told = Some(era);
        }
        Ok(())
    }
}
