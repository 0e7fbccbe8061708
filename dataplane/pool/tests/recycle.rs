//! Where is every frame? A model kernel lends and delivers, takers advance, die, join and lie; after every step each frame
//! is in exactly one place, and nobody was given a frame that somebody else still held. At the end the pool dies, and its
//! successor finds each frame in the ledger.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use proptest::prelude::*;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions};
use weir_dataplane_pool::class::{ClassRing, Joining, Lent, Taken, TakerId};
use weir_dataplane_pool::gauges::RingGauges;
use weir_dataplane_pool::ledger::{BookedRing, CLASSES, Ledger, Lost};
use weir_dataplane_pool::lending::Lending;
use weir_dataplane_pool::outlet::{Kick, Outlet};
use weir_dataplane_pool::queue::Shares;
use weir_dataplane_pool::sender::Senders;
use weir_dataplane_pool::transmit::OnTheWay;
use weir_dataplane_pool::ways::Ways;
use weir_dataplane_ring::{
    CompletionRing, Descriptor, FillRing, HeapMemory, LaneRing, Memory, OwnerCursors, PAGE_LENGTH, RxOwner, RxReader,
    TakerCursors, TxRing,
};

/// Ends the test program when the pool allocates while it moves frames.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

const RING: u32 = 64;
// The ring, and for a mirror class twice the transmit ring: the same sum as the pool's frame budget.
const FRAMES: u64 = 224;
const FRAME_SHIFT: u32 = 11;
const CLASS: u8 = 3;
const SHARES: Shares = Shares { frames_per_queue: FRAMES as u32, frame_shift: FRAME_SHIFT, on_the_way: 2 * RING };

/// A kernel that sends when the model says so.
struct Asleep;

impl Kick for Asleep {
    fn kick(&self) {}
}

#[derive(Clone, Debug)]
enum Step {
    /// The kernel puts up to so many frames on the ring.
    Deliver(u8),
    /// Taker `0..3` finishes up to so many.
    Finish(u8, u8),
    /// Taker `0..3` dies if it lives, and joins if it does not.
    Toggle(u8),
    /// Taker `0..3` publishes a cursor far beyond the producer, or one that wraps around to behind the consumer.
    Lie(u8, bool),
    /// Somebody is expected to take the class, or nobody is.
    Expect(bool),
    /// The pool wakes.
    Wake,
    /// The wire takes up to so many mirrored frames.
    Send(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40_u8).prop_map(Step::Deliver),
        4 => (0..3_u8, 1..40_u8).prop_map(|(taker, count)| Step::Finish(taker, count)),
        1 => (0..3_u8).prop_map(Step::Toggle),
        1 => (0..3_u8, any::<bool>()).prop_map(|(taker, beyond)| Step::Lie(taker, beyond)),
        1 => any::<bool>().prop_map(Step::Expect),
        4 => Just(Step::Wake),
        2 => (1..40_u8).prop_map(Step::Send),
    ];
    prop::collection::vec(step, 1..200)
}

struct ModelTaker {
    id: TakerId,
    cursors: TakerCursors,
    cursor: u64,
    lied: bool,
}

struct Model {
    fill: Lending,
    kernel_fill: CompletionRing,
    kernel_rx: LaneRing,
    delivered: u64,
    reader: RxReader,
    class: ClassRing,
    wire: RxOwner,
    ways: Ways,
    takers: [Option<ModelTaker>; 3],
    taken: [Arc<Taken>; 3],
    next_id: u64,
    gauges: Arc<RingGauges>,
    mirrors: bool,
    ring_full: u64,
    books: Arc<dyn Memory>,
    ledger: Ledger,
}

