//! Sizes of the maps and the names under which they are pinned.

/// Version of all map layouts; pinned maps of another version are not reused. Raise it with every change of a map.
pub const LAYOUT_VERSION: u32 = 4;

/// Rules in one rule set; a bit vector has one bit for each.
pub const MAX_RULES: usize = 1024;
/// Classes: sets of takers. An XSKMAP index is `queue * MAX_CLASSES + class`.
pub const MAX_CLASSES: usize = 64;
/// Receive queues of one interface that can be steered.
pub const MAX_QUEUES: usize = 64;
/// Slots of the egress device map.
pub const MAX_EGRESS: usize = 64;
/// Agents in the agent table.
pub const MAX_AGENTS: usize = 4096;
/// Buckets of the sticky flow hash, so that a share is a number of basis points.
pub const BUCKETS: usize = 10_000;
/// Tables of flags, a power of two: one for flows that no flag asks for by a match, one for every combination of the
/// matches of four, one for flows that no flag may have.
pub const FLAG_TABLES: usize = 32;
/// Slots of the XSKMAP.
pub const SOCKET_SLOTS: usize = MAX_QUEUES * MAX_CLASSES;

/// Name of the map with the [`Control`](crate::control::Control) word.
pub const MAP_CONTROL: &str = "CONTROL";
/// Name of the map with two banks of [`RuleSet`](crate::rules::RuleSet).
pub const MAP_RULES: &str = "RULES";
/// Name of the map with two banks of [`AgentTable`](crate::agents::AgentTable).
pub const MAP_AGENTS: &str = "AGENTS";
/// Name of the map of [`FlowVerdict`](crate::flow::FlowVerdict), which workers map and write.
pub const MAP_FLOWS: &str = "FLOWS";
/// Name of the per-CPU map with one [`Counters`](crate::counters::Counters).
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Name of the per-CPU map of [`RuleCount`](crate::counters::RuleCount), one per rule.
pub const MAP_RULE_COUNTS: &str = "RULE_COUNTS";
/// Name of the XSKMAP.
pub const MAP_SOCKETS: &str = "SOCKETS";
/// Name of the device map of egress interfaces.
pub const MAP_EGRESS: &str = "EGRESS";
/// Name of the map of [`Known`](crate::known::Known) flows, `KNOWN_SLOTS` for each CPU.
pub const MAP_KNOWN: &str = "KNOWN";
/// Name of the map with two banks of [`ServiceIndex`](crate::services::ServiceIndex).
pub const MAP_SERVICE_INDEX: &str = "SERVICE_INDEX";
/// Name of the map with two banks of [`ServiceTable`](crate::services::ServiceTable), one for each service.
pub const MAP_SERVICES: &str = "SERVICES";
/// Name of the map of [`Connection`](crate::services::Connection) by fingerprint.
pub const MAP_CONNECTIONS: &str = "CONNECTIONS";
/// Name of the per-CPU map of [`ServiceCount`](crate::services::ServiceCount).
pub const MAP_SERVICE_COUNTS: &str = "SERVICE_COUNTS";
/// Name of the per-CPU map with one [`Watched`](crate::watched::Watched).
pub const MAP_WATCHED: &str = "WATCHED";
/// Name of the map with the last [`Explanation`](crate::explain::Explanation).
pub const MAP_EXPLANATION: &str = "EXPLANATION";
/// Name of the map with the traffic generator's [`Plan`](crate::generator::Plan).
pub const MAP_PLAN: &str = "PLAN";
/// Name of the per-CPU map in which a sink counts a [`Tally`](crate::counters::Tally).
pub const MAP_SINK: &str = "SINK";

/// Programs of the object.
pub mod program {
    /// The classifier.
    pub const CLASSIFY: &str = "classify";
    /// The classifier's decoder and decision, told instead of carried out; run by test-run only.
    pub const EXPLAIN: &str = "explain";
    /// The traffic generator; run by test-run with live frames.
    pub const GENERATE: &str = "generate";
    /// Counts and passes.
    pub const SINK_PASS: &str = "sink_pass";
    /// Counts and drops.
    pub const SINK_DROP: &str = "sink_drop";
    /// The classifier, with what it did to the frame undone at the end, so that a test-run can repeat it.
    pub const MEASURE: &str = "measure";
    /// The same, and every turn is another flow.
    pub const MEASURE_NEW: &str = "measure_new";
    /// Passes, nothing else: the floor of measurements.
    pub const EMPTY_PASS: &str = "empty_pass";
    /// Redirects to egress slot 0, nothing else.
    pub const EMPTY_REDIRECT: &str = "empty_redirect";
    /// Redirects to class 0 of the queue, nothing else.
    pub const EMPTY_SOCKET: &str = "empty_socket";
}

/// XSKMAP slot of a class on a queue, or `None` outside the map.
///
/// ```
/// assert_eq!(weir_ebpf_abi::layout::socket_slot(1, 2), Some(66));
/// assert_eq!(weir_ebpf_abi::layout::socket_slot(64, 0), None);
/// ```
#[inline(always)]
pub const fn socket_slot(queue: u32, class: u8) -> Option<u32> {
    if queue as usize >= MAX_QUEUES || class as usize >= MAX_CLASSES {
        return None;
    }
    Some(queue * MAX_CLASSES as u32 + class as u32)
}
