//! A byte stream that knows its offset and says what it was reading when the file ended.

use std::io::{ErrorKind, Read};

use super::CaptureError;

/// Stream plus the count of bytes taken from it.
#[derive(Debug)]
pub(super) struct Input<R> {
    stream: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, offset: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until `into` is full or the file ends; returns how many bytes there were.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, CaptureError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.stream.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Io { offset: self.offset + filled as u64, source }),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// Fills `into` whole; `what` is named when the file ends before.
    pub(super) fn exact(&mut self, into: &mut [u8], what: &'static str) -> Result<(), CaptureError> {
        let offset = self.offset;
        let found = self.fill(into)?;
        if found < into.len() {
            return Err(CaptureError::CutShort { offset, what, wanted: into.len() as u64, found: found as u64 });
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CaptureError> {
        let mut bytes = [0; N];
        self.exact(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next `N` bytes, or `None` when the file ends exactly here: the regular end between two records.
    pub(super) fn array_or_end<const N: usize>(&mut self, what: &'static str) -> Result<Option<[u8; N]>, CaptureError> {
        let offset = self.offset;
        let mut bytes = [0; N];
        match self.fill(&mut bytes)? {
            0 => Ok(None),
            found if found == N => Ok(Some(bytes)),
            found => Err(CaptureError::CutShort { offset, what, wanted: N as u64, found: found as u64 }),
        }
    }

    /// Passes over `count` bytes without keeping them.
    pub(super) fn skip(&mut self, count: u64, what: &'static str) -> Result<(), CaptureError> {
        let offset = self.offset;
        let mut scratch = [0; 4096];
        let mut left = count;
        while left > 0 {
            let step = left.min(scratch.len() as u64) as usize;
            let found = self.fill(&mut scratch[..step])?;
            left -= found as u64;
            if found < step {
                return Err(CaptureError::CutShort { offset, what, wanted: count, found: count - left });
            }
        }
        Ok(())
    }
}
