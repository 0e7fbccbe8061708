//! Is a ring of bytes a queue of messages, from any position on, whatever its size and whoever shares the view?

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use weir_dataplane_ring::bytes::{BYTES, MESSAGE_HEADER, SMALLEST};
use weir_dataplane_ring::{ByteRing, ByteRingError, HeapMemory, Memory, Positions, RingError, byte_ring_length};

fn config() -> ProptestConfig {
    // Under Miri a case costs seconds and there is no file to remember failures in.
    let cases = if cfg!(miri) { 3 } else { 256 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A ring of `size` bytes of which both positions are `start`.
fn ring(size: u64, start: u64) -> (Arc<HeapMemory>, ByteRing) {
    let heap = HeapMemory::zeroed(byte_ring_length(size).expect("a small ring"));
    set_positions(&heap, start, start);
    let memory: Arc<dyn Memory> = heap.clone();
    (heap, ByteRing::create(&memory, size, 7, -1).expect("memory that fits"))
}

/// Stores both positions as a predecessor, or a hostile peer, would have left them.
fn set_positions(heap: &Arc<HeapMemory>, write: u64, read: u64) {
    for (offset, value) in [(128, write), (256, read)] {
        heap.set_index(offset, value as u32).expect("the low half");
        heap.set_index(offset + 4, (value >> 32) as u32).expect("the high half");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Read(usize),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let message = prop_oneof![4 => 0..40_usize, 1 => 40..400_usize];
    let step = prop_oneof![
        (message, any::<u8>())
            .prop_map(|(length, first)| { Step::Write((0..length).map(|at| first.wrapping_add(at as u8)).collect()) }),
        (0..400_usize).prop_map(Step::Read),
        Just(Step::Look),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_ring_of_bytes_is_a_queue_of_messages(
        size in SMALLEST..300,
        start in prop_oneof![Just(0), 0..1_u64 << 40, Just(u64::from(u32::MAX) - 20)],
        one_view in any::<bool>(),
        steps in steps(),
    ) {
        let (_heap, ring) = ring(size, start);
        let (writer, own) = (Positions::default(), Positions::default());
        let reader = if one_view { &writer } else { &own };
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let (mut written, mut read, mut refused) = (start, start, 0);
        for step in steps {
            match step {
                Step::Write(message) => {
                    let wanted = message.len() as u64 + MESSAGE_HEADER;
                    let free = size - (written - read);
                    let expected = if wanted > size {
                        Err(ByteRingError::TooLong { length: message.len() as u64, size })
                    } else if wanted > free {
                        refused += 1;
                        Err(ByteRingError::Full { wanted, free })
                    } else {
                        Ok(())
                    };
                    prop_assert_eq!(ring.write(&writer, &message), expected);
                    if expected.is_ok() {
                        written += wanted;
                        model.push_back(message);
                    }
                }
                Step::Read(room) => {
                    let mut into = vec![0; room];
                    let got = ring.read(reader, &mut into);
                    match model.front() {
                        None => prop_assert_eq!(got, Ok(None)),
                        Some(next) if next.len() > room => {
                            prop_assert_eq!(got, Err(ByteRingError::Small { length: next.len(), room }));
                        }
                        Some(next) => {
                            prop_assert_eq!(got, Ok(Some(next.len())));
                            prop_assert_eq!(&into[..next.len()], &next[..]);
                            read += next.len() as u64 + MESSAGE_HEADER;
                            model.pop_front();
                        }
                    }
                }
                Step::Look => {
                    ring.look(reader);
                    prop_assert_eq!(reader.write.load(std::sync::atomic::Ordering::Relaxed), written);
                    prop_assert_eq!(reader.read.load(std::sync::atomic::Ordering::Relaxed), read);
                }
            }
        }
        prop_assert_eq!(ring.refused(), refused);
    }

    #[test]
    fn whatever_a_peer_stores_nothing_leaves_the_memory(write in any::<u64>(), read in any::<u64>(), length in any::<u32>()) {
        let (heap, ring) = ring(SMALLEST, 0);
        set_positions(&heap, write, read);
        heap.set_index(BYTES + (read % SMALLEST) as usize / 4 * 4, length).expect("a word of the ring");
        let mut into = [0; 100];
        let (one, other) = (Positions::default(), Positions::default());
        // Any answer will do that comes back; Miri and the address sanitizer watch where it read.
        let got = ring.read(&one, &mut into);
        let _ = ring.write(&other, &[1; 20]);
        if write.wrapping_sub(read) > SMALLEST {
            let refused = matches!(got, Err(ByteRingError::Corrupt { .. }));
            prop_assert!(refused, "{got:?}");
        }
    }
}

#[test]
fn two_threads_see_every_message_once_and_in_order() {
    let messages = if cfg!(miri) { 40 } else { 100_000_u64 };
    for shared in [false, true] {
        let (_heap, ring) = ring(1000, 0);
        let (one, two) = (Positions::default(), Positions::default());
        let reader_view = if shared { &one } else { &two };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..messages {
                    let message = number.to_le_bytes().repeat(1 + (number % 5) as usize);
                    while ring.write(&one, &message).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            let mut into = [0; 64];
            for number in 0..messages {
                let length = loop {
                    if let Some(length) = ring.read(reader_view, &mut into).expect("an honest writer") {
                        break length;
                    }
                    std::thread::yield_now();
                };
                assert_eq!(into[..length], number.to_le_bytes().repeat(1 + (number % 5) as usize));
            }
        });
        assert_eq!(ring.read(reader_view, &mut [0; 64]), Ok(None), "views shared: {shared}");
    }
}

#[test]
fn a_ring_is_found_by_its_head_and_by_nothing_else() {
    let (heap, ring) = ring(4096, 0);
    ring.write(&Positions::default(), b"kept").expect("an empty ring");
    let memory: Arc<dyn Memory> = heap;
    let again = ByteRing::open(&memory).expect("the ring just made");
    assert_eq!((again.size(), again.feature(), again.node()), (4096, 7, -1));
    let mut into = [0; 8];
    assert_eq!(again.read(&Positions::default(), &mut into), Ok(Some(4)));
    assert_eq!(&into[..4], b"kept");
    let other: Arc<dyn Memory> = HeapMemory::zeroed(8192);
    assert!(matches!(ByteRing::open(&other), Err(RingError::NoRing { found: 0 })));
    assert!(matches!(ByteRing::create(&other, 8192, 0, 0), Err(RingError::Short { .. })), "no room for its head");
    assert!(matches!(ByteRing::create(&other, SMALLEST - 1, 0, 0), Err(RingError::Short { .. })));
    assert_eq!(byte_ring_length(u64::MAX), None);
}
