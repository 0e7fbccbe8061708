//! A capture as the classifier would have met it: frame by frame, behind an Ethernet header.

use std::path::Path;

use anyhow::{Context, Result};
use weir_dataplane_source::capture::Reader;
use weir_dataplane_source::ethernet::as_ethernet;

/// One frame of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Met<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes from the Ethernet header on. Where the capture has another link layer the header is made up; where that
    /// cannot be done there are none: read as Ethernet they would be addresses and ports that were never there.
    pub bytes: &'a [u8],
    /// Length on the wire of what `bytes` present, of which the capture may have cut the end.
    pub length: u32,
    /// Its length on the wire as the capture says it, with the link layer that it was captured with.
    pub captured_length: u32,
    /// Whether `bytes` are what the classifier would have met.
    pub is_presented: bool,
    /// Bytes of it that were captured.
    pub captured: u32,
    /// What was made up, or why nothing could be.
    pub note: Option<String>,
    /// When it was captured, in nanoseconds since 1970.
    pub time_ns: u64,
}

/// Gives every frame of the capture at `path` to `each`.
///
/// # Errors
/// When the file cannot be read or is no capture, and what `each` says.
pub(crate) fn for_each(path: &Path, mut each: impl FnMut(&Met<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::open(path).with_context(|| format!("{}", path.display()))?;
    let mut buffer = Vec::new();
    let mut number = 0;
    while let Some(frame) = reader.next_frame().with_context(|| format!("{}", path.display()))? {
        number += 1;
        let missing = frame.original_length.saturating_sub(frame.bytes.len() as u32);
        let presented = as_ethernet(&frame, &mut buffer);
        let (link, time_ns, captured_length) = (frame.link, frame.time_ns, frame.original_length);
        let captured = frame.bytes.len() as u32;
        let note = match &presented {
            Some(presented) => presented.note.map(str::to_owned),
            None => Some(format!("nothing is decoded: {link} says of no Ethernet or IP packet that it carries one")),
        };
        let is_presented = presented.is_some();
        let bytes = presented.map_or(&[] as &[u8], |presented| presented.bytes);
        // At most 256 KiB are captured; a length below that is a damaged capture's.
        let length = (bytes.len() as u32).saturating_add(missing);
        each(&Met { number, bytes, length, captured_length, is_presented, captured, note, time_ns })?;
    }
    Ok(())
}
