//! The kernel's side of a queue: it fills frames, delivers them, and sends what is on the transmit ring when it is told to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_dataplane_io::umem::Umem;
use weir_dataplane_pool::budget::QueueBudget;
use weir_dataplane_pool::class::ClassRing;
use weir_dataplane_pool::gauges::{QueueGauges, RingGauges};
use weir_dataplane_pool::lending::Lending;
use weir_dataplane_pool::outlet::{Kick, Outlet};
use weir_dataplane_pool::queue::{Queue, QueueClass};
use weir_dataplane_ring::{
    CompletionRing, Descriptor, FillRing, HeapMemory, LaneRing, Memory, RxOwner, RxReader, TxRing,
};

use super::frame::PIECE;
use super::{CLASSES, RING, Wish};

/// A kernel that sends when the model says so.
struct Asleep;

impl Kick for Asleep {
    fn kick(&self) {}
}

/// What is known of a delivered frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) queue: usize,
    pub(crate) class: usize,
    pub(crate) place: u64,
    /// What each worker wants done with it; the pool hears one of them first.
    pub(crate) wishes: [Option<Wish>; 2],
    /// It was seen on a transmit ring.
    pub(crate) out: bool,
}

/// A frame as a worker finds it on a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) number: usize,
    pub(crate) place: u64,
    pub(crate) end: u64,
    pub(crate) address: u64,
}

struct Class {
    ring: LaneRing,
    reader: RxReader,
    produced: u64,
    gauges: Arc<RingGauges>,
}

/// One queue.
pub(crate) struct Kernel {
    fill: CompletionRing,
    free: VecDeque<u64>,
    classes: Vec<Class>,
    wire: RxOwner,
    looked: u64,
    done: FillRing,
    /// Sent and completed, and not seen by the pool as far as the model knows.
    completing: VecDeque<u64>,
    last: HashMap<(usize, usize), u64>,
}

fn memory(size: u32) -> Arc<dyn Memory> {
    HeapMemory::zeroed(LaneRing::length(size))
}

impl Kernel {
    /// The kernel's side and the pool's.
    pub(crate) fn new(index: usize, budget: QueueBudget, mirrors: bool) -> (Self, Queue) {
        let offsets = LaneRing::OFFSETS;
        let (fill, done, tx) = (memory(budget.fill), memory(budget.completion), memory(RING));
        let (mut classes, mut queue_classes) = (Vec::new(), Vec::new());
        for number in 0..CLASSES {
            let (rx, gauges, sender) = (memory(RING), Arc::new(RingGauges::default()), mirrors && number == 2);
            let owner = RxOwner::new(Arc::clone(&rx), offsets, RING).expect("a ring");
            let ring = ClassRing::new(number as u8, owner, sender, true, Arc::clone(&gauges));
            queue_classes.push(QueueClass { ring, outlet: sender.then_some(1) });
            let ring = LaneRing::new(Arc::clone(&rx), RING).expect("a ring");
            classes.push(Class {
                ring,
                reader: RxReader::new(rx, offsets, RING).expect("a ring"),
                produced: 0,
                gauges,
            });
        }
        let outlet = Outlet::new(TxRing::new(Arc::clone(&tx), offsets, RING).expect("a ring"), Box::new(Asleep));
        let queue = Queue {
            index,
            fill: Lending::sparing(
                FillRing::new(Arc::clone(&fill), offsets, budget.fill).expect("a ring"),
                budget.frames,
            ),
            completion: CompletionRing::new(Arc::clone(&done), offsets, budget.completion).expect("a ring"),
            tx: Some(outlet),
            arrival: index,
            classes: queue_classes,
            gauges: Arc::new(QueueGauges::default()),
        };
        let kernel = Self {
            fill: CompletionRing::new(fill, offsets, budget.fill).expect("a ring"),
            free: VecDeque::new(),
            classes,
            wire: RxOwner::new(tx, offsets, RING).expect("a ring"),
            looked: 0,
            done: FillRing::new(done, offsets, budget.completion).expect("a ring"),
            completing: VecDeque::new(),
            last: HashMap::new(),
        };
        (kernel, queue)
    }

    /// Takes what is lent; gives how many frames the kernel has.
    pub(crate) fn lent(&mut self) -> usize {
        while let Some(address) = self.fill.pop() {
            self.free.push_back(address / u64::from(super::FRAME) * u64::from(super::FRAME)); // any address names its frame
        }
        self.fill.release();
        self.free.len()
    }

