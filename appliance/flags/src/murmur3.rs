//! MurmurHash3, x86, 32 bits, seed 0: Austin Appleby's public-domain hash, the one that flagd buckets with.

/// The hash of these bytes.
#[must_use]
pub(crate) fn murmur3_x86_32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mixed = |block: u32| block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        hash = (hash ^ mixed(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut rest = [0_u8; 4];
        rest[..tail.len()].copy_from_slice(tail);
        hash ^= mixed(u32::from_le_bytes(rest));
    }
    // The length enters modulo 2^32, as the hash defines it.
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that `mmh3.hash(text, signed=False)` gives; the vectors of tests/ hold many more.
    #[test]
    fn known_hashes() {
        for (text, hash) in [("", 0), ("hello", 613_153_351), ("hello, world", 345_750_399)] {
            assert_eq!(murmur3_x86_32(text.as_bytes()), hash, "{text}");
        }
    }
}
