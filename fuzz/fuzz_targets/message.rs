//! Payloads of any bytes as each of the three message forms: what parses has its parts inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_ebpf_abi::message::{Modality, MultimodalHeader, StandardHeader};

fuzz_target!(|bytes: &[u8]| {
    let _ = StandardHeader::parse(bytes);
    if let Ok((header, payload)) = MultimodalHeader::parse(bytes) {
        let parts: usize = Modality::ALL.into_iter().map(|modality| header.part(payload, modality).len()).sum();
        assert!(parts <= payload.len(), "parts do not overlap, so together they fit");
    }
});
