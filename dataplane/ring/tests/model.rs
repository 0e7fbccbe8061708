//! Does each ring behave as a plain queue, from any index on, across the wrap of 32 bits?

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use weir_dataplane_ring::{
    CompletionRing, Descriptor, FillRing, Full, HeapMemory, LaneRing, Memory, OwnerCursors, RecordConsumer,
    RecordProducer, RingOffsets, RxOwner, RxReader, TakerCursors, TxRing, record_ring_length,
};

/// Lets a ring of which both index words are at `offsets` begin at `index`.
fn begin_at(memory: &Arc<HeapMemory>, offsets: [usize; 2], index: u32) {
    for offset in offsets {
        memory.set_index(offset, index).expect("an index word");
    }
}

fn memory(length: usize) -> Arc<HeapMemory> {
    HeapMemory::zeroed(length.max(4096))
}

fn config() -> ProptestConfig {
    // Under Miri a case costs seconds and there is no file to remember failures in.
    let cases = if cfg!(miri) { 3 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Where a ring begins: mostly close to the wrap.
fn start() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), u32::MAX - 40..=u32::MAX, any::<u32>()]
}

fn size() -> impl Strategy<Value = u32> {
    (0..5_u32).prop_map(|bits| 1 << bits)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u32),
    Publish,
    Pop(u32),
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = 1..20_u32;
    let step = prop_oneof![
        count.clone().prop_map(Step::Push),
        Just(Step::Publish),
        count.prop_map(Step::Pop),
        Just(Step::Release),
    ];
    prop::collection::vec(step, 0..60)
}

/// A queue with the two steps of each side: written and published, read and released.
#[derive(Default)]
struct Model {
    staged: VecDeque<u64>,
    shown: VecDeque<u64>,
    /// Read, but not given back.
    held: usize,
    next: u64,
}

impl Model {
    fn room(&self, size: u32) -> usize {
        size as usize - self.staged.len() - self.shown.len() - self.held
    }

