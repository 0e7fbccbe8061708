//! Frames of any bytes: the decoder never panics, and what it points at lies inside the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_ebpf_abi::decode::{decode_inner_slice, decode_slice};

fuzz_target!(|frame: &[u8]| {
    let decoded = decode_slice(frame, frame.len());
    let _ = decode_inner_slice(frame, frame.len(), &decoded);
    if decoded.malformed().is_none() && decoded.payload_offset != 0 {
        let end = usize::from(decoded.payload_offset) + usize::from(decoded.payload_length);
        assert!(end <= frame.len(), "payload up to {end} in a frame of {} bytes", frame.len());
    }
});
