//! The captures that lie beside the repository.

use std::path::{Path, PathBuf};

use weir_dataplane_source::capture::{LinkType, Reader};
use weir_dataplane_source::ethernet::as_ethernet;

/// One frame of a capture.
pub(crate) struct Captured {
    /// From 1.
    pub number: u64,
    /// From the Ethernet header on, made up where the capture has another link layer.
    pub bytes: Vec<u8>,
    /// On the wire.
    pub length: usize,
    /// Whether these are the captured bytes.
    pub is_ethernet: bool,
}

/// The capture files, or `None` with a printed reason.
pub(crate) fn files(test: &str) -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/pcap");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        weir_tests::skip(test, &format!("no captures at {}", folder.display()));
        return None;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    files.sort();
    if files.is_empty() {
        weir_tests::skip(test, &format!("no captures in {}", folder.display()));
        return None;
    }
    Some(files)
}

/// Gives every frame that can be presented as Ethernet; a file that cannot be read to its end gives what it can.
pub(crate) fn for_each(path: &Path, mut each: impl FnMut(Captured)) {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let mut buffer = Vec::new();
    let mut number = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        number += 1;
        let missing = (frame.original_length as usize).saturating_sub(frame.bytes.len());
        let is_ethernet = frame.link == LinkType::Ethernet;
        if let Some(presented) = as_ethernet(&frame, &mut buffer) {
            let bytes = presented.bytes.to_vec();
            each(Captured { number, length: bytes.len() + missing, bytes, is_ethernet });
        }
    }
}
