//! What a lane carries arrives whole, in order and with its metadata, at a reader that only maps the ring; a claim
//! outside the ring is refused; and no frame is lost or lent twice however puts and takes are mixed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::Arc;

use proptest::prelude::*;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions, UmemView};
use weir_dataplane_ring::{Allegation, HeapMemory, LaneRing, Memory, RxReader};
use weir_dataplane_source::capture::{Frame, LinkType, Reader, Writer};
use weir_dataplane_source::lane::{CaptureLane, Lane, Refused};
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC};

struct Rig {
    lane: Lane,
    reader: RxReader,
    view: UmemView,
    cursor: u64,
}

fn rig(size: u32) -> Rig {
    let options = UmemOptions { frames: size, frame_size: 2048, hugepages: HugePages::Never, node: None };
    let umem = Arc::new(Umem::create_with(options).unwrap());
    let memory: Arc<dyn Memory> = HeapMemory::zeroed(LaneRing::length(size));
    let reader = RxReader::new(Arc::clone(&memory), LaneRing::OFFSETS, size).unwrap();
    let view = UmemView::of(&umem);
    Rig { lane: Lane::new(umem, 0, memory, size).unwrap(), reader, view, cursor: 0 }
}

impl Rig {
    /// Reads whole frames from the cursor on, at most `most` of them.
    fn take(&mut self, most: usize) -> Vec<(FrameMeta, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut frame: Option<(FrameMeta, Vec<u8>)> = None;
        let mut at = self.cursor;
        while frames.len() < most && self.reader.available(at) > 0 {
            let descriptor = self.reader.descriptor(at as u32);
            at += 1;
            let bytes = self.view.bytes(descriptor.address, descriptor.length).unwrap();
            frame.get_or_insert_with(|| {
                let start = descriptor.address - FrameMeta::SIZE as u64;
                let front = self.view.bytes(start, FrameMeta::SIZE as u32).unwrap();
                (FrameMeta::read_before(front, FrameMeta::SIZE).unwrap(), Vec::new())
            });
            if let Some((_, whole)) = &mut frame {
                whole.extend(bytes);
            }
            if !descriptor.is_continued() {
                frames.extend(frame.take());
                self.cursor = at;
            }
        }
        frames
    }
}

fn meta(number: u64) -> FrameMeta {
    FrameMeta { flow: number, magic: META_MAGIC, ..FrameMeta::default() }
}

proptest! {
    #[test]
    fn frames_arrive_whole_and_in_order(steps in prop::collection::vec((any::<bool>(), 0..8000usize), 1..200)) {
        let mut rig = rig(16);
        let (mut sent, mut received) = (0u64, 0u64);
        let mut lengths = Vec::new();
        for (put, length) in steps {
            if put {
                let frame: Vec<u8> = (0..length).map(|byte| (byte as u64 * 7 + sent) as u8).collect();
                match rig.lane.put(&meta(sent), &frame) {
                    Ok(()) => {
                        lengths.push(frame);
                        sent += 1;
                    }
                    Err(Refused::Full { held }) => prop_assert!(held as usize + length.div_ceil(1792).max(1) > 16),
                    Err(other) => prop_assert!(false, "{other}"),
                }
                rig.lane.publish();
            } else {
                for (meta, frame) in rig.take(length % 5) {
                    prop_assert_eq!(meta.flow, received);
                    prop_assert_eq!(&frame, &lengths[received as usize]);
                    received += 1;
                }
                rig.lane.recycle(Allegation::new(rig.cursor)).unwrap();
            }
        }
        received += rig.take(usize::MAX).len() as u64;
        prop_assert_eq!(sent, received);
        rig.lane.recycle(Allegation::new(rig.cursor)).unwrap();
        prop_assert_eq!(rig.lane.held(), 0);
    }
}

#[test]
fn a_claim_outside_the_ring_takes_nothing_back() {
    let mut rig = rig(8);
    rig.lane.put(&meta(0), b"frame").unwrap();
    rig.lane.publish();
    assert!(rig.lane.recycle(Allegation::new(2)).is_err());
    assert_eq!(rig.lane.held(), 1);
    assert_eq!(rig.lane.recycle(Allegation::new(1)).unwrap(), 1);
    assert!(rig.lane.recycle(Allegation::new(0)).is_err());
}

#[test]
fn frames_beyond_the_largest_are_refused() {
    let mut rig = rig(32);
    let length = 18 * 1792 + 1;
    assert_eq!(rig.lane.put(&meta(0), &vec![0; length]), Err(Refused::TooLong { length }));
    assert_eq!(rig.lane.put(&meta(0), &vec![0; length - 1]), Ok(()));
    assert!(matches!(rig.lane.put(&meta(0), &vec![0; length - 1]), Err(Refused::Full { held: 18 })));
}

#[test]
fn a_capture_plays_through_a_small_lane() {
    let mut writer = Writer::new(Vec::new(), LinkType::Ethernet).unwrap();
    for number in 0..500u32 {
        let bytes = vec![number as u8; 60 + number as usize * 7];
        let (original_length, time_ns) = (bytes.len() as u32, u64::from(number));
        writer.write(&Frame { bytes: &bytes, original_length, time_ns, link: LinkType::Ethernet }).unwrap();
    }
    let file = writer.finish().unwrap();
    let Rig { lane, reader, view, cursor } = rig(32);
    let mut source = CaptureLane::new(lane, Reader::new(&file[..]).unwrap());
    let mut received = 0u64;
    let mut rig = Rig { lane: self::rig(1).lane, reader, view, cursor };
    loop {
        let pumped = source.pump(|bytes, time_ns| {
            assert_eq!(u64::from(bytes[0]), time_ns % 256);
            meta(time_ns)
        });
        for (meta, frame) in rig.take(usize::MAX) {
            assert_eq!(meta.flow, received);
            assert_eq!(frame.len() as u64, 60 + received * 7);
            received += 1;
        }
        source.lane().recycle(Allegation::new(rig.cursor)).unwrap();
        if pumped.unwrap().ended {
            break;
        }
    }
    assert_eq!(received, 500);
}
