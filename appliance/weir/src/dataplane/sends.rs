//! What features send: their numbers and caps for the pool, their rings, and the figures that status shows.

use std::sync::Arc;

use anyhow::Result;
use weir_appliance_control::config::Config;
use weir_appliance_control::message::{QueueStatus, SendStatus};
use weir_dataplane_io::shared::{SharedMemory, Writers};
use weir_dataplane_pool::gauges::QueueGauges;
use weir_dataplane_pool::pool::SendRing;
use weir_dataplane_pool::sender::{Refusal, SendGauges, SenderId, SenderSpec};
use weir_dataplane_ring::{PAGE_LENGTH, RecordConsumer, SendRequest, record_ring_length};

use super::Dataplane;

/// Most slots of a worker's send ring: 512 KiB of requests. A pool's turn takes all that is there, and a worker finds no more
/// frames than its rings hold between two turns.
const SEND_SLOTS_MAX: usize = 1 << 14;

/// The features that may send. A feature's place in the list is its number among the pool's senders.
pub(super) struct Sends {
    features: Vec<(String, SenderSpec)>,
}

impl Sends {
    /// Every feature that runs, with its cap.
    pub(super) fn of(config: &Config) -> Self {
        let feature = |(name, spec): (&weir_appliance_control::taker::FeatureName, _)| {
            let spec: &weir_appliance_control::config::FeatureSpec = spec;
            let cap_bits = spec.send_mbit.map(|mbit| u64::from(mbit) * 1_000_000);
            (name.as_str().to_owned(), SenderSpec { cap_bits, gauges: Arc::new(SendGauges::default()) })
        };
        Self { features: config.features().iter().filter(|(_, spec)| spec.enabled).map(feature).collect() }
    }

    /// For the pool.
    pub(super) fn specs(&self) -> Vec<SenderSpec> {
        self.features.iter().map(|(_, spec)| spec.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<(SenderId, &SenderSpec)> {
        let found = self.features.iter().zip(0..).find(|((feature, _), _)| feature == name);
        found.map(|((_, spec), number)| (SenderId(number), spec))
    }

    /// What became of the frames that feature `name` wanted sent; `None` while it has named none and has no cap.
    pub(super) fn status(&self, name: &str) -> Option<SendStatus> {
        let (_, spec) = self.find(name)?;
        let figures = spec.gauges.read();
        let cap_mbit = spec.cap_bits.map(|bits| (bits / 1_000_000) as u32); // it came from 32 bits
        if figures.requested == 0 && cap_mbit.is_none() {
            return None;
        }
        let reasons = Refusal::ALL.iter().zip(figures.refused).filter(|(_, count)| *count > 0);
        Some(SendStatus {
            cap_mbit,
            requested: figures.requested,
            sent: figures.sent,
            bytes: figures.bytes,
            completed: figures.completed,
            in_flight: figures.in_flight(),
            waiting: figures.waiting(),
            capped: figures.capped,
            full: figures.full,
            already_sent: figures.already_sent,
            abandoned: figures.abandoned,
            clock_ns: spec.gauges.clock_ns(),
            refused: figures.refused.iter().sum(),
            reasons: reasons.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        })
    }
}

/// The memory of a worker's send ring and the pool's side of it.
pub(super) struct SendPages {
    /// To be lent to the worker.
    pub memory: SharedMemory,
    /// Slots of the ring.
    pub slots: u32,
}

impl SendPages {
    /// A ring for a worker that takes `rings` rings of `size` slots.
    ///
    /// # Errors
    /// No memory is left.
    pub(super) fn make(rings: usize, size: u32) -> Result<Self> {
        let slots = (rings * size as usize).clamp(64, SEND_SLOTS_MAX).next_power_of_two() as u32; // at most the limit
        let length = record_ring_length::<SendRequest>(slots).next_multiple_of(PAGE_LENGTH);
        Ok(Self { memory: SharedMemory::create("weir-sends", length, Writers::Both)?, slots })
    }

    /// The pool's side, charged to feature `name`.
    ///
    /// # Errors
    /// The memory is too small, which it is not.
    pub(super) fn ring(&self, sends: &Sends, name: &str) -> Result<Option<SendRing>> {
        let ring = RecordConsumer::attach(Arc::clone(self.memory.mapping()) as _, self.slots)?;
        Ok(sends.find(name).map(|(sender, _)| SendRing { sender, ring }))
    }
}

/// One queue, as everyone but the pool sees it.
pub(super) struct QueueShown {
    /// Position of its interface.
    pub port: usize,
    /// Its queue on the interface.
    pub queue: u32,
    /// Frames that circulate on it.
    pub frames: u32,
    /// The pool's figures.
    pub gauges: Arc<QueueGauges>,
}

/// Where the frames of every queue are.
pub(super) fn queues(dataplane: &Dataplane) -> Vec<QueueStatus> {
    let status = |(index, queue): (usize, &QueueShown)| {
        let (lent, on_the_way) = queue.gauges.read();
        let rings = dataplane.rings.iter().filter(|ring| ring.queue_index == index).map(|ring| ring.gauges.read());
        QueueStatus {
            interface: dataplane.ports.get(queue.port).map(|port| port.spec.name.to_string()).unwrap_or_default(),
            queue: queue.queue,
            frames: queue.frames,
            lent,
            on_rings: rings.map(|figures| figures.produced.saturating_sub(figures.recycled)).sum(),
            on_the_way,
        }
    };
    dataplane.queues.iter().enumerate().map(status).collect()
}
