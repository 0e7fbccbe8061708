//! Does the wire document tell the truth? Its golden bytes are read from it and decoded.

use weir_ebpf_abi::batch::{BatchHeader, EventHeader};
use weir_ebpf_abi::decode::decode_slice;
use weir_ebpf_abi::message::{Modality, MultimodalHeader, StandardHeader};
use weir_ebpf_abi::stream::{STREAM_HEADER, StreamError, StreamHeader, StreamHello, StreamSays, StreamWord};
use zerocopy::{FromBytes, IntoBytes};

const DOCUMENT: &str = include_str!("../../docs/wire.md");

/// The bytes of the block named `name`: lines of an offset and up to 16 bytes in hexadecimal.
fn golden(name: &str) -> Vec<u8> {
    let (_, rest) = DOCUMENT.split_once(&format!("```wire {name}\n")).expect("the document has the block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let words = block.lines().flat_map(|line| line.split_whitespace().skip(1));
    words.map(|word| u8::from_str_radix(word, 16).expect("two hexadecimal digits")).collect()
}

#[test]
fn the_standard_message_reads_as_the_document_says() {
    let bytes = golden("standard");
    let (header, payload) = StandardHeader::parse(&bytes).expect("a sound message");
    assert_eq!((header.message_type.get(), header.source_agent_id.get(), header.dest_agent_id.get()), (7, 2, 3));
    assert_eq!(header.timestamp_ns.get(), 0x0807_0605_0403_0201);
    assert_eq!((header.priority.get(), header.sequence_number.get(), payload), (1, 42, b"hi".as_slice()));
}

#[test]
fn the_multimodal_message_reads_as_the_document_says() {
    let bytes = golden("multimodal");
    let (header, payload) = MultimodalHeader::parse(&bytes).expect("a sound message");
    assert_eq!((header.context_id.get(), header.fusion_required.get(), header.modality_mask.get()), (77, 1, 9));
    assert_eq!(header.part(payload, Modality::Text), b"hello");
    assert_eq!(header.part(payload, Modality::Sensor), [1, 2, 3, 4]);
}

#[test]
fn the_batch_reads_as_the_document_says() {
    let bytes = golden("batch");
    let (header, events) = BatchHeader::read_from_prefix(&bytes).expect("48 bytes");
    assert_eq!((header.event_count.get(), header.batch_id.get(), header.first_event_id.get()), (2, 5, 900));
    let (first, rest) = EventHeader::read_from_prefix(events).expect("32 bytes");
    assert_eq!((first.event_id.get(), first.event_type.get(), first.source_id.get()), (900, 1, 11));
    assert_eq!(
        (first.timestamp_ns.get(), first.payload_length.get(), &rest[..8]),
        (1990, 2, b"on\0\0\0\0\0\0".as_slice())
    );
    let (second, rest) = EventHeader::read_from_prefix(&rest[8..]).expect("32 bytes");
    assert_eq!(
        (second.event_id.get(), second.event_type.get(), second.payload_length.get(), rest.len()),
        (901, 3, 0, 0)
    );
}

#[test]
fn a_stream_reads_as_the_document_says() {
    assert_eq!(golden("stream-hello"), StreamHello::new(2, 42).as_bytes());
    let bytes = golden("stream-message");
    let message = golden("standard");
    let header = StreamHeader::new(48_100, message.len() as u32, 2, 42);
    assert_eq!(StreamHeader::parse(&bytes), Ok(&header));
    assert_eq!((header.stride(), &bytes[STREAM_HEADER..STREAM_HEADER + message.len()]), (bytes.len(), &message[..]));
    assert_eq!(golden("stream-progress"), StreamWord::new(StreamSays::Progress, 43, 4139).as_bytes());
    for reason in StreamError::ALL {
        let row = format!("| {} | `{}` |", reason as u16, reason.name());
        assert!(DOCUMENT.contains(&row), "the document has no row {row}");
    }
}

#[test]
fn the_whole_frame_carries_the_standard_message() {
    let frame = golden("frame");
    let decoded = decode_slice(&frame, frame.len());
    assert_eq!((decoded.malformed(), decoded.kind().name()), (None, "standard"));
    assert_eq!(decoded.outer.ports(), Some((40_000, 48_100)));
    let start = usize::from(decoded.payload_offset);
    assert_eq!(&frame[start..start + usize::from(decoded.payload_length)], golden("standard"));
}
