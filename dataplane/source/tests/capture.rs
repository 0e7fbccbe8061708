//! Captures read back what was written, every real file reads or errors cleanly, and no mutation makes the reader
//! panic, loop or give bytes that are not in the file.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use proptest::prelude::*;
use weir_dataplane_source::capture::{CAPTURED_BYTES_MAX, CaptureError, Frame, LinkType, Reader, Writer};
use weir_dataplane_source::ethernet::as_ethernet;

/// A frame that owns its bytes, for comparing.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    bytes: Vec<u8>,
    original_length: u32,
    time_ns: u64,
    link: LinkType,
}

fn read_all(file: &[u8]) -> (Vec<Kept>, Option<CaptureError>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (frames, Some(error)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(Kept {
                bytes: frame.bytes.to_vec(),
                original_length: frame.original_length,
                time_ns: frame.time_ns,
                link: frame.link,
            }),
            Ok(None) => {
                assert_eq!(reader.offset(), file.len() as u64);
                assert_eq!(reader.frames(), frames.len() as u64);
                return (frames, None);
            }
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// Number writer of one byte order.
#[derive(Clone, Copy)]
struct Put(bool);

impl Put {
    fn u16(self, into: &mut Vec<u8>, value: u16) {
        into.extend(if self.0 { value.to_be_bytes() } else { value.to_le_bytes() });
    }
    fn u32(self, into: &mut Vec<u8>, value: u32) {
        into.extend(if self.0 { value.to_be_bytes() } else { value.to_le_bytes() });
    }
    fn block(self, into: &mut Vec<u8>, kind: u32, body: &[u8]) {
        let length = 12 + body.len().next_multiple_of(4) as u32;
        self.u32(into, kind);
        self.u32(into, length);
        into.extend(body);
        into.resize(into.len().next_multiple_of(4), 0);
        self.u32(into, length);
    }
}

fn classic(big: bool, magic: u32, link: u32, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let put = Put(big);
    let mut file = Vec::new();
    put.u32(&mut file, magic);
    put.u16(&mut file, 2);
    put.u16(&mut file, 4);
    put.u32(&mut file, 0);
    put.u32(&mut file, 0);
    put.u32(&mut file, 65535);
    put.u32(&mut file, link);
    for (seconds, fraction, bytes) in frames {
        put.u32(&mut file, *seconds);
        put.u32(&mut file, *fraction);
        put.u32(&mut file, bytes.len() as u32);
        put.u32(&mut file, bytes.len() as u32 + 1);
        file.extend(*bytes);
    }
    file
}

/// One section: an interface per (link, resolution option), then a packet block of each kind on each interface.
fn section(big: bool, interfaces: &[(u16, Option<u8>)], stamp: u64, payload: &[u8]) -> Vec<u8> {
    let put = Put(big);
    let mut file = Vec::new();
    let mut body = Vec::new();
    put.u32(&mut body, 0x1a2b_3c4d);
    put.u16(&mut body, 1);
    put.u16(&mut body, 0);
    body.extend([0xff; 8]);
    put.block(&mut file, 0x0a0d_0d0a, &body);
    for (link, resolution) in interfaces {
        let mut body = Vec::new();
        put.u16(&mut body, *link);
        put.u16(&mut body, 0);
        put.u32(&mut body, 0);
        if let Some(resolution) = resolution {
            put.u16(&mut body, 9);
            put.u16(&mut body, 1);
            body.extend([*resolution, 0, 0, 0]);
            put.u32(&mut body, 0);
        }
        put.block(&mut file, 1, &body);
    }
    put.block(&mut file, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]); // statistics: passed over
    for number in 0..interfaces.len() as u32 {
        let mut body = Vec::new();
        put.u32(&mut body, number);
        put.u32(&mut body, (stamp >> 32) as u32);
        put.u32(&mut body, stamp as u32);
        put.u32(&mut body, payload.len() as u32);
        put.u32(&mut body, payload.len() as u32);
        body.extend(payload);
        put.block(&mut file, 6, &body);
    }
    let mut body = Vec::new();
    put.u32(&mut body, payload.len() as u32);
    body.extend(payload);
    put.block(&mut file, 3, &body);
    file
}

#[test]
fn classic_files_of_both_orders_and_units() {
    for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
        for big in [false, true] {
            let file = classic(big, magic, 1, &[(7, 999, b"abc"), (8, 0, b"")]);
            let (frames, error) = read_all(&file);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0].bytes, b"abc");
            assert_eq!(frames[0].original_length, 4);
            assert_eq!(frames[0].time_ns, 7_000_000_000 + 999 * unit);
            assert_eq!(frames[1].time_ns, 8_000_000_000);
            assert_eq!(frames[0].link, LinkType::Ethernet);
        }
    }
}

#[test]
fn pcapng_sections_of_both_orders() {
    let mut file = section(false, &[(1, None), (113, Some(9)), (101, Some(0x80 | 20))], 5 << 20, b"hello");
    file.extend(section(true, &[(276, Some(3))], 1500, b"x"));
    let (frames, error) = read_all(&file);
    assert!(error.is_none(), "{error:?}");
    let stamps: Vec<u64> = frames.iter().map(|frame| frame.time_ns).collect();
    assert_eq!(stamps, [(5 << 20) * 1000, 5 << 20, 5_000_000_000, 0, 1_500_000_000, 0]);
    assert_eq!(frames[3].bytes, b"hello");
    let links: Vec<LinkType> = frames.iter().map(|frame| frame.link).collect();
    use LinkType::{Ethernet, LinuxSll, LinuxSll2, Raw};
    assert_eq!(links, [Ethernet, LinuxSll, Raw, Ethernet, LinuxSll2, LinuxSll2]);
}