    /// Puts a frame on a class's ring; `None` when the ring is full, which is the class's own loss.
    pub(crate) fn deliver(&mut self, class: usize, bytes: &[u8], frames: &Umem) -> Option<u64> {
        let pieces = bytes.len() / PIECE;
        self.lent();
        let class = &mut self.classes[class];
        if (class.ring.free() as usize) < pieces {
            return None;
        }
        let place = class.produced;
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            let address = self.free.pop_front().expect("no stopped class empties the fill ring") + 256;
            assert!(frames.write(address, piece), "inside the memory");
            let options = if index + 1 < pieces { Descriptor::CONTINUED } else { 0 };
            class.ring.push(Descriptor { address, length: PIECE as u32, options }).expect("room");
            class.produced += 1;
        }
        class.ring.publish();
        Some(place)
    }

    /// Descriptors put on a class's ring.
    pub(crate) fn produced(&self, class: usize) -> u64 {
        self.classes[class].produced
    }

    /// Up to `count` whole frames of a class's ring from `cursor` on.
    pub(crate) fn frames_from(&self, class: usize, cursor: u64, count: u8) -> impl Iterator<Item = Found> + use<> {
        let Class { reader, produced, .. } = &self.classes[class];
        let (mut found, mut place) = (Vec::new(), cursor);
        while place < *produced && found.len() < usize::from(count) {
            let head = reader.descriptor(place as u32);
            let last = (place..*produced).find(|at| !reader.descriptor(*at as u32).is_continued());
            let end = last.expect("whole frames") + 1;
            found.push(Found { number: found.len(), place, end, address: head.address });
            place = end;
        }
        found.into_iter()
    }

    /// Where each class's consumer stands.
    pub(crate) fn consumers(&self) -> Vec<u64> {
        self.classes.iter().map(|class| class.gauges.read().recycled).collect()
    }

    /// First descriptors of the frames that came onto the transmit ring since the last look.
    pub(crate) fn newly_out(&mut self) -> Vec<Descriptor> {
        let producer = self.wire.producer();
        let mut heads = Vec::new();
        let mut starts = true;
        for place in self.looked..producer {
            let descriptor = self.wire.descriptor(place);
            if starts {
                heads.push(descriptor);
            }
            starts = !descriptor.is_continued();
        }
        assert!(starts, "a frame is on the ring in part");
        self.looked = producer;
        heads
    }

    /// A ring's frames leave by one outlet in the ring's order.
    pub(crate) fn in_order(&mut self, frame: &Delivered) {
        let last = self.last.insert((frame.queue, frame.class), frame.place);
        assert!(last.is_none_or(|last| last < frame.place), "{frame:?} overtook {last:?}");
    }

    /// Sends up to `count` descriptors.
    pub(crate) fn send(&mut self, count: u8) {
        let end = (self.wire.consumer() + u64::from(count)).min(self.wire.producer());
        let sent: Vec<u64> = self.wire.until(end).map(|descriptor| descriptor.address).collect();
        for address in sent {
            if self.done.free() == 0 {
                break;
            }
            self.done.push(address).expect("room");
            self.completing.push_back(address);
            self.wire.release(self.wire.consumer() + 1);
        }
        self.done.publish();
    }

    /// Addresses with the kernel and on class rings.
    pub(crate) fn here(&mut self) -> impl Iterator<Item = u64> {
        self.lent();
        let mut all: Vec<u64> = self.free.iter().copied().collect();
        for class in &self.classes {
            let consumer = class.gauges.read().recycled;
            all.extend((consumer..class.produced).map(|place| class.reader.descriptor(place as u32).address));
        }
        all.into_iter()
    }

    /// Addresses on the transmit ring, or sent and not noticed by the pool.
    pub(crate) fn out(&mut self) -> impl Iterator<Item = u64> {
        let unseen = self.completed_unseen();
        while self.completing.len() > unseen {
            self.completing.pop_front();
        }
        let on_ring = self.wire.until(self.wire.producer()).map(|descriptor| descriptor.address);
        on_ring.chain(self.completing.iter().copied()).collect::<Vec<_>>().into_iter()
    }

    /// Completions that the pool has not read.
    fn completed_unseen(&mut self) -> usize {
        (self.done.size() - self.done.free()) as usize
    }
}
