//! The classifier in the kernel: load, attach, fill the maps, read the counters.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{DevMap, MapData, MapError, PerCpuArray, XskMap};
use aya::{Ebpf, EbpfLoader};
use weir_ebpf_abi::agents::{Agent, AgentTable};
use weir_ebpf_abi::control::{AGENT_BANK, Control, HAS_AGENTS, REMEMBERS, RULE_BANK, STAMPS};
use weir_ebpf_abi::counters::{Counters, RuleCount};
use weir_ebpf_abi::flow::{FLOW_HEADER_SLOT, FLOW_MAP_BYTES, FlowVerdict, slot};
use weir_ebpf_abi::known::KNOWN_SLOTS;
use weir_ebpf_abi::layout::{self, MAX_EGRESS, MAX_QUEUES, MAX_RULES, program, socket_slot};
use weir_ebpf_abi::rules::Rule;
use weir_ebpf_abi::ruleset::RuleSet;
use weir_ebpf_abi::watched::Watched;

use crate::attach::{self, AttachWish, Attached, Held, chain};
use crate::compile;
use crate::error::LoadError;
use crate::flags::FlagTable;
use crate::grace;
use crate::object::OBJECT;
use crate::pins;
use crate::services::{Placement, Service};
use crate::tables::RULE_STATE;
use crate::values::{bad_map, map_data, map_mut, per_cpu, read, refused, tally, write};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Folder on a BPF file system for maps and links, so that they outlive the process; `None` to keep nothing.
    pub pin_root: Option<PathBuf>,
}

/// The loaded classifier. Dropped without a pin root, it detaches and its maps go; with one, the kernel goes on
/// classifying until [`Classifier::unpin`] or [`remove_pins`](crate::remove_pins).
#[derive(Debug)]
pub struct Classifier {
    /// Behind a lock, so that sockets can be bound and frames explained through a shared reference.
    pub(crate) ebpf: Mutex<Ebpf>,
    pin_root: Option<PathBuf>,
    pub(crate) control: Control,
    pub(crate) placement: Placement,
    held: HashMap<String, Held>,
    flows: OwnedFd,
    /// Entries of the rule counters that may not be 0.
    counted_rules: usize,
    /// The rules that these counters are of, once they are known.
    rules: Option<Vec<Rule>>,
    /// What the agents' tables were last made of, unless that failed: the same again writes nothing.
    forwards: Option<Forwards>,
    /// The same of services.
    pub(crate) services: Option<Vec<Service>>,
}

/// Agents with their interfaces, interfaces by slot, and mirror classes by slot.
type Forwards = (Vec<Agent>, [u32; MAX_EGRESS], Vec<u8>);