#[test]
fn errors_name_offset_value_and_cure() {
    let cut = classic(false, 0xa1b2_c3d4, 1, &[(1, 1, b"abcd")]);
    let (frames, error) = read_all(&cut[..cut.len() - 1]);
    assert!(frames.is_empty());
    assert_eq!(
        error.unwrap().to_string(),
        "byte 40: frame needs 4 bytes but the file ends after 3; it was cut short: the frames before it are whole, \
         copy it again or repair it with `editcap IN OUT`"
    );
    let mut long = cut.clone();
    long[32..36].copy_from_slice(&(CAPTURED_BYTES_MAX as u32 + 1).to_le_bytes());
    assert!(read_all(&long).1.unwrap().to_string().starts_with("byte 24: frame of 262145 bytes is over the limit"));
    assert!(read_all(&[0x1f, 0x8b, 8, 0]).1.unwrap().to_string().contains("gunzip"));
    assert!(read_all(b"").1.unwrap().to_string().contains("magic number needs 4 bytes"));
    let stray = section(false, &[], 0, b"x");
    assert!(read_all(&stray).1.unwrap().to_string().contains("frame of interface 0 but the section describes 0"));
}

#[test]
fn real_captures_read_or_error_cleanly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/pcap");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("weir-skip: real_captures_read_or_error_cleanly: {} is absent", folder.display());
        return;
    };
    let (mut files, mut total, mut damaged) = (0, 0, 0);
    let mut buffer = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if !path.is_file() || path.extension().is_none_or(|kind| kind != "pcap" && kind != "pcapng") {
            continue;
        }
        let (frames, error) = read_all(&std::fs::read(&path).unwrap());
        files += 1;
        total += frames.len();
        if let Some(error) = error {
            damaged += 1;
            println!("{}: {} frames, then {error}", path.display(), frames.len());
        }
        for kept in &frames {
            let frame = Frame {
                bytes: &kept.bytes,
                original_length: kept.original_length,
                time_ns: kept.time_ns,
                link: kept.link,
            };
            if as_ethernet(&frame, &mut buffer).is_none() {
                println!("{}: a frame of {} is not presentable", path.display(), kept.link);
            }
        }
    }
    println!("{files} captures, {total} frames, {damaged} damaged");
    assert!(files > 0, "{} holds no capture", folder.display());
    assert!(total > 0);
}

fn kept_frames() -> impl Strategy<Value = Vec<Kept>> {
    let frame = (prop::collection::vec(any::<u8>(), 0..80), any::<u32>(), 0..(u64::from(u32::MAX) * 1_000_000_000));
    prop::collection::vec(
        frame.prop_map(|(bytes, original_length, time_ns)| Kept {
            bytes,
            original_length,
            time_ns,
            link: LinkType::Ethernet,
        }),
        0..8,
    )
}

fn write_all(frames: &[Kept]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), LinkType::Ethernet).unwrap();
    for kept in frames {
        let Kept { bytes, original_length, time_ns, link } = kept;
        let frame = Frame { bytes, original_length: *original_length, time_ns: *time_ns, link: *link };
        writer.write(&frame).unwrap();
    }
    writer.finish().unwrap()
}

/// Bytes to overwrite at places of the file, then the length to keep, in thousandths.
type Damage = (Vec<(u16, u8)>, u16);

fn damage() -> impl Strategy<Value = Damage> {
    (prop::collection::vec((any::<u16>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 0..6), 0..=1000u16)
}

fn apply(file: &mut Vec<u8>, (changes, keep): &Damage) {
    for (place, value) in changes {
        let at = usize::from(*place) % file.len();
        file[at] = *value;
    }
    file.truncate(file.len() * usize::from(*keep) / 1000);
}

proptest! {
    #[test]
    fn written_frames_read_back(frames in kept_frames()) {
        let (read, error) = read_all(&write_all(&frames));
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn damaged_pcap_never_panics_or_invents_bytes(frames in kept_frames(), how in damage()) {
        let mut file = write_all(&frames);
        apply(&mut file, &how);
        let (read, _) = read_all(&file);
        prop_assert!(read.iter().map(|kept| kept.bytes.len() + 16).sum::<usize>() <= file.len());
    }

    #[test]
    fn damaged_pcapng_never_panics_or_invents_bytes(
        big in any::<bool>(),
        resolution in any::<u8>(),
        stamp in any::<u64>(),
        payload in prop::collection::vec(any::<u8>(), 0..80),
        how in damage(),
    ) {
        let mut file = section(big, &[(1, Some(resolution)), (113, None)], stamp, &payload);
        file.extend(section(!big, &[(101, None)], stamp, &payload));
        apply(&mut file, &how);
        let (read, _) = read_all(&file);
        prop_assert!(read.iter().map(|kept| kept.bytes.len() + 16).sum::<usize>() <= file.len());
        let mut buffer = Vec::new();
        for Kept { bytes, original_length, time_ns, link } in &read {
            let frame = Frame { bytes, original_length: *original_length, time_ns: *time_ns, link: *link };
            let _ = as_ethernet(&frame, &mut buffer);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0..4usize) {
        let mut file = [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x0a, 0x0d, 0x0d, 0x0a], [0x34, 0xcd, 0xb2, 0xa1]][magic].to_vec();
        file.extend(bytes);
        let _ = read_all(&file);
    }
}
