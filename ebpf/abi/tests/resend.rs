//! Is a frame that is sent again right in every byte? Every checksum is computed anew from the frame and must agree, and
//! nothing but the fields that are meant to change does.

use std::cell::Cell;

use proptest::prelude::*;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::decode::{Decoded, decode_slice};
use weir_ebpf_abi::message::MessageKind;
use weir_ebpf_abi::resend::{Datagram as Found, HEAD, Unsendable, answer, datagram, send_on};
use weir_ebpf_abi::rewrite::ones_sum;

/// A UDP datagram with right checksums.
#[derive(Clone, Debug)]
struct Datagram {
    v6: bool,
    tags: usize,
    options: usize,
    port: u16,
    life: u8,
    payload: Vec<u8>,
    sum: bool,
}

impl Datagram {
    fn network(&self) -> usize {
        14 + 4 * self.tags
    }

    fn transport(&self) -> usize {
        self.network() + if self.v6 { 40 } else { 20 + self.options }
    }

    fn build(&self) -> Vec<u8> {
        let udp = (8 + self.payload.len()) as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        (0..self.tags).for_each(|tag| frame.extend([0x81, 0, 0, tag as u8 + 5]));
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(udp.to_be_bytes());
            frame.extend([17, self.life]);
            frame.extend((0..32).map(|byte| 0x20 + byte));
        } else {
            let header = 20 + self.options;
            frame.extend([8, 0, 0x40 | (header / 4) as u8, 0]);
            frame.extend((header as u16 + udp).to_be_bytes());
            frame.extend([1, 2, 0x40, 0, self.life, 17, 0, 0, 10, 1, 2, 3, 192, 168, 4, 5]);
            frame.extend(std::iter::repeat_n(1, self.options));
            let sum = !ones_sum(&frame[self.network()..], 0);
            let at = self.network() + 10;
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        frame.extend(40_000_u16.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(&self.payload);
        if self.sum {
            let sum = !udp_sum(&frame, &decode_slice(&frame, frame.len()));
            let (at, sum) = (self.transport() + 6, if sum == 0 { 0xffff } else { sum });
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }
}

/// The sum over UDP and its pseudo-header as it lies there: 0xffff when the checksum is right.
fn udp_sum(frame: &[u8], decoded: &Decoded) -> u16 {
    let network = usize::from(decoded.network_offset);
    let addresses = if decoded.outer.version == 4 { network + 12..network + 20 } else { network + 8..network + 40 };
    let datagram = &frame[usize::from(decoded.transport_offset)..];
    let pseudo = ones_sum(&frame[addresses], 17 + datagram.len() as u64);
    ones_sum(datagram, u64::from(pseudo))
}

fn check_sums(frame: &[u8], datagram: &Datagram) {
    let decoded = decode_slice(frame, frame.len());
    assert_eq!(decoded.malformed(), None);
    if !datagram.v6 {
        let header = &frame[datagram.network()..datagram.network() + 20 + datagram.options];
        assert_eq!(ones_sum(header, 0), 0xffff, "the header's checksum");
    }
    let stored = &frame[datagram.transport() + 6..datagram.transport() + 8];
    assert_eq!(stored == [0, 0], !datagram.sum, "none stays none, and one never becomes none");
    if datagram.sum {
        assert_eq!(udp_sum(frame, &decoded), 0xffff, "the datagram's checksum");
    }
}

fn datagrams() -> impl Strategy<Value = Datagram> {
    // Messages have at least their header; what is sent to another port may be anything.
    let message = prop::collection::vec(any::<u8>(), 28..300).prop_map(|payload| (48_100, payload));
    let other = prop::collection::vec(any::<u8>(), 0..300).prop_map(|payload| (5_000, payload));
    (any::<bool>(), 0..3_usize, 0..11_usize, 2..=255_u8, any::<bool>(), prop_oneof![message, other]).prop_map(
        |(v6, tags, options, life, sum, (port, payload))| {
            let options = if v6 { 0 } else { options * 4 };
            Datagram { v6, tags, options, port, life, payload, sum: sum || v6 }
        },
    )
}

/// Looks at the beginning of a frame of so many bytes and changes it where it is, as the pool does.
fn resend(
    head: &mut [u8],
    length: usize,
    how: impl FnOnce(&[Cell<u8>], &Found) -> Result<(), Unsendable>,
) -> Result<(), Unsendable> {
    let found = datagram(head, length)?;
    how(Cell::from_mut(head).as_slice_of_cells(), &found)
}

/// The bytes of `frame` as the pool has them: its head alone.
fn changed(
    frame: &[u8],
    how: impl FnOnce(&[Cell<u8>], &Found) -> Result<(), Unsendable>,
) -> Result<Vec<u8>, Unsendable> {
    let mut whole = frame.to_vec();
    let head = frame.len().min(HEAD);
    resend(&mut whole[..head], frame.len(), how)?;
    Ok(whole)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_turned_around_and_sound(datagram in datagrams()) {
        let frame = datagram.build();
        let answered = changed(&frame, answer).expect("a plain datagram");
        check_sums(&answered, &datagram);
        let (before, after) = (decode_slice(&frame, frame.len()), decode_slice(&answered, answered.len()));
        prop_assert_eq!((&answered[..6], &answered[6..12]), (&frame[6..12], &frame[..6]));
        prop_assert_eq!((after.outer.source, after.outer.destination), (before.outer.destination, before.outer.source));
        prop_assert_eq!(after.outer.ports(), Some((datagram.port, 40_000)));
        prop_assert_eq!((after.hop_limit, after.outer.vlan_ids()), (before.hop_limit - 1, before.outer.vlan_ids()));
        let mut payload = datagram.payload.clone();
        if before.kind() != MessageKind::None {
            (4..8).for_each(|byte| payload.swap(byte, byte + 4)); // source and destination agent
        }
        prop_assert_eq!(&answered[usize::from(after.payload_offset)..], &payload[..]);
        if datagram.life > 2 {
            // Turned around twice it is the frame it was, two hops older; another port's payload never was touched.
            let again = changed(&answered, answer).expect("a plain datagram");
            prop_assert_eq!(&again[..12], &frame[..12]);
            prop_assert_eq!(decode_slice(&again, again.len()).outer, before.outer);
        }
    }

    #[test]
    fn a_frame_that_is_sent_on_names_its_agent_and_is_sound(datagram in datagrams(), id: u32) {
        let frame = datagram.build();
        let mut agent = Agent { id, mac: [2, 9, 9, 9, 9, 9], source_mac: [2, 8, 8, 8, 8, 8], ..Agent::default() };
        agent.version = if datagram.v6 { 6 } else { 4 };
        agent.address = std::array::from_fn(|byte| 0x40 + byte as u8);
        let sent = changed(&frame, |head, found| send_on(head, found, &agent)).expect("a plain datagram");
        check_sums(&sent, &datagram);
        let (before, after) = (decode_slice(&frame, frame.len()), decode_slice(&sent, sent.len()));
        prop_assert_eq!(&sent[..12], &[2, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8]);
        prop_assert_eq!((after.outer.source, after.outer.ports()), (before.outer.source, before.outer.ports()));
        let size = if datagram.v6 { 16 } else { 4 };
        let destination = datagram.network() + if datagram.v6 { 24 } else { 16 };
        prop_assert_eq!(&sent[destination..destination + size], &agent.address[..size]);
        let mut payload = datagram.payload.clone();
        if before.kind() != MessageKind::None {
            payload[8..12].copy_from_slice(&id.to_le_bytes());
        }
        prop_assert_eq!(&sent[usize::from(after.payload_offset)..], &payload[..]);
        agent.version = 10 - agent.version;
        let other = changed(&frame, |head, found| send_on(head, found, &agent));
        prop_assert_eq!(other, Err(Unsendable::OtherVersion));
    }

    #[test]
    fn no_bytes_at_all_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0..400_usize) {
        let _ = resend(&mut bytes, length, answer);
        let agent = Agent { version: 4, ..Agent::default() };
        let _ = resend(&mut bytes, length, |head, found| send_on(head, found, &agent));
    }
}

#[test]
fn what_cannot_be_answered_is_refused_and_left_as_it_was() {
    let plain = Datagram { v6: false, tags: 0, options: 0, port: 48_100, life: 64, payload: vec![7; 40], sum: true };
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = plain.build();
        change(&mut frame);
        let (before, length) = (frame.clone(), frame.len());
        let error = resend(&mut frame, length, answer).expect_err("refused");
        assert_eq!(frame, before);
        error
    };
    assert_eq!(refused(&|frame| frame[0] = 0xff), Unsendable::Group, "to every station");
    assert_eq!(refused(&|frame| frame[30] = 239), Unsendable::Group, "to a group of hosts");
    assert_eq!(refused(&|frame| frame[22] = 1), Unsendable::HopLimit);
    assert_eq!(refused(&|frame| frame[23] = 6), Unsendable::NotADatagram, "TCP is a conversation");
    assert_eq!(refused(&|frame| frame[20] = 0x20), Unsendable::NotADatagram, "a fragment");
    assert_eq!(refused(&|frame| frame.truncate(60)), Unsendable::NotADatagram, "cut");
}
