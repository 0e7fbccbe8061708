//! A taker's view of the flow-verdict map: an array of 16-byte slots in a mapped BPF map, read by the classifier.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::memory::{Memory, RingError, SharedSlots};

/// Words of one slot: the flow's fingerprint and its verdict.
const SLOT_WORDS: usize = 2;

/// The table of flow verdicts, written by a taker with plain stores: no system call lies between a verdict and its effect.
pub struct FlowTable {
    slots: SharedSlots,
}

impl FlowTable {
    /// Lays the table of `size` slots over writable `memory`.
    ///
    /// # Errors
    /// [`RingError`] when the size is no power of two or the memory is too short.
    pub fn new(memory: Arc<dyn Memory>, size: u32) -> Result<Self, RingError> {
        Ok(Self { slots: SharedSlots::at(&memory, 0, size, SLOT_WORDS, "flow-verdict table")? })
    }

    /// Puts `verdict` in force for the flow with fingerprint `flow`; a flow that shares the slot loses its own. False for
    /// fingerprint 0, which marks an empty slot.
    ///
    /// The classifier reads the fingerprint first and the verdict second, so the slot is emptied before the verdict
    /// changes: it never applies one flow's verdict to another.
    #[inline]
    pub fn store(&self, flow: u64, verdict: u64) -> bool {
        if flow == 0 {
            return false;
        }
        let [fingerprint, decision] = self.slots.slot(flow as u32) else { return false }; // low half on purpose: slot = flow mod size
        fingerprint.store(0, Ordering::Release);
        decision.store(verdict, Ordering::Release);
        fingerprint.store(flow, Ordering::Release);
        true
    }

    /// The verdict in force for `flow`, if the slot holds one.
    #[inline]
    pub fn load(&self, flow: u64) -> Option<u64> {
        let [fingerprint, decision] = self.slots.slot(flow as u32) else { return None }; // low half on purpose
        (flow != 0 && fingerprint.load(Ordering::Acquire) == flow).then(|| decision.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    #[test]
    fn a_flow_finds_its_own_verdict_only() {
        let table = FlowTable::new(HeapMemory::zeroed(64 * 16), 64).expect("a plain table");
        assert!(table.store(0x1_0000_0005, 7));
        assert_eq!(table.load(0x1_0000_0005), Some(7));
        assert_eq!(table.load(0x2_0000_0005), None, "same slot, another flow");
        assert!(table.store(0x2_0000_0005, 9), "the later flow takes the slot");
        assert_eq!((table.load(0x1_0000_0005), table.load(0x2_0000_0005)), (None, Some(9)));
        assert!(!table.store(0, 1), "0 is the empty slot");
    }
}