impl Classifier {
    /// Loads the embedded object. With a pin root, maps pinned there by the same layout version are taken over with
    /// all they hold: rules, agents, sockets, verdicts and counters stay in force.
    ///
    /// # Errors
    /// [`LoadError::Load`] when the kernel refuses, [`LoadError::Pin`] when the folder cannot be made.
    pub fn load(options: LoadOptions) -> Result<Classifier, LoadError> {
        let mut loader = EbpfLoader::new();
        let folder = options.pin_root.as_deref().map(pins::maps);
        if let (Some(root), Some(folder)) = (&options.pin_root, &folder) {
            pins::make(root)?;
            for name in pins::PINNED {
                loader.map_pin_path(name, folder.join(name));
            }
        }
        let cpus = cpus(layout::MAP_KNOWN)?;
        // Not pinned: what is known belongs to one program, and the next one learns it again.
        loader.map_max_entries(layout::MAP_KNOWN, (cpus * KNOWN_SLOTS) as u32);
        // The generator's and the sinks' maps stay, they are small.
        let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Load { cause: chain(&error) })?;
        for name in [program::CLASSIFY, program::EXPLAIN] {
            load_program(&mut ebpf, name)?;
        }
        let mut control: Control = read(&ebpf, layout::MAP_CONTROL, 0)?;
        if control.flow_key == [0; 2] {
            control.flow_key = random_key();
            control.state |= REMEMBERS;
            write(&mut ebpf, layout::MAP_CONTROL, 0, &control)?;
        }
        let flows = map_data(&ebpf, layout::MAP_FLOWS)?.fd().as_fd().try_clone_to_owned();
        let flows = flows.map_err(|error| bad_map(layout::MAP_FLOWS, &error))?;
        let ebpf = Mutex::new(ebpf);
        let held = HashMap::new();
        let placement = Placement::default();
        let pin_root = options.pin_root;
        let (counted_rules, rules) = (MAX_RULES, None);
        let (forwards, services) = (None, None);
        let mut classifier =
            Classifier { ebpf, pin_root, control, placement, held, flows, counted_rules, rules, forwards, services };
        classifier.recover_placement()?;
        Ok(classifier)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ebpf> {
        self.ebpf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches to `interface`; over a classifier pinned there the replacement is atomic. Its queues are counted
    /// from 0 in [`Classifier::set_socket`]: right for the only interface, or the first.
    ///
    /// # Errors
    /// [`LoadError::NoInterface`], or [`LoadError::Attach`] with what each mode said.
    pub fn attach(&mut self, interface: &str, wish: AttachWish) -> Result<Attached, LoadError> {
        self.attach_at(interface, wish, 0)
    }

    /// Attaches to `interface`, whose queue 0 is `first_queue` in [`Classifier::set_socket`]: several interfaces
    /// share the 64 queues of the socket map.
    ///
    /// # Errors
    /// As [`Classifier::attach`]; [`LoadError::Value`] when another interface whose index ends in the same byte has
    /// another first queue.
    pub fn attach_at(&mut self, interface: &str, wish: AttachWish, first_queue: u32) -> Result<Attached, LoadError> {
        let index = attach::index_of(interface)?;
        if first_queue as usize >= MAX_QUEUES {
            let cause = "the socket map holds 64 queues; use fewer queues or interfaces";
            return Err(LoadError::Value { what: "first queue", value: first_queue.to_string(), cause });
        }
        let base = &mut self.control.queue_base.0[index as usize & 255];
        if *base != 0 && u32::from(*base) != first_queue && !self.held.is_empty() {
            let cause = "an interface whose index ends in the same byte has another; create the interface anew";
            return Err(LoadError::Value { what: "first queue", value: first_queue.to_string(), cause });
        }
        *base = first_queue as u8;
        self.write_control()?;
        let mut ebpf = self.lock();
        let classify = attach::program(&mut ebpf, program::CLASSIFY)?;
        let (held, attached) = attach::attach(classify, self.pin_root.as_deref(), interface, index, wish)?;
        drop(ebpf);
        self.held.insert(interface.to_owned(), held);
        tracing::info!(interface, mode = attached.mode.name(), why = attached.why, "classifier attached");
        Ok(attached)
    }

    /// Detaches from `interface`; its frames go to the stack again. Nothing happens where it was not attached.
    ///
    /// # Errors
    /// [`LoadError::Pin`] when a pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), LoadError> {
        if let Some(root) = &self.pin_root {
            attach::detach(root, interface)?;
        }
        self.held.remove(interface);
        Ok(())
    }

    /// Removes all pins: what is attached stays only as long as this value.
    ///
    /// # Errors
    /// [`LoadError::Pin`] names what could not be removed.
    pub fn unpin(&mut self) -> Result<(), LoadError> {
        match self.pin_root.take() {
            Some(root) => pins::remove_pins(&root).map(drop),
            None => Ok(()),
        }
    }

    /// Lets frames of `class` on `queue` go to `socket`. The kernel keeps its own reference.
    ///
    /// # Errors
    /// [`LoadError::Value`] outside the map, [`LoadError::Map`] when the kernel refuses.
    pub fn set_socket(&self, queue: u32, class: u8, socket: BorrowedFd<'_>) -> Result<(), LoadError> {
        let entry = socket_entry(queue, class)?;
        let mut ebpf = self.lock();
        let mut sockets = sockets(&mut ebpf)?;
        sockets.set(entry, socket.as_raw_fd(), 0).map_err(|error| refused(layout::MAP_SOCKETS, entry, &error))
    }

