//! A decision with all its grounds, the same bytes from the kernel and from the host.

use crate::action::Action;
use crate::decide::{Decision, Tables, decide};
use crate::decode::{Decoded, Layers, decode_inner_slice, decode_slice};
use crate::flow::{bucket, fingerprint};
use crate::meta::NO_RULE;
use crate::reason::Reason;
use crate::services::{NO_SERVICE, slot_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Explanation::agent_egress`] where no agent is concerned.
pub const NO_EGRESS: u8 = 0xff;

/// What the decoder found, what was decided, and on which ground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Explanation {
    /// What the decoder found.
    pub decoded: Decoded,
    /// The headers inside the tunnel; all 0 unless `has_inner`.
    pub inner: Layers,
    /// Keyed fingerprint of the flow.
    pub flow: u64,
    /// `id` of the agent the frame is rewritten for.
    pub agent: u32,
    /// Bucket of the flow.
    pub bucket: u16,
    /// Index of the rule that decided, [`NO_RULE`] for none.
    pub rule: u16,
    /// Number of the [`Action`].
    pub action: u8,
    /// Class for deliver and mirror.
    pub class: u8,
    /// Number of the [`Reason`].
    pub reason: u8,
    /// 1 when a flag bucket decided.
    pub by_flag: u8,
    /// 1 when a flow verdict decided.
    pub by_verdict: u8,
    /// Egress slot of that agent, [`NO_EGRESS`] for none.
    pub agent_egress: u8,
    /// 1 when `inner` was decoded.
    pub has_inner: u8,
    /// Number of the service that the frame is to, [`NO_SERVICE`] for none.
    pub service: u8,
    /// Slot of the flow in the service's table; 0 where there is no service.
    pub slot: u32,
    /// Place of the agent in the service; 0 where none was picked.
    pub place: u8,
    /// 1 when an agent of the service was picked.
    pub served: u8,
    /// 1 when the connection was known.
    pub known: u8,
    /// 0.
    pub reserved: u8,
}

impl Explanation {
    /// Adds a decision to what was decoded.
    #[inline(always)]
    pub fn conclude(&mut self, key: [u64; 2], decision: &Decision<'_>) {
        self.flow = fingerprint(key, &self.decoded.outer);
        self.bucket = bucket(self.flow);
        self.rule = decision.rule;
        self.action = decision.action as u8;
        self.class = decision.class;
        self.reason = decision.reason;
        self.by_flag = decision.by_flag as u8;
        self.by_verdict = decision.by_verdict as u8;
        self.service = decision.service;
        self.slot = if decision.service == NO_SERVICE { 0 } else { slot_of(self.flow) };
        if let Some(served) = decision.served() {
            (self.place, self.served, self.known) = (served.place, 1, served.known as u8);
        }
        (self.agent, self.agent_egress) = match decision.agent {
            Some(agent) => (agent.id, agent.egress),
            None => (0, NO_EGRESS),
        };
    }

    /// What the host's copy of the classifier says about a frame that was `length` bytes on the wire.
    pub fn of<T: Tables>(tables: &T, frame: &[u8], length: usize) -> Explanation {
        let mut explanation = Explanation { decoded: decode_slice(frame, length), ..Explanation::default() };
        if let Some(inner) = decode_inner_slice(frame, length, &explanation.decoded) {
            (explanation.inner, explanation.has_inner) = (inner, 1);
        }
        explanation.conclude(tables.control().flow_key, &decide(tables, &explanation.decoded));
        explanation
    }

    /// What happens to the frame.
    pub fn action(&self) -> Action {
        Action::from_number(self.action).unwrap_or_default()
    }

    /// Why it was dropped, or what is odd about it.
    pub fn reason(&self) -> Reason {
        Reason::from_number(self.reason).unwrap_or_default()
    }

    /// Index of the rule that decided.
    pub fn rule(&self) -> Option<u16> {
        (self.rule != NO_RULE).then_some(self.rule)
    }

    /// The headers inside the tunnel, where they were decoded.
    pub fn inner(&self) -> Option<&Layers> {
        (self.has_inner != 0).then_some(&self.inner)
    }

    /// Number of the service that the frame is to.
    pub fn service(&self) -> Option<u8> {
        (self.service != NO_SERVICE).then_some(self.service)
    }

    /// The agent the frame is rewritten for.
    pub fn agent(&self) -> Option<u32> {
        (self.agent_egress != NO_EGRESS).then_some(self.agent)
    }
}

const _: () = assert!(core::mem::size_of::<Explanation>() == 176);
