//! What features send: their numbers and caps for the pool, their rings, and the figures that status shows.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use weir_appliance_control::config::Config;
use weir_appliance_control::message::{QueueStatus, SendStatus};
use weir_appliance_control::taker::FeatureName;
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
    features: Vec<(FeatureName, Arc<SendGauges>)>,
}

impl Sends {
    /// Every feature that runs.
    pub(super) fn of(config: &Config) -> Self {
        Self { features: config.enabled().map(|name| (name, Arc::default())).collect() }
    }

    /// For the pool.
    pub(super) fn specs(&self, config: &Config) -> Vec<SenderSpec> {
        let gauges = self.features.iter().map(|(_, gauges)| Arc::clone(gauges));
        self.caps(config).into_iter().zip(gauges).map(|(cap_bits, gauges)| SenderSpec { cap_bits, gauges }).collect()
    }

    /// The cap of each, by number, in bits a second.
    pub(super) fn caps(&self, config: &Config) -> Vec<Option<u64>> {
        let bits = |mbit| u64::from(mbit) * 1_000_000;
        self.features.iter().map(|(name, _)| cap_mbit(config, *name).map(bits)).collect()
    }

    fn find(&self, name: &str) -> Option<(SenderId, &SendGauges)> {
        let found = self.features.iter().zip(0..).find(|((feature, _), _)| feature.as_str() == name);
        found.map(|((_, gauges), number)| (SenderId(number), &**gauges))
    }

    /// What became of the frames that a feature wanted sent; `None` while it has named none and has no cap.
    pub(super) fn status(&self, config: &Config, name: FeatureName) -> Option<SendStatus> {
        let (_, gauges) = self.find(name.as_str())?;
        let (figures, cap_mbit) = (gauges.read(), cap_mbit(config, name));
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
            clock_ns: gauges.clock_ns(),
            refused: figures.refused.iter().sum(),
            reasons: reasons.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        })
    }
}

fn cap_mbit(config: &Config, name: FeatureName) -> Option<u32> {
    config.features().get(&name).and_then(|spec| spec.send_mbit)
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

    /// The pool's side, charged to feature `name`, whose cursors of `streams` belong to lanes.
    ///
    /// # Errors
    /// The memory is too small, which it is not.
    pub(super) fn ring(&self, sends: &Sends, name: &str, streams: Range<u32>) -> Result<Option<SendRing>> {
        let ring = RecordConsumer::attach(Arc::clone(self.memory.mapping()) as _, self.slots)?;
        Ok(sends.find(name).map(|(sender, _)| SendRing { sender, ring, streams }))
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
        let (lent, held_back, on_the_way) = queue.gauges.read();
        let rings = dataplane.rings.iter().filter(|ring| ring.queue_index == index).map(|ring| ring.gauges.read());
        QueueStatus {
            interface: dataplane.ports.get(queue.port).map(|port| port.spec.name.to_string()).unwrap_or_default(),
            queue: queue.queue,
            frames: queue.frames,
            lent,
            held_back,
            on_rings: rings.map(|figures| figures.produced.saturating_sub(figures.recycled)).sum(),
            on_the_way,
        }
    };
    dataplane.queues.iter().enumerate().map(status).collect()
}
