//! A capture as the classifier would have met it: frame by frame, behind an Ethernet header.

use std::path::Path;

use anyhow::{Context, Result};
use weir_dataplane_source::capture::Reader;
use weir_dataplane_source::ethernet::as_ethernet;

/// One frame of a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes from the Ethernet header on. Where the capture has another link layer the header is made up; where that
    /// cannot be done these are the captured bytes.
    pub bytes: &'a [u8],
    /// Its length on the wire, which the capture may have cut.
    pub length: u32,
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
        let bytes = presented.as_ref().map_or(frame.bytes, |presented| presented.bytes);
        let length = bytes.len() as u32 + missing; // at most 256 KiB are captured
        each(&Met { number, bytes, length, time_ns: frame.time_ns })?;
    }
    Ok(())
}
