//! The books of a run that sheds: every frame offered was delivered, or was shed and counted with its reason.

use std::time::Duration;

use super::footprint::Footprint;
use super::meter::Meter;
use super::outcome::Latency;
use crate::traffic::Traffic;

/// A stretch of a run with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// What it is called in results.
    pub name: &'static str,
    /// How long frames are due.
    pub duration: Duration,
    /// Frames a second.
    pub per_second: f64,
}

/// Frames that were due and not sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// The ring had no place for them when they were due.
    pub ring_full: u64,
    /// The sender came to them more than 100 ms late.
    pub sender_late: u64,
}

impl Shed {
    /// For whatever reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ring_full + self.sender_late
    }
}

impl std::ops::AddAssign for Shed {
    fn add_assign(&mut self, other: Self) {
        self.ring_full += other.ring_full;
        self.sender_late += other.sender_late;
    }
}

/// One phase, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseBooks {
    /// What was asked for.
    pub phase: Phase,
    /// Frames that were due.
    pub offered: u64,
    /// Frames of these that were shed.
    pub shed: Shed,
    /// Latencies of the frames that came, from when they were due, within 1 %.
    pub latency: Latency,
}

/// An even part of a run's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Frames that were due in it.
    pub offered: u64,
    /// Frames of these that were shed.
    pub shed: u64,
    /// Frames of these that came.
    pub delivered: u64,
    /// The 99th percentile of their latencies in nanoseconds, `None` if none came.
    pub p99_ns: Option<u64>,
}

/// One source's frames: counted where they were offered, where they were shed, and where they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceBooks {
    /// Source agent; 0 in a sum of all.
    pub source: u32,
    /// Frames offered.
    pub offered: u64,
    /// Frames shed.
    pub shed: u64,
    /// Different frames that came.
    pub delivered: u64,
    /// Frames that came again.
    pub doubled: u64,
}

impl SourceBooks {
    /// Frames by which the books do not balance: lost without a count.
    #[must_use]
    pub fn unaccounted(&self) -> u64 {
        self.offered.abs_diff(self.shed + self.delivered)
    }
}

/// A run's books.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// What the frames went through.
    pub rig: String,
    /// What sent them.
    pub generator: String,
    /// The phases in order.
    pub phases: Vec<PhaseBooks>,
    /// The sources, counted apart.
    pub sources: Vec<SourceBooks>,
    /// The run in even parts.
    pub slices: Vec<Slice>,
    /// How long each of these is.
    pub slice: Duration,
    /// How far sending fell behind the schedule at worst, in nanoseconds.
    pub behind_ns: u64,
    /// From the end of the phase that shed the most until the ring held no more than a batch; `None` if nothing was shed, or
    /// it never did while frames were still due.
    pub drained_after: Option<Duration>,
    /// Memory of who takes the frames.
    pub footprint: Footprint,
    /// Frames that did not come and that no counter names; where every source is set against what was shed of it, none
    /// beyond that.
    pub uncounted: u64,
}

impl Ledger {
    /// Sums over all sources, the imbalance of each apart so that none hides another's.
    #[must_use]
    pub fn total(&self) -> (SourceBooks, u64) {
        let sum = self.sources.iter().fold(SourceBooks::default(), |sum, source| SourceBooks {
            source: 0,
            offered: sum.offered + source.offered,
            shed: sum.shed + source.shed,
            delivered: sum.delivered + source.delivered,
            doubled: sum.doubled + source.doubled,
        });
        (sum, self.sources.iter().map(SourceBooks::unaccounted).sum::<u64>() + self.uncounted)
    }

    /// Frames shed in all phases.
    #[must_use]
    pub fn shed(&self) -> Shed {
        self.phases.iter().fold(Shed::default(), |mut sum, phase| {
            sum += phase.shed;
            sum
        })
    }

    /// What kept frames from being delivered, in one word and why.
    #[must_use]
    pub fn bottleneck(&self) -> &'static str {
        let shed = self.shed();
        match (shed.ring_full, shed.sender_late) {
            (0, 0) => "none, all that was offered was delivered",
            (full, late) if late > full => "sender, it came to its frames too late",
            _ => "worker, the ring was full of frames that it had not taken",
        }
    }
}

/// Sets what was offered and shed of each source against what came.
pub(super) fn sources(traffic: &Traffic, meter: &Meter) -> Vec<SourceBooks> {
    let came: std::collections::BTreeMap<_, _> = meter.audit.counts().collect();
    traffic
        .books()
        .map(|booked| {
            let count = came.get(&booked.source).copied().unwrap_or_default();
            SourceBooks {
                source: booked.source,
                offered: booked.offered,
                shed: booked.shed,
                delivered: count.received,
                doubled: count.doubled,
            }
        })
        .collect()
}
