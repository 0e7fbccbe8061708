//! Blocks of the durable log of any bytes: each header is taken or refused, and records are taken apart to their end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_dataplane_log::format::{GroupHeader, RecordHeader, SegmentHeader};

fuzz_target!(|bytes: &[u8]| {
    let _ = SegmentHeader::parse(bytes, 0);
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