impl Model {
    fn new(mirrors: bool) -> Self {
        let lane = |size| HeapMemory::zeroed(LaneRing::length(size)) as Arc<dyn Memory>;
        let (rx, tx, fill) = (lane(RING), lane(RING), lane(512));
        let offsets = LaneRing::OFFSETS;
        let gauges = Arc::new(RingGauges::default());
        let outlet = Outlet::new(TxRing::new(Arc::clone(&tx), offsets, RING).expect("tx"), Box::new(Asleep));
        let options = UmemOptions { frames: 1, frame_size: 2048, hugepages: HugePages::Never, node: None };
        let ways = Ways {
            on_the_way: OnTheWay::new(SHARES, 1),
            outlets: Box::new([Some(outlet)]),
            interfaces: Box::new([0]),
            senders: Senders::new(&[], 0),
            frames: Arc::new(Umem::create_with(options).expect("memory")), // nothing is read: nobody asks to send
            agents: Box::new([]),
            now_ns: 0,
        };
        let books: Arc<dyn Memory> = HeapMemory::zeroed(Ledger::LENGTH);
        let booked = [BookedRing { class: CLASS, mirrors }];
        let (ledger, entries) = Ledger::open(&books, &[0; CLASSES], &booked).expect("a ledger");
        entries.into_iter().for_each(|entry| gauges.enter(entry));
        let owner = RxOwner::new(Arc::clone(&rx), offsets, RING).expect("owner");
        let mut model = Self {
            fill: Lending::all(FillRing::new(Arc::clone(&fill), offsets, 512).expect("fill")),
            kernel_fill: CompletionRing::new(fill, offsets, 512).expect("the kernel's side of fill"),
            kernel_rx: LaneRing::new(Arc::clone(&rx), RING).expect("the kernel's side of the ring"),
            delivered: 0,
            reader: RxReader::new(rx, offsets, RING).expect("reader"),
            class: ClassRing::new(CLASS, owner, mirrors, false, Arc::clone(&gauges)),
            wire: RxOwner::new(tx, offsets, RING).expect("the kernel's side of tx"),
            ways,
            takers: [None, None, None],
            taken: [5, 0, 7].map(|number| Arc::new(Taken { number, ..Taken::default() })),
            next_id: 1,
            gauges,
            mirrors,
            ring_full: 0,
            books,
            ledger,
        };
        for frame in 0..FRAMES {
            assert!(model.fill.push(frame << FRAME_SHIFT), "the fill ring holds all frames");
        }
        model.fill.lend();
        model
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Deliver(count) => self.deliver(count),
            Step::Finish(taker, count) => {
                let Some(taker) = self.takers[usize::from(taker)].as_mut().filter(|taker| !taker.lied) else { return };
                taker.cursor += u64::from(count).min(self.delivered - taker.cursor);
                taker.cursors.publish(0, taker.cursor);
            }
            Step::Toggle(taker) => self.toggle(usize::from(taker)),
            Step::Lie(taker, beyond) => {
                let Some(taker) = &mut self.takers[usize::from(taker)] else { return };
                let lie = if beyond { self.delivered + 1_000_000 } else { u64::MAX - 5 };
                taker.cursors.publish(0, lie);
                taker.lied = true;
            }
            Step::Expect(somebody) => self.class.expect(usize::from(somebody)),
            Step::Wake => self.wake(),
            Step::Send(count) => {
                let end = (self.wire.consumer() + u64::from(count)).min(self.wire.producer());
                let sent: Vec<u64> = self.wire.until(end).map(|descriptor| descriptor.address).collect();
                self.wire.release(end);
                for address in sent {
                    if self.ways.on_the_way.completed(address).home {
                        assert!(self.fill.push(address), "room on the fill ring");
                    }
                }
                self.fill.lend();
            }
        }
    }

    fn deliver(&mut self, count: u8) {
        for _ in 0..count {
            if self.kernel_rx.free() == 0 {
                self.ring_full += 1;
                continue;
            }
            let address = self.kernel_fill.pop().expect("a stopped class never empties the fill ring");
            self.kernel_rx.push(Descriptor { address: address + 256, length: 64, options: 0 }).expect("room");
            self.delivered += 1;
        }
        self.kernel_fill.release();
        self.kernel_rx.publish();
    }

    fn toggle(&mut self, index: usize) {
        let Self { class, fill, ways, .. } = self;
        let mut lent = Lent { fill, ways, arrival: 0 };
        if let Some(taker) = self.takers[index].take() {
            class.leave(taker.id, &mut lent);
            return;
        }
        let page = HeapMemory::zeroed(PAGE_LENGTH) as Arc<dyn Memory>;
        let owner = Arc::new(OwnerCursors::new(Arc::clone(&page), 0).expect("owner page"));
        let id = TakerId(self.next_id);
        self.next_id += 1;
        let cursor = class
            .join(Joining { id, cursors: owner, slot: 0, taken: Arc::clone(&self.taken[index]) }, &mut lent)
            .expect("room for a taker");
        assert_eq!(cursor, self.delivered, "a taker begins at the producer");
        let cursors = TakerCursors::new(page, 0).expect("taker page");
        self.takers[index] = Some(ModelTaker { id, cursors, cursor, lied: false });
    }

    fn wake(&mut self) {
        let Self { class, ways, .. } = self;
        if self.mirrors {
            assert_no_alloc(|| class.mirror(0, ways));
            ways.outlets[0].as_mut().expect("an outlet").flush();
        }
        // One liar is found in each wake-up; go on until none is left.
        loop {
            // Sending a liar away frees its page, which is cold; without one nothing may be allocated or freed.
            let cold = self.takers.iter().flatten().any(|taker| taker.lied);
            let Self { class, fill, ways, .. } = self;
            let mut recycle = || class.recycle(&mut Lent { fill, ways, arrival: 0 });
            let Some(found) = (if cold { recycle() } else { assert_no_alloc(recycle) }) else { break };
            let index =
                self.takers.iter().position(|taker| taker.as_ref().is_some_and(|taker| taker.id == found.taker));
            let taker = self.takers[index.expect("a live taker")].take().expect("a live taker");
            assert!(taker.lied, "an honest taker was called hostile: {found:?}");
        }
        assert!(self.takers.iter().flatten().all(|taker| !taker.lied), "a lie went unnoticed");
    }

    /// Every frame is on the fill ring, on the class's ring, or on its way out: once.
    fn check(&mut self) {
        let figures = self.gauges.read();
        let consumer = figures.recycled;
        for taker in self.takers.iter().flatten().filter(|taker| !taker.lied) {
            assert!(taker.cursor >= consumer || figures.produced == 0, "a frame was given back under a taker");
        }
        let mut places = vec![0_u8; FRAMES as usize];
        let lent = self.kernel_fill.available();
        for _ in 0..lent {
            let address = self.kernel_fill.pop().expect("an available entry");
            places[(address >> FRAME_SHIFT) as usize] += 1;
            // Put it back at the end: the kernel takes frames in any order it likes.
            assert!(self.fill.push(address), "room on the fill ring");
        }
        self.kernel_fill.release();
        self.fill.lend();
        for index in consumer..self.delivered {
            places[(self.reader.descriptor(index as u32).address >> FRAME_SHIFT) as usize] += 1;
        }
        let on_wire: Vec<u64> = self.wire.until(self.wire.producer()).map(|descriptor| descriptor.address).collect();
        for (frame, count) in places.iter().enumerate() {
            let sending = on_wire.iter().any(|address| (address >> FRAME_SHIFT) as usize == frame);
            let expected = if sending { 0..=1 } else { 1..=1 };
            assert!(expected.contains(count), "frame {frame} is in {count} places (on the wire: {sending})");
        }
    }
}

