//! Blocks of the durable log of any bytes, and the files beside its segments: each header is taken or refused, and records
//! are taken apart to their end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_dataplane_log::format::{GroupHeader, INDEX_MOST, IndexHeader, RecordHeader, STREAMS_MOST, SegmentHeader, StreamsHeader};

fuzz_target!(|bytes: &[u8]| {
    let _ = SegmentHeader::parse(bytes, 0);
    // Any number and id: the checksum is what keeps strangers out.
    if let Ok((_, lines)) = StreamsHeader::parse(bytes, 0, &[0; 16]) {
        assert!(lines.len() <= STREAMS_MOST, "no more lines than a log remembers");
    }
    if let Ok((header, lines)) = IndexHeader::parse(bytes, 0, &[0; 16]) {
        assert!(lines.len() <= INDEX_MOST, "no more lines than an index has");
        assert!(lines.iter().all(|line| line.at.get() < header.used.get()), "no line leads out of the segment");
    }
    if let Ok(group) = GroupHeader::parse(bytes, &[0; 16]) {
        assert!(group.bytes() % 4096 == 0, "a group takes whole blocks");
    }
    let mut rest = bytes;
    while let Ok((record, frame, behind)) = RecordHeader::parse(rest) {
        let _ = record.stamp();
        assert!(frame.len() <= rest.len() && behind.len() < rest.len(), "every record is shorter than what it was cut from");
        rest = behind;
    }
});
