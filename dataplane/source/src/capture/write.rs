//! A writer of classic pcap with nanosecond stamps, which every common tool reads.

use std::io::Write;

use super::{CAPTURED_BYTES_MAX, CaptureError, Frame, LinkType};

/// Magic number of little-endian files with nanosecond stamps.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Writes frames of one link layer to any byte stream.
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
    link: LinkType,
    offset: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the file header; give a buffered stream.
    ///
    /// # Errors
    /// The stream cannot be written.
    pub fn new(stream: W, link: LinkType) -> Result<Self, CaptureError> {
        let mut header = Vec::with_capacity(24);
        header.extend(MAGIC_NANOSECONDS.to_le_bytes());
        header.extend(2u16.to_le_bytes()); // version 2.4
        header.extend(4u16.to_le_bytes());
        header.extend([0; 8]); // time zone and stamp accuracy: always zero
        header.extend((CAPTURED_BYTES_MAX as u32).to_le_bytes());
        header.extend(link.number().to_le_bytes());
        let mut writer = Self { stream, link, offset: 0 };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Appends one frame, keeping at most [`CAPTURED_BYTES_MAX`] bytes of it.
    ///
    /// # Errors
    /// The stream cannot be written, or the frame is of another link layer than the file.
    pub fn write(&mut self, frame: &Frame<'_>) -> Result<(), CaptureError> {
        if frame.link != self.link {
            let message = format!("a frame of {} does not fit a file of {}", frame.link, self.link);
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, message);
            return Err(CaptureError::Io { offset: self.offset, source });
        }
        let bytes = &frame.bytes[..frame.bytes.len().min(CAPTURED_BYTES_MAX)];
        let mut header = [0; 16];
        // The format ends in the year 2106; a later stamp wraps, as it does in every pcap writer.
        header[..4].copy_from_slice(&((frame.time_ns / 1_000_000_000) as u32).to_le_bytes());
        header[4..8].copy_from_slice(&((frame.time_ns % 1_000_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        header[12..].copy_from_slice(&frame.original_length.to_le_bytes());
        self.put(&header)?;
        self.put(bytes)
    }

    /// Flushes and gives the stream back.
    ///
    /// # Errors
    /// The stream cannot be written.
    pub fn finish(mut self) -> Result<W, CaptureError> {
        self.stream.flush().map_err(|source| CaptureError::Io { offset: self.offset, source })?;
        Ok(self.stream)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        self.stream.write_all(bytes).map_err(|source| CaptureError::Io { offset: self.offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
