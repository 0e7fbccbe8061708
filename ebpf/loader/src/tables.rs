//! The classifier's tables in memory: the host's copy of the decision reads these.

use std::collections::HashMap;

use weir_ebpf_abi::agents::{Agent, AgentTable};
use weir_ebpf_abi::control::{Control, HAS_AGENTS, HAS_BUCKETS, HAS_RULES, HAS_SERVICES, NEEDS_FLOW};
use weir_ebpf_abi::decide::{Steered, Tables, steer};
use weir_ebpf_abi::decode::Decoded;
use weir_ebpf_abi::flow::{FLOW_SLOTS, FlowVerdict, fingerprint};
use weir_ebpf_abi::layout::MAX_AGENTS;
use weir_ebpf_abi::rules::Rule;
use weir_ebpf_abi::ruleset::RuleSet;
use weir_ebpf_abi::services::{Connection, ServiceIndex, ServiceTable};
use zerocopy::FromZeros;

use crate::compile;
use crate::error::LoadError;
use crate::flags::FlagTable;
use crate::services::{self, Built, Placement, Service};

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
pub struct HostTables {
    control: Control,
    rules: Box<RuleSet>,
    agents: Box<AgentTable>,
    verdicts: Vec<FlowVerdict>,
    seconds: u32,
    services: Option<Built>,
    connections: HashMap<u64, Connection>,
}

impl std::fmt::Debug for HostTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTables").field("control", &self.control).finish_non_exhaustive()
    }
}

impl HostTables {
    /// Tables of these rules, flags and agents, whose `ifindex`
    /// must be set where they can be reached. The flow key is all zeros until [`HostTables::with_key`].
    ///
    /// # Errors
    /// As [`compile::rules`] and [`compile::agents`].
    pub fn new(rules: &[Rule], flags: &[FlagTable], agents: &[Agent]) -> Result<HostTables, LoadError> {
        let (rules, mut state) = compile::rules(rules, flags)?;
        if !agents.is_empty() {
            state |= HAS_AGENTS;
        }
        let agents = compile::agents(agents)?;
        let control = Control { state, ..Control::default() };
        let (verdicts, connections) = (Vec::new(), HashMap::new());
        Ok(HostTables { control, rules, agents, verdicts, seconds: 0, services: None, connections })
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

    /// The same tables with services, numbered and placed as `like` says as far as it knows them: a classifier's
    /// [`placement`](crate::Classifier::placement), or the default.
    ///
    /// # Errors
    /// As [`Classifier::install_services`](crate::Classifier::install_services).
    pub fn with_services(mut self, services: &[Service], like: &Placement) -> Result<HostTables, LoadError> {
        self.control.services = if services.is_empty() { 0 } else { HAS_SERVICES };
        self.services = Some(services::build(like, services)?);
        Ok(self)
    }

    /// The service with this number and the agent at a place of it.
    pub fn service_table(&self, number: u8) -> Option<&ServiceTable> {
        let tables = self.services.as_ref()?.tables.iter();
        tables.map(|(at, table)| (*at, table)).find(|(at, _)| *at == number).map(|(_, table)| &**table)
    }

    /// Numbers and places of the services.
    pub fn placement(&self) -> &Placement {
        static NONE: Placement = Placement::NONE;
        self.services.as_ref().map_or(&NONE, |built| &built.placement)
    }

    /// Remembers a connection, as the classifier does for a frame that it sends to an agent.
    pub fn remember(&mut self, flow: u64, connection: Connection) {
        self.connections.insert(flow, connection);
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
    fn service_index(&self, _bank: u32) -> Option<&ServiceIndex> {
        self.services.as_ref().map(|built| &*built.index)
    }
    fn service(&self, _bank: u32, number: u8) -> Option<&ServiceTable> {
        self.service_table(number)
    }
    fn connection(&self, flow: u64) -> Option<Connection> {
        self.connections.get(&flow).copied()
    }
}
