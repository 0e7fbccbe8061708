//! Capture files: classic pcap (both byte orders, microseconds and nanoseconds) and pcapng.
//!
//! [`Reader`] lends one [`Frame`] at a time out of a buffer it keeps, so memory stays bounded by
//! [`CAPTURED_BYTES_MAX`] whatever the file claims. A damaged file gives every frame before the damage and then one
//! [`CaptureError`] that names the offset.

mod classic;
mod error;
mod input;
mod link;
mod pcapng;
mod write;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

pub use error::CaptureError;
pub use link::LinkType;
pub use write::Writer;

use classic::Classic;
use input::Input;
use pcapng::Pcapng;

/// Most bytes of one frame that a capture may hold: the largest snap length that tcpdump and Wireshark write.
pub const CAPTURED_BYTES_MAX: usize = 256 * 1024;

/// One captured frame, borrowed from the reader until the next one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the capture kept of the frame, from its link-layer header on.
    pub bytes: &'a [u8],
    /// Length on the wire in bytes; more than `bytes.len()` when the capture cut the frame short.
    pub original_length: u32,
    /// Nanoseconds since 1970, or 0 where the capture does not say (pcapng simple packets).
    pub time_ns: u64,
    /// Link layer that `bytes` begin with.
    pub link: LinkType,
}

/// Reads frames one after the other from any byte stream.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    format: Format,
    buffer: Vec<u8>,
    frames: u64,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Pcapng(Pcapng),
}

/// Where a frame lies in the reader's buffer, and what its record said about it.
#[derive(Clone, Copy, Debug)]
struct Located {
    start: usize,
    length: usize,
    original_length: u32,
    time_ns: u64,
    link: LinkType,
}

impl Reader<BufReader<File>> {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, or does not begin like a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(|source| CaptureError::Io { offset: 0, source })?;
        Self::new(BufReader::with_capacity(CAPTURED_BYTES_MAX, file))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the file header from `stream`; give a buffered stream, since records are read in small pieces.
    ///
    /// # Errors
    /// The stream cannot be read, or does not begin like a capture.
    pub fn new(stream: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(stream);
        let magic: [u8; 4] = input.array("magic number")?;
        let format = match Classic::from_magic(magic) {
            Some(classic) => Format::Classic(classic.read_header(&mut input)?),
            None if magic == pcapng::SECTION_HEADER => Format::Pcapng(Pcapng::read_first_section(&mut input)?),
            None => return Err(CaptureError::not_a_capture(magic)),
        };
        Ok(Self { input, format, buffer: Vec::new(), frames: 0 })
    }

    /// The next frame, or `None` at the end of the file.
    ///
    /// # Errors
    /// The record at hand is damaged or cut short. Nothing behind it can be found again, so stop at the first error.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let located = match &mut self.format {
            Format::Classic(classic) => classic.next(&mut self.input, &mut self.buffer)?,
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input, &mut self.buffer)?,
        };
        let Some(located) = located else { return Ok(None) };
        self.frames += 1;
        Ok(Some(Frame {
            bytes: &self.buffer[located.start..located.start + located.length],
            original_length: located.original_length,
            time_ns: located.time_ns,
            link: located.link,
        }))
    }

    /// Frames given so far, which is the number (from 1) of the frame given last.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of the file read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }
}

/// Byte order of the machine that wrote the file, or of one pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// The 16-bit number at `at`; the caller has checked the length.
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let raw = [bytes[at], bytes[at + 1]];
        match self {
            Order::Little => u16::from_le_bytes(raw),
            Order::Big => u16::from_be_bytes(raw),
        }
    }

    /// The 32-bit number at `at`; the caller has checked the length.
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Order::Little => u32::from_le_bytes(raw),
            Order::Big => u32::from_be_bytes(raw),
        }
    }
}
