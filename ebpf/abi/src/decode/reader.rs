//! The cursor the decoder walks with.

/// A cursor in a frame. Offsets count from the cursor; a read is valid only where [`Reader::has`] said so.
pub trait Reader: Copy {
    /// True when `bytes` more lie in the buffer at the cursor.
    fn has(self, bytes: usize) -> bool;
    /// One byte.
    fn u8(self, at: usize) -> u8;
    /// Two bytes, big-endian.
    fn be16(self, at: usize) -> u16;
    /// Four bytes, big-endian.
    fn be32(self, at: usize) -> u32;
    /// Eight bytes, big-endian.
    fn be64(self, at: usize) -> u64;
    /// The cursor `bytes` further on.
    fn skip(self, bytes: usize) -> Self;
    /// Bytes of the whole frame, with the buffers that the cursor cannot reach.
    fn frame_length(self) -> usize;
    /// The same number. In the classifier the verifier then knows nothing but its width, so that it checks what
    /// follows once instead of once for every way that led here.
    fn forget(self, number: u16) -> u16;

    /// Two bytes, little-endian.
    #[inline(always)]
    fn le16(self, at: usize) -> u16 {
        self.be16(at).swap_bytes()
    }
    /// Four bytes, little-endian.
    #[inline(always)]
    fn le32(self, at: usize) -> u32 {
        self.be32(at).swap_bytes()
    }
    /// Eight bytes, little-endian.
    #[inline(always)]
    fn le64(self, at: usize) -> u64 {
        self.be64(at).swap_bytes()
    }
}

/// The host's cursor. A read that [`Reader::has`] did not allow gives 0.
#[derive(Clone, Copy, Debug)]
pub struct SliceReader<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> SliceReader<'a> {
    /// At the start of `frame`, which was `length` bytes on the wire.
    pub const fn new(frame: &'a [u8], length: usize) -> SliceReader<'a> {
        SliceReader { bytes: frame, length }
    }

    #[inline(always)]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        debug_assert!(found.is_some(), "a read of {N} bytes at {at} that has() did not allow");
        found.copied().unwrap_or([0; N])
    }
}

impl Reader for SliceReader<'_> {
    #[inline(always)]
    fn has(self, bytes: usize) -> bool {
        self.bytes.len() >= bytes
    }
    #[inline(always)]
    fn u8(self, at: usize) -> u8 {
        u8::from_be_bytes(self.array(at))
    }
    #[inline(always)]
    fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }
    #[inline(always)]
    fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }
    #[inline(always)]
    fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }
    #[inline(always)]
    fn skip(self, bytes: usize) -> Self {
        SliceReader { bytes: self.bytes.get(bytes..).unwrap_or(&[]), length: self.length }
    }
    #[inline(always)]
    fn frame_length(self) -> usize {
        self.length
    }
    #[inline(always)]
    fn forget(self, number: u16) -> u16 {
        number
    }
}
