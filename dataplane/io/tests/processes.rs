//! Do rings survive the sudden death of the process at the other end?
//!
//! Writers and takers are processes of their own, killed in the middle of what they do, 200 times each (10,000 with
//! `WEIR_TEST_LONG=1`). What was published must arrive exactly once; what was not must leave no trace; a successor goes
//! on at the same place.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_dataplane_io::fds::Channel;
use weir_dataplane_io::shared::{self, SharedMemory, Writers};
use weir_dataplane_ring::{
    Descriptor, LaneRing, OwnerCursors, PAGE_LENGTH, RecordConsumer, RecordProducer, RxOwner, RxReader, TakerCursors,
    record_ring_length,
};

/// A record whose every word says which one it is.
type Numbered = [u64; 16];
const SIZE: u32 = 64;
/// No step of the test takes longer on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("writer") => writer(),
        Some("taker") => taker(),
        _ => {
            let kills = if std::env::var_os("WEIR_TEST_LONG").is_some() { 10_000 } else { 200 };
            println!("writers: {}", killed_writers(kills));
            println!("takers: {}", killed_takers(kills));
        }
    }
}

/// Starts this program again in `role` with `memory` mapped; `start` is where it begins.
fn start(role: &str, memory: &[&SharedMemory], start: u64) -> Child {
    let (here, there) = Channel::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let child = command.arg(role).stdin(Stdio::from(there.into_fd())).spawn().unwrap();
    let files: Vec<_> = memory.iter().map(|memory| memory.file()).collect();
    here.send(&start.to_le_bytes(), &files).unwrap();
    child
}

fn attach<const N: usize>(lengths: [(usize, bool); N]) -> ([Arc<weir_dataplane_io::Mapping>; N], u64) {
    let channel = Channel::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut start = [0; 8];
    let message = channel.receive(&mut start).unwrap();
    let mut files = message.descriptors.into_iter();
    let mapped = lengths
        .map(|(length, writable)| Arc::new(shared::open(files.next().unwrap().as_fd(), length, writable).unwrap()));
    (mapped, u64::from_le_bytes(start))
}

/// Small numbers without pattern, so that deaths hit every phase.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Writes records numbered by their place in the ring, by every way there is, until it is killed.
fn writer() {
    let ([memory], seed) = attach([(record_ring_length::<Numbered>(SIZE), true)]);
    let mut producer = RecordProducer::<Numbered>::attach(memory, SIZE).unwrap();
    let mut dice = Dice(seed);
    loop {
        let first = u64::from(producer.position());
        let count = dice.below(20) + 1;
        let batch: Vec<Numbered> = (first..first + count).map(|number| [number; 16]).collect();
        if u64::from(producer.free()) < count {
            std::thread::yield_now();
            continue;
        }
        match dice.below(3) {
            0 => assert_eq!(producer.push_batch(&batch), batch.len()),
            1 => {
                for record in &batch {
                    producer.stage(record).unwrap();
                }
                producer.publish();
            }
            _ => {
                let mut reservation = producer.reserve(batch.len() as u32).unwrap();
                for record in &batch {
                    reservation.push(record).unwrap();
                }
                reservation.commit();
            }
        }
    }
}

fn killed_writers(kills: u64) -> String {
    let memory = SharedMemory::create("weir-records", record_ring_length::<Numbered>(SIZE), Writers::Both).unwrap();
    let mut consumer = RecordConsumer::<Numbered>::attach(Arc::clone(memory.mapping()) as _, SIZE).unwrap();
    let mut dice = Dice(1);
    let mut next = 0_u64;
    for kill in 0..kills {
        let mut child = start("writer", &[&memory], kill);
        let until = next + dice.below(500);
        let started = Instant::now();
        // Not checked before the kill whether more than this has come: the death falls anywhere.
        while next <= until {
            take_all(&mut consumer, &mut next);
            std::thread::yield_now();
            assert!(started.elapsed() < DEADLINE, "writer {kill} wrote nothing");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        take_all(&mut consumer, &mut next);
    }
    assert_eq!(consumer.refused(), 0);
    format!("{kills} killed, {next} records, each once and in order")
}

fn take_all(consumer: &mut RecordConsumer<Numbered>, next: &mut u64) {
    loop {
        let taken = consumer.consume(7, |record| {
            assert_eq!(*record, [*next; 16], "a record was lost, repeated or torn");
            *next += 1;
        });
        if taken.unwrap() == 0 {
            return;
        }
    }
}

/// Reads a lane from its cursor on, checks what it reads, publishes the cursor, until it is killed.
fn taker() {
    let ([lane, page], _) = attach([(LaneRing::length(SIZE), false), (PAGE_LENGTH, true)]);
    let reader = RxReader::new(lane, LaneRing::OFFSETS, SIZE).unwrap();
    let cursors = TakerCursors::new(page, 0).unwrap();
    let mut cursor = cursors.position(0);
    loop {
        let count = reader.available(cursor).min(16);
        for (step, descriptor) in reader.batch(cursor, count).enumerate() {
            assert_eq!(descriptor.address, (cursor + step as u64) << 11, "a descriptor was rewritten under its taker");
        }
        cursor += u64::from(count);
        cursors.publish(0, cursor);
        if count == 0 {
            std::thread::yield_now();
        }
    }
}

fn killed_takers(kills: u64) -> String {
    let lane_memory = SharedMemory::create("weir-lane", LaneRing::length(SIZE), Writers::Creator).unwrap();
    let page = SharedMemory::create("weir-cursors", PAGE_LENGTH, Writers::Both).unwrap();
    let mut lane = LaneRing::new(Arc::clone(lane_memory.mapping()) as _, SIZE).unwrap();
    let mut owner = RxOwner::new(Arc::clone(lane_memory.mapping()) as _, LaneRing::OFFSETS, SIZE).unwrap();
    let cursors = OwnerCursors::new(Arc::clone(page.mapping()) as _, 0).unwrap();
    let mut dice = Dice(2);
    let mut next = 0_u64;
    for kill in 0..kills {
        let mut child = start("taker", &[&lane_memory, &page], 0);
        let until = owner.consumer() + dice.below(500);
        let started = Instant::now();
        while owner.consumer() <= until {
            while lane.push(Descriptor { address: next << 11, length: 64, options: 0 }).is_ok() {
                next += 1;
            }
            lane.publish();
            let passed = owner.judge(cursors.load(0)).expect("an honest taker");
            assert!(owner.until(passed).zip(owner.consumer()..).all(|(lent, number)| lent.address == number << 11));
            owner.release(passed);
            std::thread::yield_now();
            assert!(started.elapsed() < DEADLINE, "taker {kill} finished nothing");
        }
        assert!(child.try_wait().unwrap().is_none(), "taker {kill} ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        // Its last word stands; what it held is [consumer, producer), to the frame.
        owner.release(owner.judge(cursors.load(0)).expect("an honest taker"));
        assert_eq!(owner.producer(), next);
    }
    format!("{kills} killed, {} descriptors, none lost", owner.consumer())
}
