//! Traffic decodes to what was asked, checksums hold after every stamp, and event types come in exact shares and in an
//! order without pattern.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_appliance_lab::packet::{Path, Template, checksums_hold, multimodal};
use weir_appliance_lab::traffic::{Content, ROUND, Traffic, TrafficSpec};
use weir_ebpf_abi::batch::{BATCH_HEADER, EVENT_HEADER, EventHeader};
use weir_ebpf_abi::decode::{Decoded, decode_slice};
use weir_ebpf_abi::message::{MessageKind, Modality, MultimodalHeader, PORT_MULTIMODAL};
use zerocopy::FromBytes;

fn decode_host(frame: &[u8]) -> Decoded {
    decode_slice(frame, frame.len())
}

fn path(six: bool, vlans: Vec<u16>) -> Path {
    let mut path = TrafficSpec::pair(Content::Message { frame_bytes: 128 }).path;
    if six {
        path.source = "fd09::1".parse().unwrap();
        path.destination = "fd09::2".parse().unwrap();
    }
    path.vlans = vlans;
    path
}

proptest! {
    #[test]
    fn frames_decode_and_checksums_hold(
        six in any::<bool>(),
        vlans in prop::collection::vec(1..4095u16, 0..=2),
        batch in any::<bool>(),
        size in 0..60u32,
        stamps in prop::collection::vec(any::<u64>(), 1..60),
    ) {
        let content = if batch {
            Content::Batch { events: 1 + size % 5, event_bytes: 32 + size / 8 * 8 }
        } else {
            Content::Message { frame_bytes: 110 + size }
        };
        let spec = TrafficSpec { producers: 3, path: path(six, vlans.clone()), ..TrafficSpec::pair(content) };
        let mut traffic = Traffic::new(&spec).unwrap();
        let mut numbers = BTreeMap::new();
        for stamp in stamps {
            let sent = traffic.next(stamp);
            prop_assert!(checksums_hold(sent.template.frame(), sent.template.offsets()));
            let decoded = decode_host(sent.template.frame());
            prop_assert_eq!(decoded.malformed, 0);
            prop_assert_eq!(decoded.kind, sent.template.kind() as u8);
            prop_assert_eq!(decoded.outer.vlan_ids(), &vlans);
            prop_assert_eq!(decoded.outer.version, if six { 6 } else { 4 });
            prop_assert_eq!(usize::from(decoded.payload_offset), sent.template.offsets().payload);
            prop_assert_eq!(usize::from(decoded.payload_length), sent.template.payload().len());
            prop_assert_eq!((decoded.message.source_agent, decoded.message.timestamp_ns), (sent.source, stamp));
            let number = numbers.entry(sent.source).or_insert(0u32);
            prop_assert_eq!((decoded.message.sequence, sent.sequence), (*number, *number));
            *number += 1;
        }
    }
}

/// Event types of `frames` frames of a batch of 7 events.
fn types(seed: u64, frames: usize) -> Vec<u32> {
    let spec = TrafficSpec { seed, ..TrafficSpec::pair(Content::Batch { events: 7, event_bytes: 64 }) };
    let mut traffic = Traffic::new(&spec).unwrap();
    let mut types = Vec::new();
    for _ in 0..frames {
        let sent = traffic.next(0);
        for place in 0..7 {
            let bytes = &sent.template.payload()[BATCH_HEADER + place * 64..][..EVENT_HEADER];
            let event = EventHeader::ref_from_bytes(bytes).unwrap();
            assert_eq!(event.event_id.get(), types.len() as u64);
            types.push(event.event_type.get());
        }
    }
    types
}

#[test]
fn event_types_come_in_exact_shares() {
    let types = types(7, 20 * 50);
    for round in types.chunks(ROUND) {
        let count = |kind: u32| round.iter().filter(|seen| **seen == kind).count();
        assert_eq!([1, 2, 3, 4, 5].map(count), [8, 6, 1, 4, 1]);
    }
}

/// Chi-square of observed counts against expected shares.
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum()
}

#[test]
fn shares_and_order_pass_a_chi_square_test() {
    // Rounds of many seeds: the shares themselves are exact, so their chi-square is 0; the order within a round is what
    // could have a pattern. At each place every type must come as often as its share.
    let mut places = vec![[0.0; 5]; ROUND];
    let mut total = [0.0; 5];
    let rounds = 2_000;
    for seed in 0..rounds {
        for (place, kind) in types(seed, 20).into_iter().take(ROUND).enumerate() {
            places[place][kind as usize - 1] += 1.0;
            total[kind as usize - 1] += 1.0;
        }
    }
    let shares = [0.40, 0.30, 0.05, 0.20, 0.05];
    let all = rounds as f64 * ROUND as f64;
    assert!(chi_square(&total, &shares.map(|share| share * all)) < 1e-9);
    for (place, counts) in places.iter().enumerate() {
        // 4 degrees of freedom; 25 is beyond p = 0.0001, and the seeds are fixed.
        let value = chi_square(counts, &shares.map(|share| share * rounds as f64));
        assert!(value < 25.0, "place {place}: chi-square {value:.1}, counts {counts:?}");
    }
}

#[test]
fn two_runs_are_equal_and_seeds_differ() {
    assert_eq!(types(3, 40), types(3, 40));
    assert_ne!(types(3, 40), types(4, 40));
}

#[test]
fn an_unsent_frame_keeps_its_number() {
    let spec = TrafficSpec { producers: 2, ..TrafficSpec::pair(Content::Batch { events: 2, event_bytes: 32 }) };
    let mut traffic = Traffic::new(&spec).unwrap();
    traffic.next(0);
    let before: Vec<_> = traffic.sent().collect();
    let (source, sequence) = (traffic.next(1).source, 0);
    traffic.unsend();
    assert_eq!(before, traffic.sent().collect::<Vec<_>>());
    assert_eq!(traffic.events(), 2);
    let again = traffic.next(2);
    assert_eq!((again.source, again.sequence), (source, sequence));
}

#[test]
fn impossible_sizes_are_refused_with_the_cure() {
    let error = |content| Traffic::new(&TrafficSpec::pair(content)).unwrap_err().to_string();
    assert!(error(Content::Message { frame_bytes: 69 }).contains("69; give at least 70"));
    assert!(error(Content::Batch { events: 0, event_bytes: 64 }).contains("is 0; give at least 1"));
    assert!(error(Content::Batch { events: 1, event_bytes: 36 }).contains("multiple of 8"));
}

#[test]
fn a_multimodal_message_is_sound() {
    let parts: [(Modality, &[u8]); 3] =
        [(Modality::Image, b"image"), (Modality::Text, b"a text"), (Modality::Audio, b"")];
    let bytes = multimodal(&MultimodalHeader::default(), &parts);
    let (header, payload) = MultimodalHeader::parse(&bytes).unwrap();
    assert_eq!(header.part(payload, Modality::Image), b"image");
    assert_eq!(header.part(payload, Modality::Text), b"a text");
    assert_eq!(header.modality_mask.get(), 5);
    let path = Path { destination_port: PORT_MULTIMODAL, ..path(false, vec![]) };
    let template = Template::new(&path, &bytes);
    let decoded = decode_host(template.frame());
    assert_eq!((decoded.kind, decoded.malformed, decoded.message.modality), (MessageKind::Multimodal as u8, 0, 5));
}