    fn publish(&mut self) {
        self.shown.append(&mut self.staged);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fill_and_completion_rings_are_queues(size in size(), start in start(), steps in steps()) {
        let memory = memory(LaneRing::OFFSETS.address_ring_length(size));
        begin_at(&memory, [0, 128], start);
        let mut fill = FillRing::new(memory.clone(), LaneRing::OFFSETS, size).expect("a ring");
        let mut other_end = CompletionRing::new(memory, LaneRing::OFFSETS, size).expect("a ring");
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Push(count) => for _ in 0..count {
                    let room = model.room(size);
                    prop_assert_eq!(fill.free() as usize, room);
                    let pushed = fill.push(model.next);
                    prop_assert_eq!(pushed, if room > 0 { Ok(()) } else { Err(Full) });
                    if room > 0 {
                        model.staged.push_back(model.next);
                        model.next += 1;
                    }
                },
                Step::Publish => { fill.publish(); model.publish(); }
                Step::Pop(count) => for _ in 0..count {
                    prop_assert_eq!(other_end.available() as usize, model.shown.len());
                    let expected = model.shown.pop_front();
                    model.held += usize::from(expected.is_some());
                    prop_assert_eq!(other_end.pop(), expected);
                },
                Step::Release => { other_end.release(); model.held = 0; }
            }
        }
    }

    #[test]
    fn the_record_ring_is_a_queue(size in size(), start in start(), steps in steps(), way in 0..4_u8) {
        let memory = memory(record_ring_length::<[u64; 3]>(size));
        begin_at(&memory, [128, 256], start);
        let mut producer = RecordProducer::<[u64; 3]>::attach(memory.clone(), size).expect("a ring");
        let mut consumer = RecordConsumer::<[u64; 3]>::attach(memory, size).expect("a ring");
        let record = |value: u64| [value, !value, value.rotate_left(9)];
        let (mut model, mut refused) = (Model::default(), 0_u64);
        for step in steps {
            match step {
                Step::Push(count) => {
                    let room = model.room(size);
                    let batch: Vec<_> = (model.next..).take(count as usize).map(record).collect();
                    // Each way to write: staged one by one, one batch, a reservation; the last two publish at once.
                    let written = match way {
                        0 => batch.iter().take_while(|record| producer.stage(record).is_ok()).count(),
                        1 => producer.push_batch(&batch),
                        2 => match producer.reserve(count) {
                            Ok(mut reservation) => {
                                for record in &batch { prop_assert_eq!(reservation.push(record), Ok(())); }
                                prop_assert_eq!(reservation.push(&record(0)), Err(Full));
                                reservation.commit();
                                batch.len()
                            }
                            Err(Full) => 0,
                        },
                        _ => batch.iter().take_while(|record| producer.push(record).is_ok()).count(),
                    };
                    let expected = if way == 2 && room < batch.len() { 0 } else { room.min(batch.len()) };
                    prop_assert_eq!(written, expected);
                    if written < batch.len() {
                        // One by one, the first refusal ends the test's own loop.
                        refused += if way == 0 || way == 3 { 1 } else { (batch.len() - written) as u64 };
                    }
                    prop_assert_eq!(consumer.refused(), refused);
                    model.staged.extend(model.next..model.next + written as u64);
                    model.next += written as u64;
                    if way != 0 { model.publish(); }
                }
                Step::Publish => { producer.publish(); model.publish(); }
                Step::Pop(count) => {
                    prop_assert_eq!(consumer.available().expect("honest") as usize, model.shown.len());
                    let mut got = Vec::new();
                    if count % 2 == 0 {
                        let taken = consumer.consume(count, |record| got.push(*record)).expect("honest");
                        prop_assert_eq!(taken as usize, got.len());
                    } else {
                        let mut into = vec![[0; 3]; count as usize];
                        let taken = consumer.pop_batch(&mut into).expect("honest");
                        got.extend(&into[..taken]);
                    }
                    let expected: Vec<_> = model.shown.drain(..model.shown.len().min(count as usize)).map(record).collect();
                    prop_assert_eq!(got, expected);
                }
                Step::Release => {
                    prop_assert_eq!(consumer.pop().expect("honest"), model.shown.pop_front().map(record));
                }
            }
        }
    }

    #[test]
    fn a_lane_and_its_takers_are_a_queue(size in size(), start in start(), steps in steps()) {
        let memory: Arc<HeapMemory> = memory(LaneRing::length(size));
        begin_at(&memory, [0, 128], start);
        let page = HeapMemory::zeroed(4096);
        let (taker, cursors) = (TakerCursors::new(page.clone(), 0), OwnerCursors::new(page, 0));
        let (taker, cursors) = (taker.expect("a page"), cursors.expect("a page"));
        let shared: Arc<dyn Memory> = memory;
        let mut lane = LaneRing::new(Arc::clone(&shared), size).expect("a lane");
        let reader = RxReader::new(Arc::clone(&shared), LaneRing::OFFSETS, size).expect("a reader");
        let mut owner = RxOwner::new(shared, LaneRing::OFFSETS, size).expect("an owner");
        cursors.start_at(3, owner.consumer());
        let mut cursor = taker.position(3);
        let descriptor = |value: u64| Descriptor { address: value << 11, length: value as u32, options: (value % 2) as u32 };
        let mut model = Model::default();
        for step in steps {
            match step {
                // Every other length together, the rest one by one: both are one queue.
                Step::Push(count) if count.is_multiple_of(2) => {
                    let fitting = model.room(size).min(count as usize);
                    let next = model.next;
                    let values: Vec<u64> = (next..next + u64::from(count)).collect();
                    let pushed = lane.push_batch(values.iter().copied().map(descriptor));
                    prop_assert_eq!(pushed as usize, fitting);
                    model.staged.extend(values.into_iter().take(fitting));
                    model.next += fitting as u64;
                }
                Step::Push(count) => for _ in 0..count {
                    let room = model.room(size);
                    prop_assert_eq!(lane.free() as usize, room);
                    prop_assert_eq!(lane.push(descriptor(model.next)).is_ok(), room > 0);
                    if room > 0 {
                        model.staged.push_back(model.next);
                        model.next += 1;
                    }
                },
                Step::Publish => { lane.publish(); model.publish(); }
                Step::Pop(count) => {
                    let ready = reader.available(cursor);
                    prop_assert_eq!(ready as usize, model.shown.len());
                    let count = ready.min(count);
                    let got: Vec<_> = reader.batch(cursor, count).collect();
                    let expected: Vec<_> = model.shown.drain(..count as usize).map(descriptor).collect();
                    prop_assert_eq!(got, expected);
                    cursor += u64::from(count);
                    model.held += count as usize;
                    taker.publish(3, cursor);
                }
                Step::Release => {
                    let passed = owner.judge(cursors.load(3)).expect("honest");
                    prop_assert_eq!(owner.until(passed).len(), model.held);
                    owner.release(passed);
                    prop_assert_eq!(owner.fill_level() as usize, model.shown.len());
                    prop_assert_eq!(owner.producer() - owner.consumer(), model.shown.len() as u64);
                    model.held = 0;
                }
            }
        }
    }

    #[test]
    fn any_cursor_is_judged_by_arithmetic(consumer in any::<u32>(), filled in 0..=16_u32, cursor in any::<u64>(), near in -20..20_i64) {
        let memory = memory(LaneRing::length(16));
        memory.set_index(LaneRing::OFFSETS.producer, consumer.wrapping_add(filled)).expect("an index word");
        memory.set_index(LaneRing::OFFSETS.consumer, consumer).expect("an index word");
        let owner = RxOwner::new(memory, LaneRing::OFFSETS, 16).expect("an owner");
        let honest = u64::from(consumer)..=u64::from(consumer) + u64::from(filled);
        for cursor in [cursor, u64::from(consumer).wrapping_add_signed(near)] {
            let judged = owner.judge(weir_dataplane_ring::Allegation::new(cursor));
            prop_assert_eq!(judged.is_ok(), honest.contains(&cursor), "{:?}", judged);
        }
    }
}

