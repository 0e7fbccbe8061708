//! The plan in force: workers are put into their groups, held to what they have, and lend each other idle cores.
//!
//! The plan is made before anything is attached, so that asks which cannot be met stop a start with nothing half done, and a
//! change with nothing changed. What the kernel has no group for falls back to affinity, limits of processes and scheduling
//! policy, and [`Shares::report`] says so line by line.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use weir_appliance_control::config::{Config, FeatureSpec, MemoryLimit, WaitMode};
use weir_appliance_control::message::{
    ControllerStatus, Enforcer, FeatureShare, LeaseEvent, LeaseStatus, ResourceLine, ResourcesReport,
};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::FeatureName;
use weir_appliance_shares::lease::{Event, Lease, Leases, Load, Member, Owner};
use weir_appliance_shares::plan::bytes;
use weir_appliance_shares::{Class, Grant, Plan};
use weir_dataplane_io::cgroup::{Controller, Groups, Limits, Version};
use weir_dataplane_io::cpu::{self, CorePlan};
use weir_dataplane_io::memory;

use super::{Dataplane, lock};
use crate::place::Place;
use crate::resources::{self, Found};
use crate::{groups, host};

/// Time between two looks at who is idle and who is in need.
const PERIOD: Duration = Duration::from_secs(1);
/// Time that the last processes of groups have to be gone at the end.
const REMOVED_WITHIN: Duration = Duration::from_secs(1);
/// Loans and returns that are kept to be shown.
const TRACE: usize = 64;
/// Turn of a critical worker: shorter than any other ordinary thread's, so that one that wakes need not wait for the end of theirs.
const CRITICAL_TURN: Duration = Duration::from_micros(500);

/// What features have.
pub(super) struct Shares {
    found: Found,
    memory_limit: MemoryLimit,
    file: std::path::PathBuf,
    groups: Mutex<Groups>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    borrows: BTreeMap<String, bool>,
    leases: Leases,
    trace: VecDeque<LeaseEvent>,
    workers: BTreeMap<String, Worker>,
    last: Option<Instant>,
}

/// The process of a feature.
struct Worker {
    pid: u32,
    /// CPU time it had used at the last look, in nanoseconds.
    used_ns: Option<u64>,
    /// The limit of its process, if it was given one.
    memory: Option<u64>,
    /// Its scheduling policy is the one for idle work.
    idle: bool,
    /// It has short turns, so that it gets its core soon when it wakes.
    short_turns: bool,
    /// What the kernel refused, by what it was.
    refused: BTreeMap<&'static str, String>,
}

impl Shares {
    /// Makes the plan, and the groups for it.
    ///
    /// # Errors
    /// The configuration asks for more than there is; nothing was made.
    pub(super) fn make(config: &Config, cores: &CorePlan, place: &Place) -> Result<Self, Problem> {
        let found = resources::machine(cores);
        let plan = resources::plan_of(config, &found.machine)?;
        let memory_limit = config.resources().memory_limit;
        let mut wanted = vec![Controller::Cpu, Controller::Cpuset];
        if memory_limit == MemoryLimit::Cgroup {
            wanted.push(Controller::Memory);
        }
        let ours = [std::process::id(), std::os::unix::process::parent_id()];
        let made = Groups::open(Path::new("/"), &place.instance(), &wanted, &ours);
        groups::note(&place.groups, &made);
        let state = State { plan, borrows: borrows(config), ..State::default() };
        let file = place.groups.clone();
        Ok(Self { found, memory_limit, file, groups: Mutex::new(made), state: Mutex::new(state) })
    }

    /// Whether a configuration could be in force.
    ///
    /// # Errors
    /// It asks for more than there is.
    pub(super) fn judge(&self, config: &Config) -> Result<(), Problem> {
        resources::plan_of(config, &self.found.machine).map(drop)
    }

    /// Puts the plan of a configuration in force: running workers are held to it at once.
    ///
    /// # Errors
    /// It asks for more than there is.
    pub(super) fn put(&self, config: &Config) -> Result<(), Problem> {
        let plan = resources::plan_of(config, &self.found.machine)?;
        let mut state = lock(&self.state);
        let borrows = borrows(config);
        if state.plan == plan && state.borrows == borrows {
            return Ok(());
        }
        (state.plan, state.borrows) = (plan, borrows);
        let names: Vec<String> = state.workers.keys().cloned().collect();
        for name in names {
            self.hold(&mut state, &name);
            self.spread(&mut state, &name);
        }
        Ok(())
    }

