//! What does the decoder make of frames that people wrote down by hand? (Agreement with the kernel and with tshark is
//! tested where those are: `cargo test -p weir-tests --test oracle`.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_ebpf_abi::decode::{Decoded, Tunnel, decode_inner_slice, decode_slice};
use weir_ebpf_abi::message::MessageKind;
use weir_ebpf_abi::reason::Reason;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn decoded(hex: &str) -> Decoded {
    let frame = bytes(hex);
    decode_slice(&frame, frame.len())
}

/// The standard message of docs/wire.md, from 10.9.0.1 port 40000 to 10.9.0.2.
const MESSAGE: &str = "025745490002 025745490001 0800
    4500003a 00004000 4011269f 0a090001 0a090002 9c40bbe4 0026e3ea
    07000000 02000000 03000000 0102030405060708 01000000 2a000000 6869";

#[test]
fn a_message_is_found_with_all_its_fields() {
    let found = decoded(MESSAGE);
    let v4 = |last| IpAddr::V4(Ipv4Addr::new(10, 9, 0, last));
    assert_eq!(found.outer.addresses(), Some((v4(1), v4(2))));
    assert_eq!((found.outer.protocol, found.outer.ports()), (17, Some((40_000, 48_100))));
    assert_eq!((found.kind(), found.malformed()), (MessageKind::Standard, None));
    assert_eq!((found.payload_offset, found.payload_length, found.hop_limit), (42, 30, 64));
    let message = found.message;
    assert_eq!((message.message_type, message.source_agent, message.dest_agent), (7, 2, 3));
    assert_eq!((message.timestamp_ns, message.priority, message.sequence), (0x0807_0605_0403_0201, 1, 42));
}

#[test]
fn every_cut_of_a_message_is_malformed_and_named() {
    let whole = bytes(MESSAGE);
    for length in 0..whole.len() {
        let reason = decode_slice(&whole[..length], length).malformed();
        let expected = match length {
            0..14 => Reason::TruncatedEthernet,
            14..34 => Reason::TruncatedIpv4,
            _ => Reason::BadIpv4Length,
        };
        assert_eq!(reason, Some(expected), "cut to {length}");
    }
    // A capture that cut the frame knows how long it was: then the header is short, not wrong.
    assert_eq!(decode_slice(&whole[..40], whole.len()).malformed(), Some(Reason::TruncatedTransport));
    assert_eq!(decode_slice(&whole[..60], whole.len()).malformed(), Some(Reason::TruncatedMessage));
}

#[test]
fn tags_and_extension_headers_are_followed() {
    let found = decoded(
        "ffffffffffff 020000000001 88a8 6064 8100 000a 86dd
         60000000 001c 00 ff fd000000000000000000000000000001 fd000000000000000000000000000002
         3c00 010400000000 0600 010400000000 01bb 9c40 00000000 00000000",
    );
    assert_eq!((found.outer.vlan_ids(), found.outer.ethertype), (&[100, 10][..], 0x86dd));
    let v6 = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    assert_eq!(found.outer.addresses(), Some((v6(1), v6(2))));
    assert_eq!((found.outer.protocol, found.outer.ports()), (6, Some((443, 40_000))));
    assert_eq!(found.malformed(), Some(Reason::TruncatedTransport), "12 bytes of 20");
}

#[test]
fn fragments_have_ports_only_in_front() {
    let frame = |word: &str| {
        decoded(&format!(
            "020000000002020000000001 0800 4500 0024 0000 {word} 4011 0000 0a090001 0a090002 0035 9c40 0100 0000 0000000000000000"
        ))
    };
    let first = frame("2000");
    assert_eq!((first.outer.fragment(), first.outer.ports()), (Some((0, true)), Some((53, 40_000))));
    let later = frame("0004");
    assert_eq!((later.outer.fragment(), later.outer.ports()), (Some((4, false)), None));
    assert_eq!((first.malformed(), later.malformed()), (None, None));
    assert_eq!(frame("1fff").malformed(), Some(Reason::FragmentOverflow));
}

#[test]
fn a_tunnel_shows_what_it_carries() {
    let frame = bytes(
        "020000000002020000000001 0800 4500 0042 0000 0000 402f 0000 0a090001 0a090002
         2000 6558 00000007
         020000000004020000000003 8100 0007 0800 4500 001c 0000 0000 4011 0000 c0a80001 c0a80002 1388 1389 0008 0000",
    );
    let found = decode_slice(&frame, frame.len());
    assert_eq!((found.tunnel(), found.outer.protocol, found.outer.ports()), (Tunnel::Gre, 47, None));
    let inner = decode_inner_slice(&frame, frame.len(), &found).expect("a bridged frame");
    assert_eq!((inner.vlan_ids(), inner.ports()), (&[7][..], Some((5_000, 5_001))));
    assert_eq!(decode_inner_slice(&frame, frame.len(), &decoded(MESSAGE)), None);
}