#[test]
fn hostile_indexes_are_refused_and_do_no_harm() {
    let memory = memory(record_ring_length::<u64>(8));
    let mut producer = RecordProducer::<u64>::attach(memory.clone(), 8).expect("a ring");
    let mut consumer = RecordConsumer::<u64>::attach(memory.clone(), 8).expect("a ring");
    let lie = |offset, value| memory.set_index(offset, value).expect("an index word");
    producer.push(&1).expect("room");
    lie(128, 10); // the producer's index: ten records in a ring of eight
    let error = consumer.pop().expect_err("a claim beyond the ring");
    assert_eq!((error.peer, error.distance, error.size), (10, 10, 8));
    assert!(consumer.consume(3, |_| panic!("nothing may be read")).is_err());
    assert!(error.to_string().contains("hostile"), "{error}");
    lie(128, 1);
    assert_eq!(consumer.pop(), Ok(Some(1)), "an honest index is read again");
    lie(256, 100); // the consumer's index: ahead of everything that was written
    assert_eq!((0..20).filter(|value| producer.push(value).is_ok()).count(), 7, "only what was known to be free");
    assert_eq!(producer.free(), 0, "an impossible index reads as a full ring");
}

#[test]
fn layouts_that_do_not_fit_are_refused() {
    let memory: Arc<dyn Memory> = HeapMemory::zeroed(4096);
    let odd = RingOffsets { producer: 2, ..LaneRing::OFFSETS };
    let messages = [
        RxReader::new(Arc::clone(&memory), LaneRing::OFFSETS, 24).err().map(|error| error.to_string()),
        RxReader::new(Arc::clone(&memory), LaneRing::OFFSETS, 0).err().map(|error| error.to_string()),
        TxRing::new(Arc::clone(&memory), LaneRing::OFFSETS, 256).err().map(|error| error.to_string()),
        FillRing::new(Arc::clone(&memory), odd, 16).err().map(|error| error.to_string()),
        TakerCursors::new(Arc::clone(&memory), 128).err().map(|error| error.to_string()),
        RecordProducer::<u64>::attach(memory, 1 << 31).err().map(|error| error.to_string()),
    ];
    let expected =
        ["choose 32", "choose 1", "map at least 4480", "not aligned to 4", "map at least 4224", "power of two"];
    for (message, expected) in messages.into_iter().zip(expected) {
        assert!(message.as_ref().is_some_and(|message| message.contains(expected)), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn a_successor_goes_on_where_publication_ended() {
    let memory = memory(record_ring_length::<u64>(8));
    let mut first = RecordProducer::<u64>::attach(memory.clone(), 8).expect("a ring");
    first.push(&1).expect("room");
    first.stage(&2).expect("room"); // written, never published
    drop(first);
    let mut second = RecordProducer::<u64>::attach(memory.clone(), 8).expect("a ring");
    second.push(&3).expect("room");
    second.reserve(1).expect("room").push(&4).expect("reserved"); // not committed: did not happen
    second.push(&5).expect("room");
    let mut consumer = RecordConsumer::<u64>::attach(memory, 8).expect("a ring");
    let mut got = Vec::new();
    assert_eq!(consumer.consume(8, |record| got.push(*record)), Ok(3));
    assert_eq!(got, [1, 3, 5]);
}

#[test]
fn records_cross_threads_whole_and_in_order() {
    let count = if cfg!(miri) { 200 } else { 200_000_u64 };
    let memory = memory(record_ring_length::<[u64; 16]>(64));
    let mut producer = RecordProducer::<[u64; 16]>::attach(memory.clone(), 64).expect("a ring");
    let mut consumer = RecordConsumer::<[u64; 16]>::attach(memory, 64).expect("a ring");
    let writer = std::thread::spawn(move || {
        let mut next = 0;
        while next < count {
            match producer.push(&[next; 16]) {
                Ok(()) => next += 1,
                Err(Full) => std::thread::yield_now(),
            }
        }
    });
    let mut next = 0;
    while next < count {
        let taken = consumer.consume(32, |record| {
            assert_eq!(*record, [next; 16]);
            next += 1;
        });
        if taken == Ok(0) {
            std::thread::yield_now();
        }
    }
    writer.join().expect("the writer ends");
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn pages_carry_cursors_floors_stop_and_signs_of_life() {
    use weir_dataplane_ring::{OwnerPage, OwnerView, SLOTS};
    let (mine, theirs) = (HeapMemory::zeroed(4096), HeapMemory::zeroed(4096));
    let (owner, view) = (OwnerPage::new(mine.clone(), 0).expect("a page"), OwnerView::new(mine, 0).expect("a page"));
    let taker = TakerCursors::new(theirs.clone(), 0).expect("a page");
    let seen = OwnerCursors::new(theirs, 0).expect("a page");
    for slot in 0..SLOTS {
        taker.publish(slot, slot as u64 + 100);
        owner.set_floor(slot, slot as u64 + 7);
    }
    taker.publish(SLOTS, 1); // beyond the last slot: ignored, not the heartbeat
    owner.set_floor(SLOTS, 1);
    taker.beat(42);
    taker.kicked();
    taker.set_counter(13, 9);
    taker.set_counter(14, 9);
    taker.set_counter(usize::MAX, 9);
    for slot in 0..SLOTS {
        assert_eq!((seen.load(slot).raw(), view.floor(slot)), (slot as u64 + 100, slot as u64 + 7));
    }
    assert_eq!((seen.heartbeat_ns(), seen.kicks(), seen.counter(13), seen.counter(14)), (42, 1, 9, 0));
    assert!(!view.stop());
    owner.ask_stop();
    assert!(view.stop());
    owner.clear_stop();
    assert!(!view.stop());
    assert!(view.copy_is_whole(0, 7) && !view.copy_is_whole(0, 6));
}