    /// The core that a feature's worker pins itself to.
    pub(super) fn core_of(&self, name: &str) -> Option<u32> {
        lock(&self.state).plan.of(name)?.cpus().first().copied()
    }

    /// Holds a new worker to what its feature has, before it is lent anything.
    pub(super) fn admit(&self, name: &str, pid: u32) {
        let mut state = lock(&self.state);
        state.workers.insert(
            name.to_owned(),
            Worker { pid, used_ns: None, memory: None, idle: false, short_turns: false, refused: BTreeMap::new() },
        );
        self.hold(&mut state, name);
    }

    /// A worker is gone.
    pub(super) fn leave(&self, name: &str, pid: u32) {
        let mut state = lock(&self.state);
        if state.workers.get(name).is_some_and(|worker| worker.pid == pid) {
            state.workers.remove(name);
        }
    }

    /// Takes the groups away. The workers have ended by now.
    pub(super) fn end(&self) {
        if lock(&self.groups).remove(REMOVED_WITHIN) {
            let _ = std::fs::remove_file(&self.file);
        } else {
            tracing::warn!("control groups are left behind: a worker has not ended; `weir down` removes them");
        }
    }

    /// Group, memory and class of one worker.
    fn hold(&self, state: &mut State, name: &str) {
        let Some(grant) = state.plan.of(name).cloned() else { return };
        let limits = self.limits(state, name, &grant);
        let Some(worker) = state.workers.get_mut(name) else { return };
        worker.refused.clear();
        let mut groups = lock(&self.groups);
        let mut refused = groups.set(name, &limits);
        refused.extend(groups.put(name, worker.pid));
        for (controller, why) in refused {
            tracing::warn!("worker {name} is not held by the {controller} controller: {why}");
            groups.give_up(controller, why);
        }
        let in_group = groups.version(Controller::Cpu).is_some();
        let idle = grant.class == Class::Batch && !in_group;
        // Whoever started weir with another policy meant it: only what was changed here is changed back.
        let other_policy = idle != std::mem::replace(&mut worker.idle, idle);
        let mut attempt = |what: &'static str, outcome: weir_dataplane_io::error::Result<()>| {
            if let Err(error) = outcome {
                tracing::warn!("worker {name}: {error}");
                worker.refused.insert(what, error.to_string());
            }
        };
        if other_policy {
            attempt("class", cpu::idle_process(worker.pid, idle));
        }
        let short = grant.class == Class::Critical;
        if short != std::mem::replace(&mut worker.short_turns, short) {
            let turn = if short { CRITICAL_TURN } else { Duration::ZERO };
            attempt("class", cpu::turns_of_process(worker.pid, turn));
        }
        if self.by_rlimit(&groups) && worker.memory != Some(grant.memory) {
            match (memory::limit_data(worker.pid, grant.memory), worker.memory) {
                (Ok(()), _) => worker.memory = Some(grant.memory),
                // A process of another user's takes CAP_SYS_RESOURCE, and a worker is one once it has closed its sandbox.
                (Err(error), Some(before)) => {
                    let before = bytes(before);
                    tracing::warn!("worker {name} keeps its limit of {before} until it starts again: {error}");
                }
                (outcome, None) => attempt("memory", outcome),
            }
        }
    }

    fn by_rlimit(&self, groups: &Groups) -> bool {
        match self.memory_limit {
            MemoryLimit::Off => false,
            MemoryLimit::Rlimit => true,
            MemoryLimit::Cgroup => groups.version(Controller::Memory).is_none(),
        }
    }

    fn limits(&self, state: &State, name: &str, grant: &Grant) -> Limits {
        let member = member(grant, true, None);
        Limits {
            cpus: sorted(state.leases.cpus_of(name, &member)),
            weight: grant.cpu_weight,
            idle: grant.class == Class::Batch,
            memory: (self.memory_limit == MemoryLimit::Cgroup).then_some(grant.memory),
        }
    }

    /// Places a worker on its own core and on what is lent to it.
    fn spread(&self, state: &mut State, name: &str) {
        let Some(grant) = state.plan.of(name).cloned() else { return };
        let mut cpus: Vec<u32> = grant.cpus().first().copied().into_iter().collect();
        cpus.extend(state.leases.all().filter(|lease| lease.to == name).map(|lease| lease.cpu));
        let cpus = sorted(cpus);
        let limits = self.limits(state, name, &grant);
        let Some(worker) = state.workers.get_mut(name) else { return };
        for (controller, why) in lock(&self.groups).set(name, &limits) {
            worker.refused.insert("cores", format!("{controller}: {why}"));
        }
        if let Err(error) = cpu::pin_process(worker.pid, &cpus) {
            worker.refused.insert("cores", error.to_string());
        }
    }

    /// One look at who is idle and who is in need, if a period is over. Called by the main thread, several times a second.
    pub(super) fn tick(&self, dataplane: &Dataplane) {
        // The configuration first: a change holds it while it puts a plan in force.
        let spins: Vec<String> = {
            let config = lock(&dataplane.config);
            let spins = |(_, spec): &(&FeatureName, &FeatureSpec)| spec.wait == WaitMode::Spin;
            config.features().iter().filter(spins).map(|(name, _)| name.as_str().to_owned()).collect()
        };
        let mut state = lock(&self.state);
        let now = Instant::now();
        let passed = state.last.map(|last| now.duration_since(last));
        if passed.is_some_and(|passed| passed < PERIOD) {
            return;
        }
        state.last = Some(now);
        let members = members(&mut state, dataplane, &spins, passed);
        let free = state.plan.free.clone();
        let events = state.leases.step(&members, &free);
        let mut touched: Vec<String> = Vec::new();
        for event in events {
            let (lease, back) = match event {
                Event::Lent(lease) => (lease, None),
                Event::Back(lease, because) => (lease, Some(because.as_str().to_owned())),
            };
            if !touched.contains(&lease.to) {
                touched.push(lease.to.clone());
            }
            let period = state.leases.period();
            state.trace.push_back(LeaseEvent { period, lease: shown(&lease), back });
        }
        let beyond = state.trace.len().saturating_sub(TRACE);
        state.trace.drain(..beyond);
        for name in touched {
            self.spread(&mut state, &name);
        }
    }

    /// What everybody has, and what stands behind it.
    pub(super) fn report(&self) -> ResourcesReport {
        let state = lock(&self.state);
        let groups = lock(&self.groups);
        let feature = |grant: &Grant| {
            let borrows = state.borrows.get(&grant.feature).copied().unwrap_or(false);
            let worker = state.workers.get(&grant.feature);
            let lent = state.leases.all().filter(|lease| lease.to == grant.feature).map(|lease| lease.cpu);
            FeatureShare {
                pid: worker.map(|worker| worker.pid),
                borrowed: lent.collect(),
                lines: self.lines(grant, worker, &groups),
                ..resources::share(grant, borrows)
            }
        };
        ResourcesReport {
            isolation: isolation(&state.plan, &groups),
            machine: resources::shown(&self.found),
            controllers: Controller::ALL.iter().map(|controller| self.controller(*controller, &groups)).collect(),
            features: state.plan.grants.iter().map(feature).collect(),
            free: state.plan.free.clone(),
            period: state.leases.period(),
            leases: state.leases.all().map(shown).collect(),
            trace: state.trace.iter().cloned().collect(),
        }
    }

    fn controller(&self, controller: Controller, groups: &Groups) -> ControllerStatus {
        let name = controller.name().to_owned();
        match groups.place(controller) {
            Some(Ok(place)) => ControllerStatus {
                controller: name,
                by: group(place.version),
                group: Some(place.folder.display().to_string()),
                why: String::new(),
            },
            Some(Err(why)) => ControllerStatus { controller: name, why: why.clone(), ..ControllerStatus::default() },
            None => {
                let why = format!("not asked for (resources: memory_limit is {})", self.memory_limit);
                ControllerStatus { controller: name, why, ..ControllerStatus::default() }
            }
        }
    }

    fn lines(&self, grant: &Grant, worker: Option<&Worker>, groups: &Groups) -> Vec<ResourceLine> {
        let missing = |controller| match groups.place(controller) {
            Some(Err(why)) => why.clone(),
            _ => String::new(),
        };
        let line = |what: &'static str, value: String, by: Enforcer, why: String| match worker {
            None => ResourceLine { what: what.into(), value, by: Enforcer::Nothing, why: "it does not run".into() },
            Some(worker) => match worker.refused.get(what) {
                Some(refused) => ResourceLine { what: what.into(), value, by: Enforcer::Nothing, why: refused.clone() },
                None => ResourceLine { what: what.into(), value, by, why },
            },
        };
        let by = |controller, otherwise| groups.version(controller).map_or(otherwise, group);
        let cpus = format!("CPU {}", cpu::format_list(&sorted(grant.cpus())));
        let class = match grant.class {
            Class::Critical => (Enforcer::Nothing, "an ordinary process with short turns; no group weighs it"),
            Class::Batch => (Enforcer::IdlePolicy, "no group of cpu"),
        };
        let by_class = by(Controller::Cpu, class.0);
        let class_why = if groups.version(Controller::Cpu).is_some() { "" } else { class.1 };
        let (by_memory, memory_why) = match self.memory_limit {
            MemoryLimit::Off => (Enforcer::Nothing, "resources: memory_limit is off".to_owned()),
            _ if self.by_rlimit(groups) => {
                let why = match worker.and_then(|worker| worker.memory).filter(|limit| *limit != grant.memory) {
                    Some(limit) => format!("{} until it starts again", bytes(limit)),
                    None => missing(Controller::Memory),
                };
                (Enforcer::Rlimit, why)
            }
            _ => (by(Controller::Memory, Enforcer::Nothing), String::new()),
        };
        let mut lines = vec![
            line("cores", cpus, by(Controller::Cpuset, Enforcer::Affinity), missing(Controller::Cpuset)),
            line("memory", bytes(grant.memory), by_memory, memory_why),
            line(
                "weight",
                grant.cpu_weight.to_string(),
                by(Controller::Cpu, Enforcer::Nothing),
                missing(Controller::Cpu),
            ),
            line("class", grant.class.to_string(), by_class, class_why.to_owned()),
        ];
        for device in &grant.accelerators {
            let value = format!("{} {}%", device.name, device.share / 100);
            lines.push(line("accelerator", value, Enforcer::Nothing, "no feature of this build uses one".to_owned()));
        }
        lines
    }
}

