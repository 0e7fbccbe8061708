//! The generator in memory: frames copied onto a lane ring with the words the classifier would put in front.

use weir_dataplane_ring::OwnerCursors;
use weir_dataplane_source::lane::{Lane, Refused};
use weir_ebpf_abi::decode::{Decoded, decode_slice};
use weir_ebpf_abi::flow::{bucket, fingerprint};
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC, NO_RULE};

use super::Sender;
use crate::error::LabError;
use crate::traffic::Traffic;

/// The words the classifier would put in front of `frame` when it delivers it to `class`, found by the same decoder.
/// `flow_key` keys the fingerprint; `received_ns` is the time of classification, or 0.
#[must_use]
pub fn classify(frame: &[u8], class: u8, flow_key: [u64; 2], received_ns: u64) -> FrameMeta {
    describe(&decode_slice(frame, frame.len()), class, flow_key, received_ns)
}

/// As [`classify`], of a frame that was decoded before.
#[must_use]
pub fn describe(decoded: &Decoded, class: u8, flow_key: [u64; 2], received_ns: u64) -> FrameMeta {
    let flow = fingerprint(flow_key, &decoded.outer);
    FrameMeta {
        flow,
        received_ns,
        rule: NO_RULE,
        class,
        kind: decoded.kind,
        payload_offset: decoded.payload_offset,
        payload_length: decoded.payload_length,
        agent_source: decoded.message.source_agent,
        bucket: bucket(flow),
        magic: META_MAGIC,
    }
}

/// Sends by copying into a lane's frames; takes back what the taker has passed.
pub struct RingSender {
    lane: Lane,
    cursors: OwnerCursors,
    slot: usize,
    class: u8,
    flow_key: [u64; 2],
    /// A cursor outside the ring was claimed; nothing is taken back from then on.
    hostile: bool,
}

impl RingSender {
    /// Sends onto `lane` as `class`; the taker's cursor is line `slot` of `cursors`.
    #[must_use]
    pub fn new(lane: Lane, cursors: OwnerCursors, slot: usize, class: u8) -> Self {
        // A key of its own would protect nothing here: sender and taker are one program.
        let flow_key = [0x5745_4952, 0x4c41_4221];
        Self { lane, cursors, slot, class, flow_key, hostile: false }
    }

    /// Takes back what the taker has passed.
    fn recycle(&mut self) {
        self.hostile |= self.lane.recycle(self.cursors.load(self.slot)).is_err();
    }

    /// Descriptors that the taker has not passed.
    pub fn held(&mut self) -> u32 {
        self.recycle();
        self.lane.held()
    }
}

impl Sender for RingSender {
    fn describe(&self) -> String {
        format!("memory ring of {} frames, one copy for each, classified on the host", self.lane.size())
    }

    fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError> {
        self.recycle();
        if self.hostile {
            return Err(LabError::spec("the taker's cursor", "outside the ring", "restart the taker; it is broken"));
        }
        let mut taken = 0;
        for stamp in stamps {
            let sent = traffic.next(*stamp);
            let meta = describe(sent.template.decoded(), self.class, self.flow_key, 0);
            match self.lane.put(&meta, sent.template.frame()) {
                Ok(()) => taken += 1,
                Err(Refused::Full { .. }) => {
                    traffic.unsend();
                    break;
                }
                Err(refused @ Refused::TooLong { .. }) => {
                    return Err(LabError::spec("a frame", refused, "give smaller frames"));
                }
            }
        }
        self.lane.publish();
        Ok(taken)
    }
}
