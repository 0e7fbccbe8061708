//! Is the order of loads and stores right under every interleaving? Runs the product's own index arithmetic
//! (`weir_dataplane_ring::order`) on a permutation checker's atomics:
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-dataplane-ring --test loom --release --target-dir target/loom`
#![allow(unexpected_cfgs)] // `loom` is set on the command line above, so no manifest declares it
#![allow(unsafe_code)] // the checker's cells
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;
use weir_dataplane_ring::order::{Consumer, Producer, Word, judge};
use weir_dataplane_ring::positions::{Count, Side};

/// A ring index in the checker's world.
#[derive(Clone)]
struct Index(Arc<AtomicU32>);

impl Index {
    fn new(value: u32) -> Self {
        Self(Arc::new(AtomicU32::new(value)))
    }
}

impl Word for Index {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }
}

/// Slots whose every unordered access the checker reports.
#[derive(Clone)]
struct Slots(Arc<Vec<UnsafeCell<u64>>>);

impl Slots {
    fn new(size: usize) -> Self {
        Self(Arc::new((0..size).map(|_| UnsafeCell::new(0)).collect()))
    }

    fn write(&self, index: u32, value: u64) {
        let cell = &self.0[index as usize % self.0.len()];
        // SAFETY: the checker fails the test if any other access overlaps.
        cell.with_mut(|slot| unsafe { *slot = value });
    }

    fn read(&self, index: u32) -> u64 {
        let cell = &self.0[index as usize % self.0.len()];
        // SAFETY: the checker fails the test if a write overlaps.
        cell.with(|slot| unsafe { *slot })
    }
}

/// A ring of two entries that starts just before the wrap, written in batches of `batch`.
fn records(count: u64, batch: u64) {
    const SIZE: u32 = 2;
    const START: u32 = u32::MAX;
    let (tail, head, slots) = (Index::new(START), Index::new(START), Slots::new(SIZE as usize));
    let mut producer = Producer::attach(tail.clone(), head.clone(), SIZE);
    let mut consumer = Consumer::attach(head, tail, SIZE);
    let written = slots.clone();
    let writer = thread::spawn(move || {
        let mut next = 0;
        while next < count {
            let free = producer.free(batch.min(count - next) as u32);
            if free == 0 {
                thread::yield_now();
                continue;
            }
            let now = u64::from(free).min(batch).min(count - next);
            for step in 0..now {
                written.write(producer.next().wrapping_add(step as u32), next + step + 1);
            }
            producer.advance(now as u32);
            producer.publish();
            next += now;
        }
    });
    let mut next = 0;
    while next < count {
        let ready = consumer.ready(1).expect("an honest producer");
        if ready == 0 {
            thread::yield_now();
            continue;
        }
        for _ in 0..ready {
            next += 1;
            assert_eq!(slots.read(consumer.next()), next);
            consumer.advance(1);
        }
        consumer.release();
    }
    writer.join().expect("the writer ends");
}

#[test]
fn records_arrive_once_whole_and_in_order() {
    loom::model(|| records(3, 1));
}

#[test]
fn batches_arrive_once_whole_and_in_order() {
    loom::model(|| records(4, 2));
}

/// One frame goes round: the kernel fills it, the taker reads it in place, the owner lends it again, the kernel fills it
/// anew. Nobody may write the frame while the taker reads it, and the owner may never accuse the taker. Nobody waits:
/// who finds nothing to do ends, and the checker tries the orders in which there is something.
fn round_trip(reads_before_it_publishes: bool) {
    let frame = Slots::new(1);
    let (fill_tail, fill_head) = (Index::new(1), Index::new(0)); // the frame is on the fill ring
    let rx_tail = Index::new(0);
    let cursor = Arc::new(AtomicU64::new(0));
    let kernel = {
        let (frame, rx_tail) = (frame.clone(), rx_tail.clone());
        let mut fill = Consumer::attach(fill_head.clone(), fill_tail.clone(), 2);
        thread::spawn(move || {
            for round in 0..2 {
                if fill.ready(1).expect("an honest owner") == 0 {
                    return;
                }
                fill.advance(1);
                frame.write(0, u64::from(round) + 10);
                fill.release();
                rx_tail.store(round + 1);
            }
        })
    };
    let taker = {
        let (frame, rx_tail, cursor) = (frame.clone(), rx_tail.clone(), Arc::clone(&cursor));
        thread::spawn(move || {
            if rx_tail.load() == 0 {
                return;
            }
            if !reads_before_it_publishes {
                cursor.store(1, Ordering::Release);
            }
            assert_eq!(frame.read(0), 10);
            cursor.store(1, Ordering::Release);
        })
    };
    let mut fill = Producer::attach(fill_tail, fill_head, 2);
    let claim = cursor.load(Ordering::Acquire);
    let passed = judge(claim, 0, &rx_tail).expect("an honest taker");
    if passed > 0 {
        assert!(fill.free(1) > 0, "the fill ring has room for every frame");
        fill.advance(1);
        fill.publish();
    }
    kernel.join().expect("the kernel ends");
    taker.join().expect("the taker ends");
}

#[test]
fn a_frame_is_lent_again_only_after_its_taker_is_done() {
    loom::model(|| round_trip(true));
}

/// The control: a taker that publishes before it reads must be found out.
#[test]
#[should_panic]
fn a_taker_that_publishes_too_early_reads_a_frame_being_written() {
    loom::model(|| round_trip(false));
}

/// A taker that finishes a frame between the owner's two loads. `claim_first` is the product's order.
fn judgement(claim_first: bool) {
    let (rx_tail, cursor) = (Index::new(0), Arc::new(AtomicU64::new(0)));
    let busy = {
        let (rx_tail, cursor) = (rx_tail.clone(), Arc::clone(&cursor));
        thread::spawn(move || {
            rx_tail.store(1);
            cursor.store(1, Ordering::Release);
        })
    };
    let early = Index::new(rx_tail.load());
    let claim = cursor.load(Ordering::Acquire);
    let judged = judge(claim, 0, if claim_first { &rx_tail } else { &early });
    assert!(judged.is_ok(), "an honest taker was accused: {judged:?}");
    busy.join().expect("the taker ends");
}

#[test]
fn the_claim_is_loaded_before_the_producer_index() {
    loom::model(|| judgement(true));
}

/// The control: the checker must find what the other order does.
#[test]
#[should_panic(expected = "an honest taker was accused")]
fn the_other_order_accuses_an_honest_taker() {
    loom::model(|| judgement(false));
}

/// A position in the checker's world.
#[derive(Clone)]
struct Position(Arc<AtomicU64>);

impl Position {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }
}

impl Count for Position {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

/// A ring of `SIZE` bytes, each a message, whose two ends have a view each or share one.
fn bytes<const SIZE: u64>(count: u64, one_view: bool) {
    let (write, read, slots) = (Position::new(), Position::new(), Slots::new(SIZE as usize));
    let (writer_sees, writer_shows) = (Position::new(), Position::new());
    let (reader_sees, reader_shows) =
        if one_view { (writer_shows.clone(), writer_sees.clone()) } else { (Position::new(), Position::new()) };
    let writer = Side { own: write.clone(), peer: read.clone(), shown: writer_shows, seen: writer_sees, size: SIZE };
    let reader = Side { own: read, peer: write, shown: reader_shows, seen: reader_sees, size: SIZE };
    let written = slots.clone();
    let thread = thread::spawn(move || {
        let mut next = 0;
        while next < count {
            let Ok(at) = writer.room(1) else {
                thread::yield_now();
                continue;
            };
            written.write(at as u32, next + 1);
            writer.publish(at + 1);
            next += 1;
        }
    });
    let mut next = 0;
    while next < count {
        let (at, end) = reader.ready();
        assert!(end - at <= SIZE);
        if end == at {
            thread::yield_now();
            continue;
        }
        next += 1;
        assert_eq!(slots.read(at as u32), next);
        reader.publish(at + 1);
    }
    thread.join().expect("the writer ends");
}

#[test]
fn bytes_arrive_once_whole_and_in_order_with_a_view_for_each_end() {
    loom::model(|| bytes::<2>(3, false));
}

#[test]
fn bytes_arrive_once_whole_and_in_order_with_one_view_for_both_ends() {
    // Every load and store is of words that both write, so all their orders are too many: those with up to three places at
    // which a thread is interrupted, which is where such mistakes show.
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(3);
    checker.check(|| bytes::<1>(2, true));
}
