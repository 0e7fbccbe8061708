//! The classifier's tables in memory: the host's copy of the decision reads these.

use weir_ebpf_abi::agents::{Agent, AgentTable};
use weir_ebpf_abi::control::{Control, HAS_AGENTS, HAS_BUCKETS, HAS_RULES, NEEDS_FLOW};
use weir_ebpf_abi::decide::{Steered, Tables, steer};
use weir_ebpf_abi::decode::Decoded;
use weir_ebpf_abi::flow::{FLOW_SLOTS, FlowVerdict, fingerprint};
use weir_ebpf_abi::layout::MAX_AGENTS;
use weir_ebpf_abi::rules::Rule;
use weir_ebpf_abi::ruleset::RuleSet;
use zerocopy::FromZeros;

use crate::compile;
use crate::error::LoadError;

/// What [`weir_ebpf_abi::decide::decide`] looks up, without a kernel: for captures, tests and explanations.
///
/// ```
/// # fn main() -> Result<(), weir_ebpf_loader::LoadError> {
/// use weir_ebpf_abi::{explain::Explanation, rules::{Match, Rule}, action::Action};
/// let all = Rule { matches: Match::default(), action: Action::Deliver, class: 3, share: 10_000 };
/// let tables = weir_ebpf_loader::HostTables::new(&[all], &[], &[])?;
/// assert_eq!(Explanation::of(&tables, &[0; 60], 60).class, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HostTables {
    control: Control,
    rules: Box<RuleSet>,
    agents: Box<AgentTable>,
    verdicts: Vec<FlowVerdict>,
    seconds: u32,
}

impl HostTables {
    /// Tables of these rules, flag buckets (class and width in basis points, in order) and agents, whose `ifindex`
    /// must be set where they can be reached. The flow key is all zeros until [`HostTables::with_key`].
    ///
    /// # Errors
    /// As [`compile::rules`] and [`compile::agents`].
    pub fn new(rules: &[Rule], buckets: &[(u8, u16)], agents: &[Agent]) -> Result<HostTables, LoadError> {
        let (rules, mut state) = compile::rules(rules, buckets)?;
        if !agents.is_empty() {
            state |= HAS_AGENTS;
        }
        let agents = compile::agents(agents)?;
        let control = Control { state, ..Control::default() };
        Ok(HostTables { control, rules, agents, verdicts: Vec::new(), seconds: 0 })
    }

    /// The same tables under another flow key: that of a classifier, to agree with its buckets.
    #[must_use]
    pub fn with_key(mut self, key: [u64; 2]) -> HostTables {
        self.control.flow_key = key;
        self
    }

    /// The same tables with mirror class offsets by egress slot.
    #[must_use]
    pub fn with_mirror_classes(mut self, offsets: &[u8]) -> HostTables {
        compile::mirror_classes(offsets, &mut self.control.mirror_class);
        self
    }

    /// Puts a verdict in force, at `seconds` of CLOCK_MONOTONIC.
    pub fn set_verdict(&mut self, verdict: FlowVerdict, seconds: u32) {
        self.verdicts.resize(FLOW_SLOTS + 1, FlowVerdict::default());
        self.verdicts[weir_ebpf_abi::flow::slot(verdict.flow)] = verdict;
        self.verdicts[FLOW_SLOTS].flow = 1;
        self.seconds = seconds;
    }

    /// The rule set.
    pub fn rule_set(&self) -> &RuleSet {
        &self.rules
    }
}

/// The state bits that speak of rules and buckets.
pub(crate) const RULE_STATE: u8 = HAS_RULES | HAS_BUCKETS | NEEDS_FLOW;

/// Memory of all zeros, which is valid for every map value.
pub(crate) fn zeroed<T: FromZeros>(what: &'static str) -> Result<Box<T>, LoadError> {
    T::new_box_zeroed().map_err(|_| LoadError::TooMany { what, found: 1, limit: MAX_AGENTS })
}

impl Tables for HostTables {
    fn control(&self) -> &Control {
        &self.control
    }
    fn steer(&self, decoded: &Decoded, flow: u64) -> Steered {
        steer(&self.control, &self.rules, decoded, flow, 0)
    }
    fn fingerprint(&self, decoded: &Decoded) -> u64 {
        fingerprint(self.control.flow_key, &decoded.outer)
    }
    fn agents(&self, _bank: u32) -> Option<&AgentTable> {
        Some(&self.agents)
    }
    fn verdict(&self, slot: usize) -> FlowVerdict {
        self.verdicts.get(slot).copied().unwrap_or_default()
    }
    fn seconds(&self) -> u32 {
        self.seconds
    }
}
