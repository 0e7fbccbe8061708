//! How many frames is the kernel lent? A model kernel takes and returns frames at random times: each frame is in one place, a quiet
//! queue has all of them, and a busy one what lasts until the pool looks again.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use weir_dataplane_pool::lending::Lending;
use weir_dataplane_ring::{CompletionRing, FillRing, HeapMemory, LaneRing, Memory};

const FRAMES: u32 = 6_000;
const SLOTS: u32 = 16_384;
/// A window of the pool's, in nanoseconds.
const LOOK_NS: u64 = Lending::LOOK.as_nanos() as u64;
/// Frames in a window from which on it is a busy one.
const BUSY: u32 = (LOOK_NS / 1_000) as u32;

struct Model {
    lending: Lending,
    fill: CompletionRing,
    /// Frames that the kernel has filled and a taker has not finished, oldest first.
    out: VecDeque<u64>,
    now_ns: u64,
}

impl Model {
    fn new() -> Self {
        let memory: Arc<dyn Memory> = HeapMemory::zeroed(LaneRing::length(SLOTS));
        let ring = FillRing::new(Arc::clone(&memory), LaneRing::OFFSETS, SLOTS).expect("a ring");
        let fill = CompletionRing::new(memory, LaneRing::OFFSETS, SLOTS).expect("the kernel's side");
        let mut lending = Lending::sparing(ring, FRAMES);
        assert!((0..u64::from(FRAMES)).all(|frame| lending.push(frame)), "room for every frame");
        lending.lend();
        let mut model = Self { lending, fill, out: VecDeque::new(), now_ns: 0 };
        model.turn(0);
        model
    }

    /// The kernel takes up to `count` frames; gives how many it got.
    fn take(&mut self, count: u32) -> u32 {
        let before = self.out.len();
        self.out.extend((0..count).map_while(|_| self.fill.pop()));
        self.fill.release();
        (self.out.len() - before) as u32
    }

    /// A turn of the pool `later_ns` after the last one, to which `count` frames come home.
    fn turn_with(&mut self, later_ns: u64, count: usize) {
        self.now_ns += later_ns;
        self.lending.begin(self.now_ns);
        let count = count.min(self.out.len());
        assert!(self.out.drain(..count).all(|frame| self.lending.push(frame)), "room for every frame");
        self.lending.lend();
    }

    fn turn(&mut self, later_ns: u64) {
        self.turn_with(later_ns, usize::MAX);
    }

    fn lent(&mut self) -> u32 {
        self.lending.figures().0
    }
}

#[test]
fn a_quiet_queue_is_lent_every_frame() {
    let mut model = Model::new();
    for _ in 0..20 {
        assert_eq!((model.lent(), model.lending.holds_back()), (FRAMES, false));
        assert_eq!(model.take(BUSY - 1), BUSY - 1);
        model.turn(LOOK_NS);
    }
}

#[test]
fn a_busy_queue_goes_round_with_few_frames_and_gets_all_of_them_back() {
    let mut model = Model::new();
    let mut used = std::collections::BTreeSet::new();
    for window in 0..100 {
        assert_eq!(model.take(400), 400, "window {window}");
        if window >= 50 {
            used.extend(model.out.iter().copied());
        }
        model.turn(LOOK_NS);
    }
    assert!(model.lending.holds_back());
    assert!(used.len() < 1_500, "{} frames went round", used.len());
    model.turn(LOOK_NS);
    assert_eq!((model.lent(), model.lending.holds_back()), (FRAMES, false), "after one quiet window");
}

#[test]
fn what_the_kernel_needs_at_a_time_grows_with_what_it_takes() {
    let mut model = Model::new();
    for taken in [400, 800, 1_600, 3_200] {
        for _ in 0..3 {
            assert_eq!(model.take(taken), taken, "twice the last window is there, and the least");
            model.turn(LOOK_NS);
        }
        assert!(model.lent() >= (2 * taken).min(FRAMES), "{} lent after {taken}", model.lent());
    }
}

#[test]
fn a_queue_that_ran_dry_is_lent_everything_for_a_minute() {
    let mut model = Model::new();
    let busy = |model: &mut Model, windows: u32| {
        for _ in 0..windows {
            assert_eq!(model.take(400), 400);
            model.turn(LOOK_NS);
        }
    };
    busy(&mut model, 50);
    assert!(model.lending.holds_back());
    let lent = model.lent();
    assert_eq!(model.take(FRAMES), lent, "the pool was late, and the rest was held back");
    model.turn(100 * LOOK_NS); // so late that the time from one turn to the other was a quiet one
    busy(&mut model, 600);
    assert!(!model.lending.holds_back());
    // Minutes later, half as much with each.
    let mut held = Vec::new();
    for _ in 0..6 {
        model.now_ns += 60_000_000_000;
        model.turn(0);
        busy(&mut model, 60);
        held.push(model.lending.holds_back());
    }
    assert_eq!(held.last(), Some(&true), "{held:?}");
}

#[test]
fn a_window_that_took_most_of_what_was_lent_is_remembered() {
    let mut model = Model::new();
    for _ in 0..50 {
        assert_eq!(model.take(400), 400);
        model.turn(LOOK_NS);
    }
    assert_eq!(model.take(900), 900, "of 1,024");
    model.turn(LOOK_NS);
    for window in 0..100 {
        assert_eq!(model.take(400), 400);
        model.turn(LOOK_NS);
        assert!(model.lent() >= 2_700, "window {window}: {} lent", model.lent());
    }
    assert!(model.lending.holds_back());
}

#[test]
fn a_driver_with_descriptors_of_its_own_is_lent_every_frame() {
    let memory: Arc<dyn Memory> = HeapMemory::zeroed(LaneRing::length(SLOTS));
    let ring = FillRing::new(Arc::clone(&memory), LaneRing::OFFSETS, SLOTS).expect("a ring");
    let mut fill = CompletionRing::new(memory, LaneRing::OFFSETS, SLOTS).expect("the kernel's side");
    let mut lending = Lending::all(ring);
    (0..100).for_each(|frame| assert!(lending.push(frame)));
    lending.lend();
    for window in 1..10 {
        let taken: Vec<u64> = (0..100).map_while(|_| fill.pop()).collect();
        fill.release();
        lending.begin(window * LOOK_NS);
        assert!(taken.into_iter().all(|frame| lending.push(frame)));
        lending.lend();
        assert_eq!(lending.figures(), (100, 0));
    }
}

proptest! {
    #[test]
    fn every_frame_is_in_one_place_and_none_is_kept_from_a_quiet_queue(
        steps in prop::collection::vec((0..3_000_u32, 0..4_000_usize, 0..3 * LOOK_NS), 1..100),
    ) {
        let mut model = Model::new();
        for (take, home, later_ns) in steps {
            let lent = model.lent();
            let taken = model.take(take);
            prop_assert_eq!(taken, take.min(lent), "the kernel gets what is lent");
            model.turn_with(later_ns, home);
            let (lent, held) = model.lending.figures();
            prop_assert_eq!(lent + held + model.out.len() as u32, FRAMES);
            prop_assert!(held == 0 || lent >= 1024, "{} lent while {} are held back", lent, held);
        }
        model.turn(LOOK_NS);
        model.turn(LOOK_NS);
        prop_assert_eq!(model.lending.figures(), (FRAMES, 0));
        let _ = model.take(FRAMES);
        let mut frames: Vec<u64> = model.out.iter().copied().collect();
        frames.sort_unstable();
        prop_assert_eq!(frames, (0..u64::from(FRAMES)).collect::<Vec<_>>());
    }
}
