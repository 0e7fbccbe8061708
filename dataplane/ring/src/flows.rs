//! A taker's view of the flow-verdict map: an array of 16-byte slots in a mapped BPF map, read by the classifier.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::memory::{Memory, RingError, Shared, SharedSlots, SharedU64};

/// Words of one slot: the flow's fingerprint and its verdict.
const SLOT_WORDS: usize = 2;
/// Bytes of one slot.
const SLOT_BYTES: usize = SLOT_WORDS * 8;

/// The table of flow verdicts, written by a taker with plain stores: no system call lies between a verdict and its effect.
///
/// Behind the last slot stands a header slot whose first word is 0 until the first verdict: a classifier without verdicts
/// pays one load.
pub struct FlowTable {
    slots: SharedSlots<SLOT_WORDS>,
    in_use: SharedU64,
}

impl FlowTable {
    /// Bytes of a table of `size` slots and its header.
    #[must_use]
    pub const fn length(size: u32) -> usize {
        (size as usize + 1) * SLOT_BYTES
    }

    /// Lays the table of `size` slots over writable `memory`.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the memory is too short.
    pub fn new(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        let slots = SharedSlots::at(&memory, 0, size, "flow-verdict table")?;
        let in_use = Shared::at(&memory, size as usize * SLOT_BYTES, "the header of the flow-verdict table")?;
        Ok(Self { slots, in_use })
    }

    /// Puts `verdict` in force for the flow with fingerprint `flow`; a flow that shares the slot loses its own. False for
    /// fingerprint 0, which marks an empty slot.
    ///
    /// The classifier reads fingerprint, verdict and fingerprint again. The slot is emptied before its verdict changes, so
    /// a reader that finds the same fingerprint twice has that flow's verdict and no other's.
    #[inline]
    pub fn store(&self, flow: u64, verdict: u64) -> bool {
        if flow == 0 {
            return false;
        }
        let [fingerprint, decision] = self.slots.slot(flow as u32); // low half on purpose: slot = flow mod size
        fingerprint.store(0, Ordering::SeqCst);
        decision.store(verdict, Ordering::SeqCst);
        fingerprint.store(flow, Ordering::SeqCst);
        self.in_use.store(1, Ordering::Release);
        true
    }

    /// The verdict in force for `flow`, if the slot holds one.
    #[inline]
    pub fn load(&self, flow: u64) -> Option<u64> {
        let [fingerprint, decision] = self.slots.slot(flow as u32); // low half on purpose
        (flow != 0 && fingerprint.load(Ordering::Acquire) == flow).then(|| decision.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    #[test]
    fn a_flow_finds_its_own_verdict_only() {
        let table = FlowTable::new(HeapMemory::zeroed(FlowTable::length(64)), 64).expect("a plain table");
        assert!(table.store(0x1_0000_0005, 7));
        assert_eq!(table.load(0x1_0000_0005), Some(7));
        assert_eq!(table.load(0x2_0000_0005), None, "same slot, another flow");
        assert!(table.store(0x2_0000_0005, 9), "the later flow takes the slot");
        assert_eq!((table.load(0x1_0000_0005), table.load(0x2_0000_0005)), (None, Some(9)));
        assert!(!table.store(0, 1), "0 is the empty slot");
    }
}
