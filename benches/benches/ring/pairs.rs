//! Producers and consumers of each kind of ring, behind two small traits so that every one runs in the same loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use anyhow::{Result, ensure};
use weir_benches::noise;
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_ring::{
    Descriptor, LaneRing, Memory, OwnerCursors, PAGE_LENGTH, RecordConsumer, RecordProducer, RxOwner, RxReader,
    TakerCursors, record_ring_length,
};

/// Slots of every ring.
pub(crate) const SLOTS: u32 = 1024;
/// Core of the producer, and of the consumer.
pub(crate) const CORES: [u32; 2] = [0, 1];

/// What travels: 16 bytes like a descriptor, or 128 like a record. The first word is its number.
pub(crate) type Small = [u64; 2];
/// See [`Small`].
pub(crate) type Large = [u64; 16];

/// An item made from its number.
pub(crate) trait Item: Copy + Send + 'static {
    fn make(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl<const N: usize> Item for [u64; N] {
    #[inline]
    fn make(number: u64) -> Self {
        let mut item = [number ^ 0x5555; N];
        item[0] = number;
        item
    }

    /// The number, if every word belongs to it.
    #[inline]
    fn number(&self) -> u64 {
        let whole = self[1..].iter().fold(0, |bad, word| bad | (word ^ 0x5555 ^ self[0]));
        if whole == 0 { self[0] } else { u64::MAX }
    }
}

/// Puts up to `batch` items, the first with this number, and shows them together; gives how many.
pub(crate) trait Give: Send {
    fn give(&mut self, first: u64, batch: u32) -> u32;
}

/// Takes up to `batch` items, checks each number, and gives their places back together; gives how many.
pub(crate) trait Take: Send {
    fn take(&mut self, expected: u64, batch: u32, wrong: &mut u64) -> u32;
}

/// Our record ring. A record that finds no room is dropped and counted in normal use; here it is to wait, so a producer
/// that was refused once asks for room before it tries again, as rtrb's does by itself.
pub(crate) struct Records<T> {
    ring: RecordProducer<T>,
    refused: bool,
}

impl<T> Records<T> {
    pub(crate) fn new(ring: RecordProducer<T>) -> Self {
        Self { ring, refused: false }
    }
}

impl<const N: usize> Give for Records<[u64; N]>
where
    [u64; N]: Item + weir_dataplane_ring::memory::Plain,
{
    #[inline]
    fn give(&mut self, first: u64, batch: u32) -> u32 {
        if self.refused && self.ring.free() < batch {
            return 0;
        }
        let given = if batch == 1 {
            self.ring.push(&Item::make(first)).is_ok()
        } else if let Ok(mut room) = self.ring.reserve(batch) {
            for step in 0..u64::from(batch) {
                let _ = room.push(&Item::make(first + step)); // reserved just above
            }
            room.commit();
            true
        } else {
            false
        };
        self.refused = !given;
        if given { batch } else { 0 }
    }
}

/// Our record ring's other end.
pub(crate) struct RecordsOut<T>(pub(crate) RecordConsumer<T>);

impl<const N: usize> Take for RecordsOut<[u64; N]>
where
    [u64; N]: Item + weir_dataplane_ring::memory::Plain,
{
    #[inline]
    fn take(&mut self, expected: u64, batch: u32, wrong: &mut u64) -> u32 {
        let mut next = expected;
        let taken = self.0.consume(batch, |item| {
            *wrong += u64::from(item.number() != next);
            next += 1;
        });
        taken.unwrap_or_else(|_| {
            *wrong += 1;
            0
        })
    }
}

/// Our descriptor ring: the producer's end with the pool's part, which moves the consumer index behind the cursor.
pub(crate) struct Lane {
    ring: LaneRing,
    owner: RxOwner,
    cursors: OwnerCursors,
}

impl Lane {
    pub(crate) fn new(memory: &Arc<dyn Memory>, page: &Arc<dyn Memory>) -> Result<Self> {
        Ok(Self {
            ring: LaneRing::new(Arc::clone(memory), SLOTS)?,
            owner: RxOwner::new(Arc::clone(memory), LaneRing::OFFSETS, SLOTS)?,
            cursors: OwnerCursors::new(Arc::clone(page), 0)?,
        })
    }
}

impl Give for Lane {
    #[inline]
    fn give(&mut self, first: u64, batch: u32) -> u32 {
        let descriptor = |number: u64| Descriptor { address: number, length: number as u32, options: 0 };
        let given = if batch == 1 {
            u32::from(self.ring.push(descriptor(first)).is_ok())
        } else {
            self.ring.push_batch((0..batch).map(|step| descriptor(first + u64::from(step))))
        };
        if given > 0 {
            self.ring.publish();
        }
        if given < batch {
            // As the pool does: when the ring is full, take back what the taker has passed.
            if let Ok(end) = self.owner.judge(self.cursors.load(0)) {
                self.owner.release(end);
            }
        }
        given
    }
}

/// Our descriptor ring as a taker sees it: read-only, with one cursor.
pub(crate) struct LaneOut {
    reader: RxReader,
    cursors: TakerCursors,
    cursor: u64,
    known: u32,
}

impl LaneOut {
    pub(crate) fn new(memory: &Arc<dyn Memory>, page: &Arc<dyn Memory>) -> Result<Self> {
        let reader = RxReader::new(Arc::clone(memory), LaneRing::OFFSETS, SLOTS)?;
        Ok(Self { reader, cursors: TakerCursors::new(Arc::clone(page), 0)?, cursor: 0, known: 0 })
    }
}

impl Take for LaneOut {
    #[inline]
    fn take(&mut self, expected: u64, batch: u32, wrong: &mut u64) -> u32 {
        // A taker looks at the producer again only when it has read all it knew of, as rings do on either side.
        if self.known == 0 {
            self.known = self.reader.available(self.cursor);
        }
        let count = self.known.min(batch);
        for (descriptor, number) in self.reader.batch(self.cursor, count).zip(expected..) {
            *wrong += u64::from(descriptor.address != number || descriptor.length != number as u32);
        }
        if count > 0 {
            self.known -= count;
            self.cursor += u64::from(count);
            self.cursors.publish(0, self.cursor);
        }
        count
    }
}

/// rtrb's two ends.
pub(crate) struct Rtrb<T>(pub(crate) rtrb::Producer<T>);
/// See [`Rtrb`].
pub(crate) struct RtrbOut<T>(pub(crate) rtrb::Consumer<T>);

impl<T: Item> Give for Rtrb<T> {
    #[inline]
    fn give(&mut self, first: u64, batch: u32) -> u32 {
        if batch == 1 {
            return u32::from(self.0.push(T::make(first)).is_ok());
        }
        match self.0.write_chunk_uninit(batch as usize) {
            Ok(chunk) => chunk.fill_from_iter((first..).map(T::make)) as u32, // at most the batch
            Err(_) => 0,
        }
    }
}

impl<T: Item> Take for RtrbOut<T> {
    #[inline]
    fn take(&mut self, expected: u64, batch: u32, wrong: &mut u64) -> u32 {
        if batch == 1 {
            let Ok(item) = self.0.pop() else { return 0 };
            *wrong += u64::from(item.number() != expected);
            return 1;
        }
        let ready = self.0.slots().min(batch as usize);
        let Ok(chunk) = self.0.read_chunk(ready) else { return 0 };
        for (item, next) in chunk.into_iter().zip(expected..) {
            *wrong += u64::from(item.number() != next);
        }
        ready as u32 // at most the batch
    }
}

/// What a side does that finds no room or no item: something else for some hundred nanoseconds, as a poller with other rings
/// to look at. Sides that hammer at each other's index measure how long one cache line takes from core to core, and nothing
/// of the ring.
fn turn_away() {
    for _ in 0..16 {
        std::hint::spin_loop();
    }
}

/// Gives items until `stop`.
pub(crate) fn produce(ring: &mut impl Give, batch: u32, stop: &AtomicBool) {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let given = ring.give(next, batch);
        if given == 0 {
            turn_away();
        }
        next += u64::from(given);
    }
}

