//! Every set of instructions that this processor has gives the same records, which are those of events counted one by
//! one, and those of the releases before there was a choice.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use proptest::prelude::*;
use weir_ebpf_abi::batch::{EVENT_HEADER, EventHeader, EventType};
use weir_features_streaming::columns::{Columns, LANES};
use weir_features_streaming::events::{MessageHead, walk};
use weir_features_streaming::histogram::{EARLY, LATE, LATENCY_LIMIT_NS, bucket};
use weir_features_streaming::rows::Body;
use weir_features_streaming::simd::{Simd, SimdError};
use weir_features_streaming::windows::{Settings, Windows};
use zerocopy::IntoBytes;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
/// Bytes and digest of what the engine gave for [`long_stream`] before it knew columns, and must give for good.
const GOLDEN_LENGTH: usize = 657_720;
const GOLDEN_DIGEST: u64 = 2_078_535_843_737_341_416;

/// Type, source, age in nanoseconds, payload's length.
type Made = (u32, u32, i64, u32);

fn bytes_of(events: &[Made], now: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (kind, source, age, length)) in events.iter().enumerate() {
        let header = EventHeader {
            event_id: (number as u64).into(),
            timestamp_ns: now.wrapping_add_signed(age.wrapping_neg()).into(),
            event_type: (*kind).into(),
            source_id: (*source).into(),
            payload_length: (*length).into(),
            reserved: (number as u32).wrapping_mul(0x9e37_79b9).into(), // nobody may look at it
        };
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0xee; *length as usize]);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

fn events() -> impl Strategy<Value = Vec<Made>> {
    let kind = prop_oneof![8 => 0..8u32, 1 => any::<u32>()].boxed();
    let source = prop_oneof![4 => 0..3u32, 4 => 0..300u32, 1 => any::<u32>()].boxed();
    let age = prop_oneof![
        4 => 0..200i64,
        8 => 0..2_000_000i64,
        4 => 0..LATENCY_LIMIT_NS as i64 + 2,
        1 => -3..3i64,
        1 => -(SECOND as i64)..900 * SECOND as i64,
        1 => any::<i64>(), // stamps of the whole range, as a sender without a clock has them
    ]
    .boxed();
    let alike = (25..=32u32, prop::collection::vec((kind.clone(), source.clone(), age.clone()), 0..200)).prop_map(
        |(length, events)| events.into_iter().map(|(kind, source, age)| (kind, source, age, length)).collect(),
    );
    let other = prop::collection::vec((kind, source, age, prop_oneof![9 => 25..=32u32, 1 => 0..100u32]), 0..60);
    prop_oneof![3 => alike, 1 => other]
}

/// All that a stream of batches gives, as bytes. `one_by_one` leaves the columns out.
fn records(simd: Simd, rows: usize, batches: &[(Vec<u8>, u16)], one_by_one: bool) -> Vec<u8> {
    let mut windows = Windows::new(&Settings { rows, simd });
    let mut given = Vec::new();
    let mut emit = |time: u64, body: Body<'_>| {
        given.extend(time.to_le_bytes());
        match body {
            Body::Window(row) => given.extend(row.as_bytes()),
            Body::Talker(row) => given.extend(row.as_bytes()),
            Body::Summary(row) => given.extend(row.as_bytes()),
        }
    };
    let mut now = START;
    for (number, (bytes, count)) in batches.iter().enumerate() {
        windows.advance(now, &mut emit);
        let flow = number as u64 % 97;
        windows.message(now, flow, bytes.len() as u64, MessageHead { kind: 1, source: 5, stamp_ns: now });
        let whole = match one_by_one {
            true => walk(bytes, *count, |event| windows.event(now, event)),
            false => windows.events(now, bytes, *count),
        };
        windows.batch(*count, whole);
        now += SECOND / 3;
    }
    windows.advance(now + 120 * SECOND, &mut emit);
    given
}

