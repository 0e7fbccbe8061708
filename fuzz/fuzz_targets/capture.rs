//! Capture files of any bytes: each ends in frames or in one error, in bounded memory.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use weir_dataplane_source::capture::Reader;
use weir_dataplane_source::ethernet::as_ethernet;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(Cursor::new(bytes)) else { return };
    let mut buffer = Vec::new();
    while let Ok(Some(frame)) = reader.next_frame() {
        let _ = as_ethernet(&frame, &mut buffer);
    }
});