/// Takes items for one burst; gives items a second in millions, and says if any was wrong.
pub(crate) fn consume(ring: &mut impl Take, batch: u32) -> (f64, u64) {
    let (mut count, mut wrong) = (0, 0);
    let mut turns = 0_u32;
    let start = monotonic_ns();
    let mut elapsed = 0;
    while elapsed < noise::BURST.as_nanos() as u64 {
        // The clock is read once in 256 turns: it must not be what is measured.
        for _ in 0..256 {
            let taken = ring.take(count, batch, &mut wrong);
            if taken == 0 {
                turn_away();
            }
            count += u64::from(taken);
        }
        turns = turns.wrapping_add(1);
        elapsed = monotonic_ns() - start;
    }
    (count as f64 * 1e3 / elapsed as f64, wrong)
}

/// One burst between two threads.
pub(crate) fn between_threads(mut from: impl Give, mut to: impl Take, batch: u32) -> Result<f64> {
    let stop = AtomicBool::new(false);
    // Both are real-time and in their places before either begins: an ordinary thread that was born beside a spinning
    // real-time one would not get to run at all.
    let start = Barrier::new(2);
    let (rate, wrong) = std::thread::scope(|scope| -> Result<(f64, u64)> {
        let producer = scope.spawn(|| {
            let placed = noise::measuring_thread(CORES[0]);
            start.wait();
            placed?;
            produce(&mut from, batch, &stop);
            anyhow::Ok(())
        });
        let consumer = scope.spawn(|| -> Result<(f64, u64)> {
            let placed = noise::measuring_thread(CORES[1]);
            start.wait();
            placed?;
            Ok(consume(&mut to, batch))
        });
        let result = consumer.join().unwrap_or_else(|_| anyhow::bail!("the consumer panicked"));
        stop.store(true, Ordering::Relaxed);
        producer.join().unwrap_or_else(|_| anyhow::bail!("the producer panicked"))?;
        result
    })?;
    ensure!(wrong == 0, "{wrong} items were lost, doubled or torn: the ring is broken");
    Ok(rate)
}

/// Memory of a ring of `T`.
pub(crate) const fn record_bytes<T>() -> usize {
    record_ring_length::<T>(SLOTS)
}

/// Memory of a lane and of the page of its cursors.
pub(crate) fn lane_bytes() -> (usize, usize) {
    (LaneRing::length(SLOTS), PAGE_LENGTH)
}
