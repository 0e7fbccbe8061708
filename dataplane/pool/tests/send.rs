//! What becomes of frames that workers want sent? A model kernel delivers and sends, workers name frames, finish, die, join
//! and lie; after every step each frame is in one place, each goes out at most once, unchanged or turned around, in the order
//! of its ring, and only after everybody has passed it; and at the end the figures add up and every frame is home.

mod box_model;

use assert_no_alloc::AllocDisabler;
use box_model::{BoxModel, CLASSES, Wish};
use proptest::prelude::*;
use weir_dataplane_pool::sender::Refusal;

/// Ends the test program when the pool allocates while it moves frames.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

#[derive(Clone, Debug)]
enum Step {
    /// The kernel puts up to so many frames of so many pieces on the ring of class `.1` of queue `.0`.
    Deliver(usize, usize, u8, u8),
    /// Worker `.0` reads up to so many frames of each of its rings and names those whose bit is set.
    Work(usize, u8, u8, Wish),
    /// Worker `.0` names a frame and dies, or is killed, before its cursor passes it.
    NameOnly(usize),
    /// Worker `.0` names message `.1` of a stream.
    NameMessage(usize, u64),
    /// Worker `.0` dies if it lives, and joins if it does not.
    Toggle(usize),
    /// Worker `.0` names a frame that is not its to name.
    Lie(usize, u8),
    /// The pool wakes so many milliseconds later.
    Turn(u8),
    /// The kernel sends up to so many descriptors of an outlet.
    Wire(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wish = prop_oneof![
        4 => Just(Wish::Answer),
        2 => Just(Wish::Out(1)),
        1 => Just(Wish::SendOn(7)),
        1 => Just(Wish::SendOn(8)),
        1 => Just(Wish::Out(9)),
    ];
    let step = prop_oneof![
        6 => (0..2_usize, 0..CLASSES, 1..30_u8, 1..4_u8).prop_map(|(q, c, n, p)| Step::Deliver(q, c, n, p)),
        6 => (0..2_usize, 1..30_u8, any::<u8>(), wish).prop_map(|(w, n, bits, wish)| Step::Work(w, n, bits, wish)),
        1 => (0..2_usize).prop_map(Step::NameOnly),
        1 => (0..2_usize, any::<u64>()).prop_map(|(w, place)| Step::NameMessage(w, place)),
        1 => (0..2_usize).prop_map(Step::Toggle),
        1 => (0..2_usize, 0..5_u8).prop_map(|(w, how)| Step::Lie(w, how)),
        6 => (0..200_u8).prop_map(Step::Turn),
        4 => (0..2_usize, 1..60_u8).prop_map(|(outlet, count)| Step::Wire(outlet, count)),
    ];
    prop::collection::vec(step, 1..150)
}

fn act(model: &mut BoxModel, step: &Step) {
    match *step {
        Step::Deliver(queue, class, count, pieces) => model.deliver(queue, class, count, pieces),
        Step::Work(worker, count, bits, wish) => model.work(worker, count, bits, wish),
        Step::NameOnly(worker) => model.name_only(worker),
        Step::NameMessage(worker, place) => model.name_message(worker, place),
        Step::Toggle(worker) => model.toggle(worker),
        Step::Lie(worker, how) => model.lie(worker, how),
        Step::Turn(milliseconds) => model.turn(milliseconds),
        Step::Wire(outlet, count) => model.wire(outlet, count),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_named_frame_goes_out_once_or_has_a_reason(mirrors: bool, steps in steps()) {
        let mut model = BoxModel::new(mirrors, [None, Some(8_000_000)]);
        for step in &steps {
            act(&mut model, step);
            model.check();
        }
        model.settle();
    }
}

#[test]
fn two_senders_share_a_narrow_way_out_by_bytes() {
    let mut model = BoxModel::new(false, [None, None]);
    // Class 0 is worker 0's alone and class 1 worker 1's. The second one's frames are three times as long.
    model.toggle(0);
    model.toggle(1);
    for _ in 0..200 {
        model.deliver(0, 0, 60, 1);
        model.deliver(1, 1, 60, 3);
        model.work(0, 60, 0xff, Wish::Out(1));
        model.work(1, 60, 0xff, Wish::Out(1));
        model.turn(1);
        model.wire(1, 20);
        model.check();
    }
    let [first, second] = [0, 1].map(|worker| model.figures(worker));
    let ratio = first.bytes as f64 / second.bytes as f64;
    assert!((0.98..=1.02).contains(&ratio), "{} to {} bytes", first.bytes, second.bytes);
    assert!(first.waiting() > 0 && second.waiting() > 0, "both had more to send all the time");
    model.settle();
}

#[test]
fn a_way_out_that_takes_nothing_is_waited_for_and_then_given_up() {
    let mut model = BoxModel::new(false, [None, None]);
    model.toggle(0);
    for _ in 0..6 {
        model.deliver(0, 0, 60, 1);
        model.work(0, 60, 0xff, Wish::Out(1));
        model.turn(1);
        model.check();
    }
    assert!(model.figures(0).waiting() > 0 && model.figures(0).full == 0, "they wait in their places");
    model.turn(150);
    model.turn(1);
    let figures = model.figures(0);
    assert!(figures.waiting() == 0 && figures.full > 0, "{figures:?}");
    model.deliver(0, 0, 60, 1);
    model.work(0, 60, 0xff, Wish::Answer);
    model.turn(1);
    assert_eq!(model.figures(0).full, figures.full, "the other way out is open");
    model.settle();
}

#[test]
fn a_capped_sender_sends_its_cap_within_five_percent_and_keeps_no_frame() {
    let mut model = BoxModel::new(false, [Some(8_000_000), None]);
    model.toggle(0);
    assert!((of_cap(&mut model, 3, 8_000_000) - 1.0).abs() <= 0.05);
    let figures = model.figures(0);
    assert!(figures.capped > 0 && figures.waiting() == 0, "{figures:?}");
    model.settle();
}

/// What worker 0 sends in so many seconds of frames far beyond `bits` a second, as a part of what these allow.
fn of_cap(model: &mut BoxModel, seconds: u64, bits: u64) -> f64 {
    let (start, before) = (model.now_ms(), model.figures(0).bytes);
    while model.now_ms() < start + 1_000 * seconds {
        model.deliver(0, 0, 30, 1);
        model.work(0, 60, 0xff, Wish::Answer);
        model.turn(1);
        model.wire(0, 200);
        model.check();
    }
    (model.figures(0).bytes - before) as f64 / (bits * seconds / 8) as f64
}

#[test]
fn a_cap_that_changes_holds_from_the_next_turn() {
    let mut model = BoxModel::new(false, [Some(8_000_000), None]);
    model.toggle(0);
    for bits in [8_000_000, 2_000_000, 6_000_000] {
        model.cap([Some(bits), None]);
        let part = of_cap(&mut model, 2, bits);
        assert!((part - 1.0).abs() <= 0.05, "{part:.3} of {bits}");
    }
    let capped = model.figures(0).capped;
    model.cap([None, Some(8_000_000)]);
    assert!(of_cap(&mut model, 1, 8_000_000) > 1.5, "nothing holds it back any more");
    assert_eq!(model.figures(0).capped, capped);
    // The same cap again is no change: nobody gets a full bucket by asking often.
    let mut model = BoxModel::new(false, [Some(8_000_000), None]);
    model.toggle(0);
    let mut parts = 0.0;
    for _ in 0..1_000 {
        model.cap([Some(8_000_000), None]);
        let before = model.figures(0).bytes;
        model.deliver(0, 0, 30, 1);
        model.work(0, 60, 0xff, Wish::Answer);
        model.turn(1);
        model.wire(0, 200);
        parts += (model.figures(0).bytes - before) as f64 / 1e6;
    }
    assert!((parts - 1.0_f64).abs() <= 0.05, "{parts:.3} of a second's cap");
}

#[test]
fn a_message_of_a_stream_is_refused_and_its_worker_lives() {
    let mut model = BoxModel::new(false, [None, None]);
    model.toggle(0);
    [0, 5, 5, u64::MAX].into_iter().for_each(|place| model.name_message(0, place));
    model.turn(1);
    let figures = model.figures(0);
    assert_eq!((figures.requested, figures.refused[Refusal::StreamMessage as usize]), (4, 4), "{figures:?}");
    assert!(model.lives(0), "to ask is no crime");
    model.settle();
}

#[test]
fn every_lie_about_a_place_ends_its_worker_and_nobody_elses() {
    for how in 0..5 {
        let mut model = BoxModel::new(false, [None, None]);
        model.toggle(0);
        model.toggle(1);
        model.deliver(0, 0, 8, 3);
        model.deliver(0, 2, 8, 1);
        model.work(0, 4, 0xff, Wish::Answer);
        model.work(1, 4, 0xff, Wish::Answer);
        model.lie(0, how);
        model.turn(1);
        assert!(!model.lives(0) && model.lives(1), "lie {how}");
        model.check();
        model.settle();
    }
}