    /// Takes the socket of `class` on `queue` away: its frames pass to the stack with the reason `no-taker`.
    ///
    /// # Errors
    /// As [`Classifier::set_socket`]; an empty entry is no error.
    pub fn clear_socket(&self, queue: u32, class: u8) -> Result<(), LoadError> {
        let entry = socket_entry(queue, class)?;
        let mut ebpf = self.lock();
        match sockets(&mut ebpf)?.unset(entry) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(refused(layout::MAP_SOCKETS, entry, &error)),
        }
    }

    /// Returns when no frame is on its way any more that was classified before the call: those that go to rings are there.
    pub fn settle(&self) {
        grace::wait();
    }

    /// Puts `rules` in force, in order of priority, and `flags`. The change is one flip between two banks; no frame sees
    /// a mixture. Where the rules are other ones than before their counters start from 0 again. What the former rules
    /// counted is returned, in their order.
    ///
    /// # Errors
    /// As [`compile::rules`], and [`LoadError::Map`] when the kernel refuses; what was in force stays.
    pub fn install_rules(&mut self, rules: &[Rule], flags: &[FlagTable]) -> Result<Vec<RuleCount>, LoadError> {
        let (mut set, state) = compile::rules(rules, flags)?;
        let idle = 1 - self.control.rule_bank();
        self.control.generation = self.control.generation.wrapping_add(1).max(1);
        set.generation = self.control.generation;
        write::<RuleSet>(&mut self.lock(), layout::MAP_RULES, idle, &set)?;
        self.control.state = (self.control.state & !(RULE_STATE | RULE_BANK)) | state | (idle as u8 * RULE_BANK);
        self.write_control()?;
        // From here on nobody counts for the former rules or reads their bank, so that it may be written again.
        grace::wait();
        let counted = self.read_rule_counters(self.counted_rules)?;
        if self.rules.as_deref() != Some(rules) {
            self.rules = None;
            self.clear_rule_counters(&counted)?;
            self.counted_rules = rules.len();
            self.rules = Some(rules.to_vec());
        }
        Ok(counted)
    }

    /// Puts `agents` in force: messages to them are forwarded inside the kernel. `egress` names the interfaces by
    /// slot; an agent's `ifindex` is taken from there, and an agent whose slot is not there cannot be reached.
    /// `mirror` has, per slot, what is added to a mirror rule's class to get the class whose sender has the slot's
    /// interface; it may be short or empty.
    ///
    /// # Errors
    /// [`LoadError::TooMany`] over 4,096 agents, [`LoadError::Value`] for a slot of 64 or more, [`LoadError::Map`]
    /// when the kernel refuses, as it does for an interface that does not exist.
    pub fn install_agents(&mut self, agents: &[Agent], egress: &[(u8, u32)], mirror: &[u8]) -> Result<(), LoadError> {
        let mut slots = [0u32; MAX_EGRESS];
        for &(slot, ifindex) in egress {
            let cause = "egress slots are 0 to 63";
            let value = slot.to_string();
            *slots.get_mut(usize::from(slot)).ok_or(LoadError::Value { what: "egress slot", value, cause })? = ifindex;
        }
        let reach = |agent: &Agent| slots.get(usize::from(agent.egress)).copied().unwrap_or(0);
        let agents: Vec<Agent> = agents.iter().map(|agent| Agent { ifindex: reach(agent), ..*agent }).collect();
        let wanted = (agents, slots, mirror.to_vec());
        if self.forwards.as_ref() == Some(&wanted) {
            // Nothing to write, and no grace period in which what comes next would wait.
            return Ok(());
        }
        // Forgotten before the first write: after one that fails half-way the former agents are written again.
        self.forwards = None;
        // New interfaces first and old ones last: an agent in force always finds its slot filled.
        self.write_egress(&slots, true)?;
        compile::mirror_classes(mirror, &mut self.control.mirror_class);
        self.write_agents(&wanted.0)?;
        self.write_egress(&slots, false)?;
        self.forwards = Some(wanted);
        Ok(())
    }

    /// Flips to a table of `agents`.
    pub(crate) fn write_agents(&mut self, agents: &[Agent]) -> Result<(), LoadError> {
        self.forwards = None;
        let table = compile::agents(agents)?;
        let idle = 1 - self.control.agent_bank();
        write::<AgentTable>(&mut self.lock(), layout::MAP_AGENTS, idle, &table)?;
        let has = if agents.is_empty() { 0 } else { HAS_AGENTS };
        self.control.state = (self.control.state & !(HAS_AGENTS | AGENT_BANK)) | has | (idle as u8 * AGENT_BANK);
        self.write_control()?;
        grace::wait();
        Ok(())
    }

    /// Whether delivered frames carry the time of their arrival; off at first, since reading the clock costs.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn stamp_frames(&mut self, on: bool) -> Result<(), LoadError> {
        self.control.state = if on { self.control.state | STAMPS } else { self.control.state & !STAMPS };
        self.write_control()
    }

    /// Whether what rules said of a flow is remembered for its next frame; on at first, and off to measure what the first
    /// frame of a flow costs.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn remember_flows(&mut self, on: bool) -> Result<(), LoadError> {
        self.control.state = if on { self.control.state | REMEMBERS } else { self.control.state & !REMEMBERS };
        self.write_control()
    }

    /// Watches what forwarded frames cost and how late they are, in this era, or no longer; off at first, since reading the
    /// clock costs.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn watch_forwarded(&mut self, era: Option<std::num::NonZeroU8>) -> Result<(), LoadError> {
        self.control.watch = era.map_or(0, std::num::NonZeroU8::get);
        self.write_control()
    }

    /// What was counted of forwarded frames while they were watched, since this classifier was loaded, over all CPUs.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn watched(&self) -> Result<Watched, LoadError> {
        let mut sum = Watched::default();
        for part in per_cpu::<Watched>(&self.lock(), layout::MAP_WATCHED, 0)? {
            sum.add(&part);
        }
        Ok(sum)
    }

    /// The sum of all CPUs' counters.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let ebpf = self.lock();
        let mut sum = Counters::default();
        for part in per_cpu::<Counters>(&ebpf, layout::MAP_COUNTERS, 0)? {
            sum.add(&part);
        }
        Ok(sum)
    }

    /// What each rule in force has matched, in their order.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn rule_counters(&self) -> Result<Vec<RuleCount>, LoadError> {
        self.read_rule_counters(self.counted_rules)
    }

    /// The map of flow verdicts, for a worker to map: [`Classifier::flow_map_len`] bytes from offset 0, shared and
    /// writable. Slots are [`FlowVerdict`]s, the last one ([`FLOW_HEADER_SLOT`]) says whether any is in force.
    pub fn flow_map_fd(&self) -> BorrowedFd<'_> {
        self.flows.as_fd()
    }

    /// Bytes of the flow map's mapping.
    pub const fn flow_map_len() -> usize {
        FLOW_MAP_BYTES
    }

    /// The verdict in force on a flow, expired or not.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn flow_verdict(&self, flow: u64) -> Result<Option<FlowVerdict>, LoadError> {
        let entry: FlowVerdict = read(&self.lock(), layout::MAP_FLOWS, slot(flow) as u32)?;
        Ok((entry.flow == flow && entry.action().is_some()).then_some(entry))
    }

    /// Stores a verdict as a worker does, from outside its mapping.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn set_flow_verdict(&self, verdict: FlowVerdict) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        write(&mut ebpf, layout::MAP_FLOWS, slot(verdict.flow) as u32, &verdict)?;
        let header = FlowVerdict { flow: 1, verdict: 0 };
        write(&mut ebpf, layout::MAP_FLOWS, FLOW_HEADER_SLOT as u32, &header)
    }

    /// Key of the flow fingerprint, for the host's copy of the decision.
    pub const fn flow_key(&self) -> [u64; 2] {
        self.control.flow_key
    }

    pub(crate) fn write_control(&mut self) -> Result<(), LoadError> {
        let control = self.control;
        write(&mut self.lock(), layout::MAP_CONTROL, 0, &control)
    }

    /// Fills slots, or empties those that are not wanted.
    fn write_egress(&self, slots: &[u32; MAX_EGRESS], fill: bool) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let mut egress = DevMap::try_from(map_mut(&mut ebpf, layout::MAP_EGRESS)?)
            .map_err(|error| bad_map(layout::MAP_EGRESS, &error))?;
        for (entry, &ifindex) in (0..).zip(slots).filter(|(_, ifindex)| (**ifindex != 0) == fill) {
            egress.set(entry, ifindex, None, 0).map_err(|error| refused(layout::MAP_EGRESS, entry, &error))?;
        }
        Ok(())
    }

    fn read_rule_counters(&self, rules: usize) -> Result<Vec<RuleCount>, LoadError> {
        let ebpf = self.lock();
        (0..rules as u32).map(|rule| tally(&ebpf, layout::MAP_RULE_COUNTS, rule)).collect()
    }

    fn clear_rule_counters(&self, counted: &[RuleCount]) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let map = map_mut(&mut ebpf, layout::MAP_RULE_COUNTS)?;
        let mut counts: PerCpuArray<_, [u8; size_of::<RuleCount>()]> =
            PerCpuArray::try_from(map).map_err(|error| bad_map(layout::MAP_RULE_COUNTS, &error))?;
        let cpus = cpus(layout::MAP_RULE_COUNTS)?;
        for (rule, _) in (0..).zip(counted).filter(|(_, count)| count.frames != 0) {
            let zeros = aya::maps::PerCpuValues::try_from(vec![[0; size_of::<RuleCount>()]; cpus])
                .map_err(|error| refused(layout::MAP_RULE_COUNTS, rule, &error))?;
            counts.set(rule, zeros, 0).map_err(|error| refused(layout::MAP_RULE_COUNTS, rule, &error))?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the number of CPUs is not known: {0}: {1}")]
struct CpuCount(&'static str, std::io::Error);

/// CPUs that a per-CPU `map` has values for.
pub(crate) fn cpus(map: &'static str) -> Result<usize, LoadError> {
    aya::util::nr_cpus().map_err(|(what, error)| refused(map, 0, &CpuCount(what, error)))
}

fn socket_entry(queue: u32, class: u8) -> Result<u32, LoadError> {
    let value = format!("queue {queue}, class {class}");
    let cause = "queues and classes are 0 to 63";
    socket_slot(queue, class).ok_or(LoadError::Value { what: "socket of", value, cause })
}

fn sockets(ebpf: &mut Ebpf) -> Result<XskMap<&mut MapData>, LoadError> {
    XskMap::try_from(map_mut(ebpf, layout::MAP_SOCKETS)?).map_err(|error| bad_map(layout::MAP_SOCKETS, &error))
}

pub(crate) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), LoadError> {
    attach::program(ebpf, name)?.load().map_err(|error| LoadError::Load { cause: chain(&error) })
}

fn random_key() -> [u64; 2] {
    let mut key = [0u8; 16];
    // Without randomness (a kernel that has just booted) the clock is better than nothing: the key hides buckets
    // from senders, no secret hangs on it.
    if rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()) != Ok(key.len()) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        key[..8].copy_from_slice(&now.tv_nsec.to_le_bytes());
        key[8..].copy_from_slice(&now.tv_sec.to_le_bytes());
    }
    let (low, high) = key.split_at(8);
    [low, high].map(|half| u64::from_le_bytes(std::array::from_fn(|index| half[index])))
}
