//! Frames of every kind the decoder knows, mostly sound, some spoilt.

use weir_ebpf_abi::batch::{BatchHeader, BatchWriter, EventHeader};
use weir_ebpf_abi::message::{MultimodalHeader, Part, StandardHeader};
use zerocopy::IntoBytes;

use crate::seed::Seed;

/// Few addresses and ports, so that rules meet them.
pub(crate) const NETS4: [u32; 4] = [0x0a09_0000, 0x0a09_0100, 0xc0a8_0000, 0xffff_ff00];
pub(crate) const HIGHS6: [u64; 3] = [0x2001_0db8_0000_0001, 0xfd00_0000_0000_0000, u64::MAX];
pub(crate) const PORTS: [u16; 10] = [53, 80, 443, 4789, 5004, 6081, 48_100, 48_101, 48_102, 65_535];
pub(crate) const AGENTS: u32 = 24;

/// One frame of at least 14 bytes.
pub(crate) fn frame(seed: &mut Seed) -> Vec<u8> {
    let mut frame = ethernet(seed, 2);
    if seed.chance(12) {
        let keep = 14 + seed.below(frame.len().max(15) - 14);
        frame.truncate(keep);
    }
    if seed.chance(8) {
        for _ in 0..=seed.below(3) {
            let at = seed.below(frame.len());
            frame[at] = seed.next() as u8;
        }
    }
    if seed.chance(20) {
        let padding = seed.below(40);
        frame.extend(vec![0; padding]);
    }
    frame.resize(frame.len().clamp(14, 9_000), 0);
    frame
}

