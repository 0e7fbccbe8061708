//! The maps; their names are those of `weir_ebpf_abi::layout`, which the loader's tests hold against this file.

use core::cell::UnsafeCell;

use aya_ebpf::btf_maps::{Array, DevMap, LruHashMap, PerCpuArray, XskMap};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use weir_ebpf_abi::agents::AgentTable;
use weir_ebpf_abi::control::{Control, REMEMBERS};
use weir_ebpf_abi::counters::{Counters, RuleCount, Tally};
use weir_ebpf_abi::decide::{Steered, Tables};
use weir_ebpf_abi::decode::Decoded;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::flow::{FLOW_ENTRIES, FlowVerdict};
use weir_ebpf_abi::generator::Plan;
use weir_ebpf_abi::known::{KNOWN_SLOTS, Key, Known};
use weir_ebpf_abi::layout::{MAX_EGRESS, MAX_RULES, SOCKET_SLOTS};
use weir_ebpf_abi::ruleset::RuleSet;
use weir_ebpf_abi::services::{
    CONNECTIONS as CONNECTION_ENTRIES, COUNT_ENTRIES, Connection, MAX_SERVICES, ServiceCount, ServiceIndex,
    ServiceTable, table_entry,
};
use weir_ebpf_abi::watched::Watched;

use crate::parts::{fingerprint_frame, steer_frame};

/// BPF_F_MMAPABLE: user space writes with plain stores.
const MMAPABLE: usize = 1 << 10;

#[btf_map]
pub(crate) static CONTROL: Array<Control, 1> = Array::new();
#[btf_map]
pub(crate) static RULES: Array<RuleSet, 2> = Array::new();
#[btf_map]
pub(crate) static AGENTS: Array<AgentTable, 2> = Array::new();
#[btf_map]
pub(crate) static FLOWS: Array<FlowVerdict, FLOW_ENTRIES, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static KNOWN: Array<Known, KNOWN_SLOTS, MMAPABLE> = Array::new(); // for whole cache lines: its values begin on a page
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULE_COUNTS: PerCpuArray<RuleCount, MAX_RULES> = PerCpuArray::new();
#[btf_map]
pub(crate) static SOCKETS: XskMap<SOCKET_SLOTS> = XskMap::new();
#[btf_map]
pub(crate) static EGRESS: DevMap<MAX_EGRESS> = DevMap::new();
#[btf_map]
pub(crate) static SERVICE_INDEX: Array<ServiceIndex, 2> = Array::new();
#[btf_map]
pub(crate) static SERVICES: Array<ServiceTable, { 2 * MAX_SERVICES }> = Array::new();
#[btf_map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection, CONNECTION_ENTRIES> = LruHashMap::new();
#[btf_map]
pub(crate) static SERVICE_COUNTS: PerCpuArray<ServiceCount, COUNT_ENTRIES> = PerCpuArray::new();
#[btf_map]
pub(crate) static WATCHED: PerCpuArray<Watched, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static EXPLANATION: Array<Explanation, 1> = Array::new();
#[btf_map]
pub(crate) static PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
pub(crate) static SINK: PerCpuArray<Tally, 1> = PerCpuArray::new();

/// Always 0. The verifier takes what lies in writable memory for any number, so that a number changed by this one is
/// any number to it, and the ways that lead to it are checked on as one.
static ZERO: Zero = Zero(UnsafeCell::new(0));

struct Zero(UnsafeCell<u16>);

// SAFETY: nobody ever writes it.
unsafe impl Sync for Zero {}

/// 0, unknown to the verifier.
#[inline(always)]
pub(crate) fn zero() -> u16 {
    // SAFETY: a static that nobody writes; volatile, so that the compiler does not know it either.
    unsafe { core::ptr::read_volatile(ZERO.0.get()) }
}

/// What the decision looks up, in the maps.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    pub(crate) control: &'static Control,
    /// Whether what is known of a flow counts, or all is looked up afresh.
    remembers: bool,
    /// What makes every turn of a measurement another flow; 0, and folded away, everywhere else.
    salt: u64,
}

impl Maps {
    /// `None` never happens: an array of one always has its entry, but the verifier wants to see the question.
    #[inline(always)]
    pub(crate) fn open() -> Option<Maps> {
        let control = CONTROL.get(0)?;
        Some(Maps { control, remembers: control.state & REMEMBERS != 0, salt: 0 })
    }