/// Never "isolated": nothing here controls the caches and the memory bandwidth that features share.
fn isolation(plan: &Plan, groups: &Groups) -> String {
    let cores = match (groups.version(Controller::Cpuset), plan.grants.iter().any(|grant| grant.shared)) {
        (_, true) => "some features share cores",
        (Some(_), false) => "each feature has cores of its own, held by a group",
        (None, false) => "each feature has cores of its own, held by affinity only",
    };
    format!("not isolated: {cores}; caches and memory bandwidth are shared by all")
}

fn group(version: Version) -> Enforcer {
    match version {
        Version::One => Enforcer::CgroupV1,
        Version::Two => Enforcer::CgroupV2,
    }
}

fn sorted(mut cpus: Vec<u32>) -> Vec<u32> {
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

fn borrows(config: &Config) -> BTreeMap<String, bool> {
    let spec = config.resources();
    config.enabled().map(|name| (name.as_str().to_owned(), spec.borrows(name))).collect()
}

fn member(grant: &Grant, borrow: bool, load: Option<Load>) -> Member {
    Member { cpus: grant.cpus(), shared: grant.shared, borrow, load }
}

fn shown(lease: &Lease) -> LeaseStatus {
    let from = match &lease.from {
        Owner::Nobody => None,
        Owner::Feature(name) => Some(name.clone()),
    };
    LeaseStatus { cpu: lease.cpu, from, to: lease.to.clone(), since: lease.since }
}

/// Every feature, with what it did since the last look.
fn members(
    state: &mut State,
    dataplane: &Dataplane,
    spins: &[String],
    passed: Option<Duration>,
) -> BTreeMap<String, Member> {
    let mut members = BTreeMap::new();
    for grant in &state.plan.grants {
        let name = &grant.feature;
        let load = state.workers.get_mut(name).and_then(|worker| {
            let used = host::process_cpu_ns(worker.pid)?;
            let before = worker.used_ns.replace(used);
            let (before, passed) = (before?, passed?.as_nanos().max(1));
            let used = u128::from(used.saturating_sub(before)) * 1000 / passed;
            let (used, waiting) = (used.min(1 << 20) as u32, dataplane.waiting_of(name));
            Some(Load { used, waiting, spins: spins.contains(name) })
        });
        let borrow = state.borrows.get(name).copied().unwrap_or(false);
        members.insert(name.clone(), member(grant, borrow, load));
    }
    members
}

impl Dataplane {
    /// How full the fullest ring of the taker `name` is, in thousandths.
    fn waiting_of(&self, name: &str) -> u32 {
        let rings = self.rings_of(name).unwrap_or_default();
        let fill = rings.iter().map(|ring| {
            let figures = ring.gauges.read();
            figures.produced.saturating_sub(figures.recycled) * 1000 / u64::from(self.rx_ring.max(1))
        });
        fill.max().unwrap_or(0).min(1000) as u32
    }
}