proptest! {
    #[test]
    fn records_do_not_depend_on_the_instructions(
        batches in prop::collection::vec((events(), 0..3u16, 0..=1000usize, prop::collection::vec((any::<u16>(), any::<u8>()), 0..2)), 0..6),
        rows in prop_oneof![Just(8usize), Just(512usize)],
    ) {
        let mut now = START;
        let batches: Vec<(Vec<u8>, u16)> = batches
            .into_iter()
            .map(|(events, more, keep, changes)| {
                let mut bytes = bytes_of(&events, now);
                now += SECOND / 3;
                // Lies about the count, bytes cut off, and bytes that are something else.
                bytes.truncate(if keep < 900 { bytes.len() } else { bytes.len() * keep / 1000 });
                for (place, value) in changes {
                    let length = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(place as usize % length) {
                        *byte = value;
                    }
                }
                (bytes, events.len() as u16 + more)
            })
            .collect();
        let wanted = records(Simd::Scalar, rows, &batches, true);
        for simd in Simd::available() {
            prop_assert!(records(simd, rows, &batches, false) == wanted, "{} differs", simd.name());
        }
    }

    #[test]
    fn columns_hold_what_a_walk_finds(events in events(), count in 0..100u16) {
        let bytes = bytes_of(&events, START);
        let alike = events.iter().take(usize::from(count).min(64)).all(|event| event.3 == events[0].3);
        let block = usize::from(count).min(64);
        for simd in Simd::available() {
            let mut columns = Columns::new();
            let rest = columns.take(simd, START, &bytes, count);
            let there = events.len() >= block && block >= LANES && alike && (25..=32).contains(&events[0].3);
            prop_assert_eq!(rest.is_some(), there && simd != Simd::Scalar, "{}", simd.name());
            let Some(rest) = rest else { continue };
            prop_assert_eq!(rest.len(), bytes.len() - block * 64);
            prop_assert_eq!((columns.length, columns.payload_length), (block, events[0].3));
            for (place, (kind, source, age, _)) in events[..block].iter().enumerate() {
                prop_assert_eq!(columns.keys[place], u64::from(*source) << 32 | u64::from(*kind));
                let sane = (0..LATENCY_LIMIT_NS as i64).contains(age);
                let stray = if START.wrapping_sub(*age as u64) > START { EARLY } else { LATE };
                prop_assert_eq!(columns.latencies[place], if sane { *age as u64 } else { 0 });
                prop_assert_eq!(columns.buckets[place], if sane { bucket(*age as u64) as u64 } else { stray });
            }
        }
    }
}

/// Three minutes of batches: 120 sources in turn, every type, sizes of both kinds, stamps of all sorts.
fn long_stream() -> Vec<(Vec<u8>, u16)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut now = START;
    (0..540)
        .map(|batch: u32| {
            let length = if batch.is_multiple_of(7) { 100 } else { 32 };
            let events: Vec<Made> = (0..40_u64)
                .map(|number| {
                    let age = match random() % 50 {
                        0 => -((random() % SECOND) as i64),
                        1 => (LATENCY_LIMIT_NS + random() % SECOND) as i64,
                        _ => (random() % 3_000_000) as i64,
                    };
                    (EventType::of_rotation(number) as u32, 1 + batch % 120, age, length)
                })
                .collect();
            let bytes = bytes_of(&events, now);
            now += SECOND / 3;
            (bytes, if batch.is_multiple_of(11) { 41 } else { 40 })
        })
        .collect()
}

/// FNV-1a, so that the records of three minutes fit one number.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn records_are_those_of_version_0_1() {
    let stream = long_stream();
    assert!(stream.iter().all(|(bytes, _)| bytes.len() > 40 * EVENT_HEADER));
    for simd in Simd::available() {
        let given = records(simd, 512, &stream, false);
        assert_eq!((given.len(), digest(&given)), (GOLDEN_LENGTH, GOLDEN_DIGEST), "{}", simd.name());
    }
}

#[test]
fn a_set_is_chosen_by_its_name() {
    assert_eq!(Simd::chosen(None), Ok(Simd::best()));
    assert_eq!(Simd::chosen(Some("scalar")), Ok(Simd::Scalar));
    let error = Simd::chosen(Some("avx3")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "WEIR_SIMD=avx3 names no set of instructions; write scalar, avx2 or avx512, or leave it away for the best"
    );
    for name in Simd::NAMES {
        match Simd::chosen(Some(name)) {
            Ok(simd) => assert_eq!(simd.name(), name),
            Err(error) => assert_eq!(error, SimdError::Missing(name)),
        }
    }
}
