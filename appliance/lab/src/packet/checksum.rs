//! The Internet checksum (RFC 1071) and its update when a few bytes change (RFC 1624).

/// A running sum of 16-bit big-endian words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds `bytes`, the last one padded with zero.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            self.0 += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        if let [last] = pairs.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self
    }

    /// Adds one word.
    pub(super) fn word(mut self, word: u16) -> Self {
        self.0 += u64::from(word);
        self
    }

    /// The checksum: the complement of the folded sum.
    pub(super) fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// `checksum` after `old` became `new` at an even distance from the sum's start: HC' = ~(~HC + ~m + m').
pub(super) fn update(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let mut sum = Sum::default().word(!checksum).bytes(new);
    let mut pairs = old.chunks_exact(2);
    for pair in &mut pairs {
        sum = sum.word(!u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum = sum.word(!(u16::from(*last) << 8));
    }
    sum.finish()
}
