//! [`SharedBuffer`]: a ring of bytes in memory that another process can map.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use weir_dataplane_io::numa;
use weir_dataplane_io::region::Region;
use weir_dataplane_io::umem::{Backing, HugePages};
use weir_dataplane_ring::bytes::SMALLEST;
use weir_dataplane_ring::{ByteRing, Memory, byte_ring_length};

use crate::error::SdkError;

/// Largest buffer: 1 TiB. A larger number is a mistake rather than a wish.
pub const LARGEST: u64 = 1 << 40;
/// `numa_node` for pages of any node.
pub const ANY_NODE: i32 = -1;

/// A ring of bytes and its memory.
pub struct SharedBuffer {
    region: Region,
    ring: ByteRing,
}

impl SharedBuffer {
    /// A ring of `size` bytes for a feature, every page present: on 2 MiB pages where enough are free, else on plain ones
    /// ([`SharedBuffer::backing`] says which, and why), and on `node` unless that is [`ANY_NODE`].
    ///
    /// # Errors
    /// [`SdkError::Invalid`] for a size outside [`SMALLEST`] to [`LARGEST`] or a node that is no number of one;
    /// [`SdkError::Memory`] when the node is not there or the memory cannot be had.
    pub fn create(feature: u32, size: u64, node: i32) -> Result<Self, SdkError> {
        let length = byte_ring_length(size).filter(|_| (SMALLEST..=LARGEST).contains(&size));
        let Some(length) = length else {
            let what = format!("a buffer of {size} bytes is outside {SMALLEST} to {LARGEST}");
            return Err(SdkError::Invalid { what, cure: "ask for a size in between" });
        };
        let asked = match u32::try_from(node) {
            Ok(node) => Some(node),
            Err(_) if node == ANY_NODE => None,
            Err(_) => {
                let what = format!("{node} is no NUMA node");
                return Err(SdkError::Invalid { what, cure: "name a node from 0 on, or -1 for any" });
            }
        };
        let region = Region::create("weir-shared-buffer", length, HugePages::Prefer, asked)?;
        let memory: Arc<dyn Memory> = region.mapping().clone();
        let ring = ByteRing::create(&memory, size, feature, node)?;
        Ok(Self { region, ring })
    }

    /// The ring that another process created and whose descriptor it passed on.
    ///
    /// # Errors
    /// [`SdkError::Memory`] when it is no sealed shared memory, [`SdkError::Ring`] when there is no ring in it.
    pub fn open(file: OwnedFd) -> Result<Self, SdkError> {
        let region = Region::open(file)?;
        let memory: Arc<dyn Memory> = region.mapping().clone();
        let ring = ByteRing::open(&memory)?;
        Ok(Self { region, ring })
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &ByteRing {
        &self.ring
    }

    /// The first of the ring's bytes.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.ring.base()
    }

    /// What kind of pages it is on, and why.
    #[must_use]
    pub fn backing(&self) -> &Backing {
        self.region.backing()
    }

    /// The NUMA node of the page in which byte `offset` of the ring lies.
    ///
    /// # Errors
    /// When there is no such byte, or the kernel does not say.
    pub fn node_of(&self, offset: u64) -> Result<u32, SdkError> {
        let nowhere = |what| SdkError::Invalid { what, cure: "ask for a byte of the buffer, on a kernel with NUMA" };
        if offset >= self.ring.size() {
            return Err(nowhere(format!("byte {offset} is not inside a buffer of {} bytes", self.ring.size())));
        }
        let address = self.base().addr().get() + offset as usize; // inside what is mapped
        numa::node_of_page(address)?.ok_or_else(|| nowhere(format!("no page is at byte {offset} of the buffer")))
    }

    /// The descriptor to pass on to another process.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.region.file()
    }
}

#[cfg(test)]
mod tests {
    use weir_dataplane_ring::Positions;

    use super::*;

    #[test]
    fn two_ends_of_one_buffer_exchange_messages() {
        let writer = SharedBuffer::create(5, 100_000, 0).unwrap();
        let reader = SharedBuffer::open(writer.file().try_clone_to_owned().unwrap()).unwrap();
        let (one, two) = (Positions::default(), Positions::default());
        let mut into = [0; 2000];
        for number in 0..500_u32 {
            let message = number.to_le_bytes().repeat(1 + number as usize % 300);
            writer.ring().write(&one, &message).unwrap();
            assert_eq!(reader.ring().read(&two, &mut into), Ok(Some(message.len())));
            assert_eq!(into[..message.len()], message);
        }
        assert_eq!((reader.ring().feature(), reader.ring().node(), reader.ring().size()), (5, 0, 100_000));
        assert_eq!(writer.node_of(99_999).unwrap(), 0);
        assert!(writer.node_of(1 << 30).is_err());
        assert_ne!(writer.base(), reader.base());
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_cure() {
        for (size, node, word) in [
            (0, -1, "outside 64"),
            (LARGEST + 1, -1, "outside 64"),
            (u64::MAX, -1, "outside 64"),
            (4096, -2, "-2 is no NUMA node"),
            (4096, 63, "NUMA node 63"),
            (4096, i32::MAX, "NUMA node 2147483647"),
        ] {
            let error = SharedBuffer::create(1, size, node).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("; "), "{error}");
        }
    }
}