/// The pool dies as it stands: what of it is in its successor's books?
fn die(model: &Model) {
    let figures = model.gauges.read();
    model.ledger.note(0, model.ring_full, 0);
    let mut delivered = [0; CLASSES];
    delivered[usize::from(CLASS)] = model.delivered + model.ring_full;
    let (successor, _) = Ledger::open(&model.books, &delivered, &[]).expect("a ledger");
    let past = successor.past();
    let (ring_full, mirror_full) = (model.ring_full, figures.mirror_full);
    let (lost, none) = if model.mirrors { (past.mirrored, past.delivered) } else { (past.delivered, past.mirrored) };
    let (met, taker_died) =
        if model.mirrors { (figures.mirrored + mirror_full, 0) } else { (figures.recycled, figures.abandoned) };
    let expected = Lost { ring_full, no_frame: 0, taker_died, mirror_full, dataplane_died: model.delivered - met };
    assert_eq!((lost, none), (expected, Lost::default()));
    for taken in &model.taken {
        assert_eq!(past.taken[taken.number], taken.frames.load(Ordering::Relaxed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_is_in_one_place(mirrors: bool, steps in steps()) {
        let mut model = Model::new(mirrors);
        for step in &steps {
            model.act(step);
            model.check();
        }
        die(&model);
        model.wake();
        let figures = model.gauges.read();
        prop_assert_eq!(figures.produced, model.delivered);
        prop_assert!(figures.abandoned <= figures.recycled);
        for (taker, taken) in model.takers.iter().zip(&model.taken) {
            let waiting = taker.as_ref().map_or(0, |taker| model.delivered - taker.cursor);
            prop_assert_eq!(taken.waiting.load(Ordering::Relaxed), waiting, "what waits for whom");
        }
    }
}

#[test]
fn a_stopped_taker_costs_its_own_class_and_nothing_else() {
    let mut model = Model::new(false);
    model.act(&Step::Toggle(0));
    for _ in 0..10 {
        model.act(&Step::Deliver(39));
        model.act(&Step::Wake);
        model.check();
    }
    assert_eq!(model.delivered, u64::from(RING), "the ring is the quota");
    assert_eq!(model.ring_full, 390 - u64::from(RING), "the rest is counted by the kernel");
}

#[test]
fn what_nobody_is_expected_to_take_comes_home_at_once_and_is_counted() {
    let mut model = Model::new(false);
    model.act(&Step::Toggle(0));
    model.act(&Step::Deliver(39));
    model.act(&Step::Finish(0, 9));
    model.act(&Step::Expect(false));
    model.act(&Step::Wake);
    assert_eq!(model.gauges.read().recycled, 9, "who is there finishes what he has");
    model.act(&Step::Toggle(0));
    model.act(&Step::Wake);
    let figures = model.gauges.read();
    assert_eq!((figures.recycled, figures.abandoned), (39, 30));
    model.act(&Step::Deliver(5));
    model.act(&Step::Wake);
    assert_eq!(model.gauges.read().abandoned, 35, "and what comes all the same");
    model.act(&Step::Expect(true));
    model.act(&Step::Deliver(7));
    model.act(&Step::Wake);
    model.check();
    assert_eq!(model.gauges.read().abandoned, 35, "a successor is waited for again");
}

#[test]
fn frames_of_a_dead_taker_come_home_when_the_next_one_joins() {
    let mut model = Model::new(false);
    model.act(&Step::Toggle(0));
    model.act(&Step::Deliver(39));
    model.act(&Step::Finish(0, 9));
    model.act(&Step::Wake);
    model.act(&Step::Toggle(0));
    model.act(&Step::Wake);
    model.act(&Step::Toggle(0));
    model.act(&Step::Wake);
    model.check();
    let figures = model.gauges.read();
    assert_eq!((figures.recycled, figures.abandoned), (39, 30));
}