fn ethernet(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let mut frame = seed.bytes(12);
    for _ in 0..seed.pick(&[0, 0, 0, 0, 1, 1, 2, 3]) {
        let tag = seed.pick(&[0x8100u16, 0x88a8, 0x9100]);
        let vlan = seed.pick(&[1u16, 10, 20, 4095]) | (seed.below(8) as u16) << 13;
        frame.extend(tag.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let kind = seed.below(20);
    let (ethertype, packet) = match kind {
        0 => (0x0806u16, seed.bytes(28)),
        1 => (seed.next() as u16, seed.bytes(46)),
        2 => (46, seed.bytes(46)),
        3..=12 => (0x0800, ipv4(seed, levels)),
        _ => (0x86dd, ipv6(seed, levels)),
    };
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn ipv4(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let options = if seed.chance(20) { seed.below(11) } else { 0 };
    let (protocol, body) = transport(seed, levels);
    let header = 20 + options * 4;
    let mut total = header + body.len();
    if seed.chance(4) {
        total = seed.pick(&[0, 5, 19, 20, total + 1, total.saturating_sub(1), 65_535]);
    }
    let fragment = if seed.chance(10) { seed.pick(&[0x2000u16, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x4000]) } else { 0 };
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend((total as u16).to_be_bytes());
    packet.extend(seed.bytes(2));
    packet.extend(fragment.to_be_bytes());
    packet.push(seed.pick(&[0, 1, 2, 64, 255]));
    packet.push(protocol);
    packet.extend(seed.bytes(2));
    for _ in 0..2 {
        let address = seed.pick(&NETS4) | seed.below(8) as u32;
        packet.extend(address.to_be_bytes());
    }
    packet.extend(seed.bytes(options * 4));
    if seed.chance(2) {
        packet[0] = seed.next() as u8;
    }
    packet.extend(body);
    packet
}

fn ipv6(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let (protocol, body) = transport(seed, levels);
    let chain = if seed.chance(40) { 1 + seed.below(9) } else { 0 };
    let kinds: Vec<u8> = (0..chain).map(|_| seed.pick(&[0u8, 43, 44, 51, 60])).collect();
    let mut rest = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        rest.push(kinds.get(index + 1).copied().unwrap_or(protocol));
        let words = if seed.chance(5) { seed.below(256) as u8 } else { seed.below(3) as u8 };
        match kind {
            44 => {
                rest.push(0);
                let offset = if seed.chance(40) { (seed.below(300) as u16) << 3 } else { 0 };
                rest.extend((offset | u16::from(seed.chance(30))).to_be_bytes());
                rest.extend(seed.bytes(4));
            }
            51 => {
                rest.push(words % 4 * 2);
                rest.extend(seed.bytes((usize::from(words % 4 * 2) + 2) * 4 - 2));
            }
            _ => {
                rest.push(words);
                let there = usize::from(words.min(4)) * 8 + 6;
                rest.extend(seed.bytes(there));
            }
        }
    }
    rest.extend(body);
    let mut length = rest.len();
    if seed.chance(4) {
        length = seed.pick(&[0, 7, length + 1, length.saturating_sub(1), 65_535]);
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.push(kinds.first().copied().unwrap_or(protocol));
    packet.push(seed.pick(&[0, 1, 2, 64, 255]));
    for _ in 0..2 {
        packet.extend(seed.pick(&HIGHS6).to_be_bytes());
        let low = seed.pick(&[0, 1, 7, u64::MAX, u64::MAX - 3]);
        packet.extend(low.to_be_bytes());
    }
    packet.extend(rest);
    packet
}

fn transport(seed: &mut Seed, levels: usize) -> (u8, Vec<u8>) {
    match seed.below(20) {
        0..=11 => (17, udp(seed, levels)),
        12..=15 => (6, tcp(seed)),
        16 => (1, seed.bytes(16)),
        17 => (50, seed.bytes(24)),
        18 if levels > 0 => (47, gre(seed, levels - 1)),
        _ => {
            let length = seed.below(40);
            (seed.next() as u8, seed.bytes(length))
        }
    }
}

fn udp(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let port = seed.pick(&PORTS);
    let payload = match port {
        48_100 => standard(seed),
        48_101 => multimodal(seed),
        48_102 => batch(seed),
        4789 if levels > 0 => vxlan(seed, levels - 1),
        6081 if levels > 0 => geneve(seed, levels - 1),
        _ => {
            let length = seed.pick(&[0, 1, 8, 100, 1400, 4000]);
            seed.bytes(length)
        }
    };
    let mut length = payload.len() + 8;
    if seed.chance(4) {
        length = seed.pick(&[0, 7, 8, length + 1, length.saturating_sub(1), 65_535]);
    }
    let mut datagram = seed.pick(&PORTS).to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend((length as u16).to_be_bytes());
    datagram.extend(if seed.chance(50) { vec![0, 0] } else { seed.bytes(2) });
    datagram.extend(payload);
    datagram
}

fn tcp(seed: &mut Seed) -> Vec<u8> {
    let words = if seed.chance(10) { seed.below(16) } else { 5 + seed.below(6) };
    let mut segment = seed.pick(&PORTS).to_be_bytes().to_vec();
    segment.extend(seed.pick(&PORTS).to_be_bytes());
    segment.extend(seed.bytes(8));
    segment.push((words as u8) << 4);
    let rest = words.max(5) * 4 - 13 + seed.below(100);
    segment.extend(seed.bytes(rest));
    segment
}

fn vxlan(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let mut payload = vec![if seed.chance(90) { 8 } else { 0 }, 0, 0, 0];
    payload.extend(seed.bytes(4));
    payload.extend(ethernet(seed, levels));
    payload
}

fn geneve(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let options = seed.pick(&[0, 0, 1, 5, 63]);
    let version = if seed.chance(5) { 0x40 } else { 0 };
    let mut payload = vec![version | options as u8, 0];
    let (ethertype, inside) = carried(seed, levels);
    payload.extend(ethertype.to_be_bytes());
    payload.extend(seed.bytes(4 + options * 4));
    payload.extend(inside);
    payload
}

fn gre(seed: &mut Seed, levels: usize) -> Vec<u8> {
    let flags = seed.pick(&[0u16, 0x8000, 0x2000, 0x1000, 0xb000, 0x4000, 0x3001, 0x0002]);
    let (ethertype, inside) = carried(seed, levels);
    let mut payload = flags.to_be_bytes().to_vec();
    payload.extend(ethertype.to_be_bytes());
    let words = usize::from(flags & 0xc000 != 0) + usize::from(flags & 0x2000 != 0) + usize::from(flags & 0x1000 != 0);
    payload.extend(seed.bytes(words * 4));
    payload.extend(inside);
    payload
}

fn carried(seed: &mut Seed, levels: usize) -> (u16, Vec<u8>) {
    match seed.below(4) {
        0 => (0x0800, ipv4(seed, levels)),
        1 => (0x86dd, ipv6(seed, levels)),
        2 => (0x6558, ethernet(seed, levels)),
        _ => (0x880b, seed.bytes(20)),
    }
}

fn header(seed: &mut Seed) -> StandardHeader {
    StandardHeader {
        message_type: (seed.below(40) as u32).into(),
        source_agent_id: (seed.next() as u32).into(),
        dest_agent_id: (seed.below(AGENTS as usize * 2) as u32).into(),
        timestamp_ns: seed.next().into(),
        priority: (seed.next() as u32).into(),
        sequence_number: (seed.next() as u32).into(),
    }
}

fn standard(seed: &mut Seed) -> Vec<u8> {
    let mut message = header(seed).as_bytes().to_vec();
    let length = seed.pick(&[0, 36, 996]);
    message.extend(seed.bytes(length));
    message
}

fn multimodal(seed: &mut Seed) -> Vec<u8> {
    let mut header = MultimodalHeader { standard: header(seed), ..MultimodalHeader::default() };
    let mut length = 0u32;
    for part in 0..4 {
        if seed.chance(60) {
            let size = 1 + seed.below(60) as u32;
            header.layout[part] = Part { offset: length.into(), length: size.into() };
            header.modality_mask = (header.modality_mask.get() | 1 << part).into();
            length += size;
        }
    }
    if seed.chance(15) {
        let part = seed.below(4);
        header.layout[part].offset = seed.pick(&[0, 1, length, u32::MAX]).into();
    }
    if seed.chance(10) {
        header.modality_mask = (seed.below(32) as u32).into();
    }
    let mut message = header.as_bytes().to_vec();
    message.extend(seed.bytes(length as usize));
    message
}

fn batch(seed: &mut Seed) -> Vec<u8> {
    let mut buffer = vec![0; 1400];
    let head = BatchHeader { standard: header(seed), ..BatchHeader::default() };
    let mut message = match BatchWriter::start(&mut buffer, &head) {
        Some(mut writer) => {
            for _ in 0..seed.below(12) {
                let length = seed.below(80);
                let payload = seed.bytes(length);
                writer.push(&EventHeader::default(), &payload);
            }
            writer.finish().to_vec()
        }
        None => Vec::new(),
    };
    if seed.chance(10) {
        message[28] = seed.next() as u8;
    }
    if seed.chance(3) {
        message[30] = 1;
    }
    message
}
