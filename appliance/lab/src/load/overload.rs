//! The open loop that sheds: a frame that finds the ring full when it is due is given up and counted, never kept.
//!
//! Nothing queues outside the ring, so memory cannot grow with the overload, and the longest queue is the ring's length.

use std::time::Duration;

use weir_dataplane_io::clock::monotonic_ns;

use super::footprint::{Footprint, resident};
use super::ledger::{Ledger, Phase, PhaseBooks, Shed, Slice, sources};
use super::memory::{MemoryRig, MemorySpec};
use super::meter::Meter;
use super::outcome::Latency;
use super::pace::Pace;
use super::receive::{Consumer, Receiver, RingReceiver};
use super::run::{BURST, rest};
use super::tally::Tally;
use super::timeline::Timeline;
use crate::error::LabError;
use crate::generate::Sender;
use crate::generate::ring::RingSender;
use crate::traffic::Traffic;

/// A frame that the sender comes to later than this is shed: 100 ms in nanoseconds.
pub(super) const LATE_NS: u64 = 100_000_000;
/// From the start of the taker's thread to the first frame: 20 ms in nanoseconds.
const LEAD_NS: u64 = 20_000_000;
/// Most phases of a run: each has a histogram of 30 KiB.
const PHASES: usize = 256;

/// What is to be offered, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Overload {
    /// One after the other.
    pub phases: Vec<Phase>,
    /// Who takes the frames.
    pub consumer: Consumer,
    /// Frames on the ring, a power of two.
    pub ring: u32,
    /// In how many even parts the run is reported over time.
    pub slices: usize,
}

impl Overload {
    /// How long frames are due.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.phases.iter().map(|phase| phase.duration).sum()
    }
}

/// Offers `traffic` in phases over a ring in memory, and keeps the books of every frame.
///
/// # Errors
/// A specification that contradicts itself, no memory, or a taker that is gone.
pub fn overload(spec: &Overload, traffic: &mut Traffic, tally: &Tally) -> Result<Ledger, LabError> {
    if spec.phases.is_empty() || spec.phases.len() > PHASES {
        return Err(LabError::spec(
            "the number of phases",
            spec.phases.len(),
            "give 1 to 256: fewer, longer intervals",
        ));
    }
    let rig = MemoryRig::new(&MemorySpec { ring: spec.ring, ..MemorySpec::default() })?;
    let (described, mut sender) = (rig.describe(), rig.sender);
    let start_ns = monotonic_ns() + LEAD_NS;
    let timeline = Timeline::new(start_ns, &spec.phases, spec.slices)?;
    let (before, _) = resident()?;
    let mut receiver = RingReceiver::paced(rig.taker, Meter::over_time(timeline.clone()), spec.consumer)?;
    let mut offering = Offering {
        sender: &mut sender,
        receiver: &mut receiver,
        tally,
        slices: vec![Slice::default(); spec.slices],
        timeline,
        offered: 0,
        shed: 0,
        stamps: Vec::with_capacity(BURST),
        batch: spec.consumer.batch,
        most_shed: 0,
        overloaded: None,
        drained_after: None,
        behind_ns: 0,
    };
    let mut phases = Vec::with_capacity(spec.phases.len());
    let mut from_ns = start_ns;
    for phase in &spec.phases {
        phases.push(offering.offer(phase, from_ns, traffic)?);
        from_ns += phase.duration.as_nanos() as u64;
    }
    let Offering { mut slices, timeline, behind_ns, drained_after, .. } = offering;
    // The taker ends when it is told to and the ring is empty: whatever was sent comes.
    let meter = receiver.finish()?;
    let (_, highest) = resident()?;
    let came = meter.timeline.as_ref().unwrap_or(&timeline);
    for (slice, (delivered, p99_ns)) in slices.iter_mut().zip(came.by_slice()) {
        (slice.delivered, slice.p99_ns) = (delivered, p99_ns);
    }
    for (books, latency) in phases.iter_mut().zip(came.by_phase(&[50.0, 99.0])) {
        books.latency = latency;
    }
    Ok(Ledger {
        rig: described,
        generator: sender.describe(),
        phases,
        sources: sources(traffic, &meter),
        slices,
        slice: timeline.slice(),
        behind_ns,
        drained_after,
        footprint: Footprint { before, highest },
        uncounted: 0,
    })
}

/// The sending side of a run.
struct Offering<'a> {
    sender: &'a mut RingSender,
    receiver: &'a mut RingReceiver,
    tally: &'a Tally,
    slices: Vec<Slice>,
    timeline: Timeline,
    /// Frames offered and shed so far.
    offered: u64,
    shed: u64,
    stamps: Vec<u64>,
    /// A ring that holds no more than this is drained.
    batch: u32,
    /// The most that a phase has shed, and when it ended.
    most_shed: u64,
    overloaded: Option<u64>,
    drained_after: Option<Duration>,
    behind_ns: u64,
}

impl Offering<'_> {
    /// Offers all frames of a phase, each when it is due or as soon after as the sender comes to it.
    fn offer(&mut self, phase: &Phase, start_ns: u64, traffic: &mut Traffic) -> Result<PhaseBooks, LabError> {
        let pace = Pace::new(start_ns, phase.per_second);
        let offered = (phase.per_second.max(0.0) * phase.duration.as_secs_f64()) as u64;
        let (mut done, mut shed) = (0, Shed::default());
        while done < offered {
            let now = monotonic_ns();
            let late = pace.due(now.saturating_sub(LATE_NS)).min(offered).saturating_sub(done);
            let due = pace.due(now).min(offered).saturating_sub(done);
            let step = if late > 0 { late } else { due }.min(BURST as u64);
            if step == 0 {
                self.note_drained(now);
                rest(now, pace.time(done));
                continue;
            }
            self.stamps.clear();
            self.stamps.extend((done..done + step).map(|number| pace.time(number)));
            self.behind_ns = self.behind_ns.max(now.saturating_sub(self.stamps[0]));
            let given_up = if late > 0 {
                Shed { sender_late: step, ..Shed::default() }
            } else {
                let taken = self.sender.send(traffic, &self.stamps)? as u64;
                Shed { ring_full: step - taken, ..Shed::default() }
            };
            (0..given_up.total()).for_each(|_| traffic.shed());
            shed += given_up;
            done += step;
            self.note(step, given_up.total())?;
        }
        if shed.total() > self.most_shed {
            // What the first frames after an overload lose to a ring that is still full does not count as another one.
            self.most_shed = shed.total();
            (self.overloaded, self.drained_after) = (Some(start_ns + phase.duration.as_nanos() as u64), None);
        }
        Ok(PhaseBooks { phase: *phase, offered, shed, latency: Latency::default() })
    }

    /// Enters frames that were offered at once.
    fn note(&mut self, offered: u64, shed: u64) -> Result<(), LabError> {
        let slice = self.timeline.slice_at(self.stamps.first().copied().unwrap_or_default());
        if let Some(slice) = self.slices.get_mut(slice) {
            slice.offered += offered;
            slice.shed += shed;
        }
        self.offered += offered;
        self.shed += shed;
        self.tally.write(self.offered, self.shed, self.receiver.frames()?);
        Ok(())
    }

    /// Sees whether the ring has been emptied since the overload ended.
    fn note_drained(&mut self, now: u64) {
        let Some(ended) = self.overloaded.filter(|_| self.drained_after.is_none()) else { return };
        if self.sender.held() <= self.batch {
            self.drained_after = Some(Duration::from_nanos(now.saturating_sub(ended)));
        }
    }
}