    /// The same, looking everything up.
    #[inline(always)]
    pub(crate) fn afresh(self) -> Maps {
        Maps { remembers: false, ..self }
    }

    /// The same for flows that nobody has seen before.
    #[inline(always)]
    pub(crate) fn salted(self, salt: u64) -> Maps {
        Maps { salt, ..self }
    }

    /// [`Tables::known`] as far as it is not known yet.
    #[inline(always)]
    fn learn(&self, decoded: &Decoded, want_flow: bool) -> (u64, Steered) {
        let flow = if want_flow { fingerprint_frame(decoded) } else { 0 };
        let steered = Steered(steer_frame(decoded, flow));
        let flow = if flow == 0 && steered.takes_a_ring() { fingerprint_frame(decoded) } else { flow };
        (flow, steered)
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn control(&self) -> &Control {
        self.control
    }
    #[inline(always)]
    fn steer(&self, decoded: &Decoded, flow: u64) -> Steered {
        Steered(steer_frame(decoded, flow))
    }
    #[inline(always)]
    fn fingerprint(&self, decoded: &Decoded) -> u64 {
        fingerprint_frame(decoded) ^ self.salt
    }
    #[inline(always)]
    fn known(&self, decoded: &Decoded, want_flow: bool) -> (u64, Steered) {
        if !self.remembers {
            return self.learn(decoded, want_flow);
        }
        let Some(set) = RULES.get(self.control.rule_bank()) else { return (0, Steered::NOTHING) };
        let key = Key::of(decoded, set.asked);
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let Some(place) = KNOWN.get_ptr_mut(cpu * KNOWN_SLOTS as u32 + key.slot() as u32) else {
            // A CPU whose number is beyond the count of CPUs, where numbers have gaps: it has no slots and remembers nothing.
            return self.learn(decoded, want_flow);
        };
        // SAFETY: this CPU's own slot, which no other program touches while this one runs.
        let known = unsafe { &mut *place };
        if known.answers(&key, set) && (known.flow != 0 || !want_flow) {
            return (known.flow, Steered(known.steered));
        }
        let (flow, steered) = self.learn(decoded, want_flow);
        // Frames without IP are told apart by more than the key: their slot stays empty.
        let generation = if decoded.outer.version == 0 { 0 } else { set.generation };
        *known = Known { key, flow, steered: steered.0, generation };
        (flow, steered)
    }
    #[inline(always)]
    fn agents(&self, bank: u32) -> Option<&AgentTable> {
        AGENTS.get(bank)
    }
    #[inline(always)]
    fn verdict(&self, slot: usize) -> FlowVerdict {
        let Some(place) = FLOWS.get_ptr(slot as u32) else { return FlowVerdict { flow: 0, verdict: 0 } };
        // SAFETY: a map value of 16 aligned bytes, kept alive by the kernel; a worker may write meanwhile, and each
        // read is one load. Worst case: the verdict of a moment ago.
        let flow = unsafe { core::ptr::read_volatile(&raw const (*place).flow) };
        // SAFETY: as above.
        let verdict = unsafe { core::ptr::read_volatile(&raw const (*place).verdict) };
        // The fingerprint once more: a writer empties the slot before it changes the verdict, so the same fingerprint on
        // both sides means that the verdict between them is that flow's.
        // SAFETY: as above.
        let again = unsafe { core::ptr::read_volatile(&raw const (*place).flow) };
        FlowVerdict { flow: if again == flow { flow } else { 0 }, verdict }
    }
    #[inline(always)]
    fn seconds(&self) -> u32 {
        // SAFETY: a helper without arguments.
        let now = unsafe { aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns() };
        (now / 1_000_000_000) as u32
    }
    #[inline(always)]
    fn service_index(&self, bank: u32) -> Option<&ServiceIndex> {
        SERVICE_INDEX.get(bank)
    }
    #[inline(always)]
    fn service(&self, bank: u32, number: u8) -> Option<&ServiceTable> {
        SERVICES.get(table_entry(bank, number))
    }
    #[inline(always)]
    fn connection(&self, flow: u64) -> Option<Connection> {
        let place = CONNECTIONS.get_ptr(flow)?;
        // SAFETY: a map value of eight aligned bytes, which is kept for as long as this program runs. The entry may be another
        // connection's by now: worst case is an agent that this service may have too, for one frame.
        Some(unsafe { core::ptr::read_volatile(place) })
    }
}
