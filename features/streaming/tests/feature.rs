//! The feature reads frames as a worker hands them over: plain, message, batch, batch in several pieces, cut short.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use weir_dataplane_ring::Record;
use weir_ebpf_abi::batch::{BatchHeader, EventHeader};
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC};
use weir_features_streaming::rows::{BODY_BYTES, Scope, StreamRow, SummaryRow, kind};
use weir_features_streaming::{Settings, Streaming};
use weir_features_worker::batch::FrameView;
use weir_features_worker::feature::{CheckpointError, Feature};
use weir_features_worker::replay::Replay;
use zerocopy::{FromBytes, IntoBytes};

const NOW: u64 = 5_000_000_000;
const PAYLOAD_AT: usize = 42;

/// A frame of 42 bytes of headers and a batch of `count` events of source 7, each stamped 1000 ns before it arrives.
fn batch_frame(count: u16, announced: u16) -> Vec<u8> {
    let mut header = BatchHeader { event_count: announced.into(), ..BatchHeader::default() };
    header.standard.source_agent_id = 3.into();
    header.standard.message_type = 9.into();
    header.standard.timestamp_ns = (NOW - 500).into();
    let mut frame = vec![0; PAYLOAD_AT];
    frame.extend(header.as_bytes());
    for number in 0..count {
        let event = EventHeader {
            timestamp_ns: (NOW - 1000).into(),
            event_type: u32::from(1 + number % 5).into(),
            source_id: 7.into(),
            payload_length: 30.into(),
            ..EventHeader::default()
        };
        frame.extend(event.as_bytes());
        frame.extend([0xaa; 32]); // 30 bytes and padding
    }
    frame
}

fn meta(message_kind: u8, payload_length: usize) -> FrameMeta {
    FrameMeta {
        flow: 1,
        kind: message_kind,
        payload_offset: PAYLOAD_AT as u16,
        payload_length: payload_length as u16,
        magic: META_MAGIC,
        ..FrameMeta::default()
    }
}

fn replay(frames: &[FrameView<'_>]) -> Vec<Record> {
    let mut replay: Replay<Streaming> = Replay::new(&Settings::default());
    replay.feed(NOW, frames);
    replay.finish().records
}

fn rows(records: &[Record]) -> Vec<StreamRow> {
    let wanted = records.iter().filter(|record| record.kind == kind::WINDOW_1S);
    wanted.map(|record| StreamRow::read_from_bytes(&record.body).unwrap()).collect()
}

fn summary(records: &[Record]) -> SummaryRow {
    let record = records.iter().find(|record| record.kind == kind::SUMMARY).unwrap();
    assert_eq!((record.feature, record.length as usize), (Streaming::ID, BODY_BYTES));
    SummaryRow::read_from_bytes(&record.body).unwrap()
}

#[test]
fn a_batch_counts_its_message_once_and_each_event() {
    let frame = batch_frame(10, 10);
    let records = replay(&[FrameView::whole(meta(3, frame.len() - PAYLOAD_AT), &frame, 0)]);
    let summary = summary(&records);
    assert_eq!((summary.frames, summary.messages, summary.batches, summary.events), (1, 1, 1, 10));
    assert_eq!((summary.events_missing, summary.plain, summary.bytes), (0, 0, frame.len() as u64));
    let rows = rows(&records);
    assert_eq!(rows.len(), 6);
    let message = rows.iter().find(|row| row.scope == Scope::Message as u8).unwrap();
    assert_eq!((message.source, message.kind, message.count, message.latency_max_ns), (3, 9, 1, 500));
    for event in rows.iter().filter(|row| row.scope == Scope::Event as u8) {
        assert_eq!((event.source, event.count, event.bytes), (7, 2, 124));
        assert_eq!((event.latency_min_ns, event.latency_p50_ns, event.latency_max_ns), (1000, 1000, 1000));
    }
}

#[test]
fn a_batch_in_pieces_gives_the_same_records() {
    let frame = batch_frame(20, 20);
    let whole = replay(&[FrameView::whole(meta(3, frame.len() - PAYLOAD_AT), &frame, 0)]);
    for cut in [95, 100, 122, 123, 400] {
        let (head, rest) = frame.split_at(cut);
        let (middle, end) = rest.split_at(rest.len() / 2);
        let rest = [middle, end];
        let view = FrameView::jumbo(meta(3, frame.len() - PAYLOAD_AT), head, &rest, 0);
        assert_eq!(replay(&[view]), whole, "cut at {cut}");
    }
}

#[test]
fn what_is_cut_is_counted() {
    let frame = batch_frame(4, 6);
    let records = replay(&[
        FrameView::whole(meta(3, frame.len() - PAYLOAD_AT), &frame, 0),
        FrameView::whole(meta(1, 20), &frame[..62], 1), // a message whose header is cut
        FrameView::whole(meta(0, 0), &frame[..60], 2),
    ]);
    let summary = summary(&records);
    assert_eq!((summary.events, summary.events_missing, summary.messages_cut, summary.plain), (4, 2, 1, 2));
    assert_eq!((summary.frames, summary.messages), (3, 1));
}

#[test]
fn a_refused_checkpoint_leaves_the_feature_as_made() {
    let mut feature = Streaming::make(&Settings::default());
    let mut empty = Vec::new();
    feature.checkpoint(&mut empty);
    assert!(matches!(feature.restore(b"foreign bytes"), Err(CheckpointError::Foreign { .. })));
    assert!(matches!(feature.restore(&empty[..20]), Err(CheckpointError::Truncated { .. })));
    let other = Settings { rows: 3, ..Settings::default() };
    assert!(matches!(Streaming::make(&other).restore(&empty), Err(CheckpointError::OutOfRange { field: "rows", .. })));
    let mut again = Vec::new();
    feature.checkpoint(&mut again);
    assert_eq!(empty, again);
    let mut reply = Vec::new();
    feature.on_call(b"unknown", &mut reply);
    assert!(reply.is_empty());
}
