//! The stream form of any bytes: hellos, words and headers are taken or refused, and messages are found to their end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_ebpf_abi::stream::{STREAM_HEADER, STREAM_MESSAGE_MAX, StreamHeader, StreamHello, StreamWord};

fuzz_target!(|bytes: &[u8]| {
    let _ = bytes.get(..StreamHello::SIZE).map(StreamHello::parse);
    let _ = bytes.get(..StreamWord::SIZE).and_then(StreamWord::parse);
    let mut rest = bytes;
    while let Ok(header) = StreamHeader::parse(rest) {
        let stride = header.stride();
        assert!((STREAM_HEADER..=STREAM_HEADER + STREAM_MESSAGE_MAX + 8).contains(&stride));
        let Some(behind) = rest.get(stride..) else { break };
        rest = behind;
    }
});
