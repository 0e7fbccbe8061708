//! The plan: every feature's cores, memory and accelerators on one machine.
//!
//! What is asked for in so many words is given whole or refused with the sum. What nobody asks for comes from the
//! [`profile`](crate::profile) and shrinks in proportion where the machine is smaller than the profile's. So defaults always
//! fit, and a refusal always names a number that somebody wrote.
//!
//! * A core is given to one feature. Only where batch cores are fewer than the features that have no other core do those
//!   share them, in turn, and their grants say so.
//! * The first critical core is the data plane's. It is given out last: where the profile would need to shrink anyway it
//!   shrinks by one more, and the data plane has it alone.
//! * The same asks on the same machine give the same plan.

mod amounts;
mod cores;
mod sum;

pub use sum::bytes;

use crate::machine::Machine;
use crate::profile::{Class, NEUTRAL_WEIGHT, Profile};
use cores::Count;

/// A feature without this much memory does not run: its windows and its process.
pub const LEAST_MEMORY: u64 = 32 << 20;

/// A share of an accelerator that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceleratorAsk {
    /// Which.
    pub name: String,
    /// The share of its time in basis points.
    pub share: u32,
}

/// What is asked for a feature; `None` is what the profile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The feature.
    pub feature: String,
    /// Cores of the critical role.
    pub critical: Option<u32>,
    /// Cores of the batch role.
    pub batch: Option<u32>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Weight among features that want the same core, 1 to 10,000; 100 neither favours nor hinders.
    pub cpu_weight: Option<u32>,
    /// Its class.
    pub class: Option<Class>,
    /// Its accelerator.
    pub accelerator: Option<AcceleratorAsk>,
}

/// A share of an accelerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceleratorGrant {
    /// Which.
    pub name: String,
    /// The share of its time in basis points.
    pub share: u32,
    /// Bytes of its memory.
    pub memory: u64,
}

/// What a feature gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The feature.
    pub feature: String,
    /// Its class.
    pub class: Class,
    /// Its weight.
    pub cpu_weight: u32,
    /// Its CPUs of the critical role.
    pub critical: Vec<u32>,
    /// Its CPUs of the batch role.
    pub batch: Vec<u32>,
    /// Others have some of these CPUs too.
    pub shared: bool,
    /// Bytes of memory.
    pub memory: u64,
    /// Its accelerators.
    pub accelerators: Vec<AcceleratorGrant>,
    /// What of this is less than the profile says, and why; empty where nothing is.
    pub why: String,
}

impl Grant {
    /// All its CPUs, the one that its thread is pinned to first: a batch core, where it has one.
    pub fn cpus(&self) -> Vec<u32> {
        let mut cpus = self.batch.clone();
        // Where a machine's roles overlap a feature can have the same CPU in both.
        cpus.extend(self.critical.iter().filter(|cpu| !self.batch.contains(cpu)));
        cpus
    }
}

/// Who gets what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each ask, in their order.
    pub grants: Vec<Grant>,
    /// CPUs that no feature has; the data plane's own is not among them.
    pub free: Vec<u32>,
}

impl Plan {
    /// The grant of a feature.
    pub fn of(&self, feature: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.feature == feature)
    }
}

/// Asks that cannot be met together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value}: {cause}; {cure}")]
pub struct Refused {
    /// The sum, as it adds up: `3 + 2 + 2 = 7 critical cores`.
    pub value: String,
    /// Why it is too much.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

/// Shares out a machine.
///
/// # Errors
/// What is asked for in so many words is more than there is, or leaves nothing for a feature.
pub fn plan(machine: &Machine, asks: &[Ask]) -> Result<Plan, Refused> {
    let profiles: Vec<Profile> = asks.iter().map(|ask| Profile::of(&ask.feature)).collect();
    let critical = cores::critical_cores(machine, asks, &profiles)?;
    let batch = cores::batch_cores(machine, asks, &profiles, &critical)?;
    let memory = amounts::memory(machine, asks, &profiles)?;
    let accelerators = amounts::accelerators(machine, asks, &profiles)?;
    let mut hands = Hands::of(machine, &batch);
    let grants = asks.iter().enumerate().map(|(place, ask)| {
        let (critical, batch) = (hands.critical(critical[place]), hands.batch(batch[place]));
        let mut grant = Grant {
            feature: ask.feature.clone(),
            class: ask.class.unwrap_or(profiles[place].class),
            cpu_weight: ask.cpu_weight.unwrap_or(NEUTRAL_WEIGHT),
            critical,
            batch,
            shared: false,
            memory: memory[place],
            accelerators: accelerators[place].clone(),
            why: String::new(),
        };
        grant.why = shortfall(ask, &profiles[place], &grant);
        grant
    });
    let mut grants: Vec<Grant> = grants.collect();
    let all: Vec<Vec<u32>> = grants.iter().map(Grant::cpus).collect();
    for (place, grant) in grants.iter_mut().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != place);
        grant.shared = others.flat_map(|(_, cpus)| cpus).any(|cpu| all[place].contains(cpu));
    }
    let pool = machine.critical.first().copied();
    let nobodys = |cpu: &u32| Some(*cpu) != pool && !grants.iter().any(|grant| grant.cpus().contains(cpu));
    let mut free: Vec<u32> = machine.critical.iter().chain(&machine.batch).copied().filter(nobodys).collect();
    free.sort_unstable();
    free.dedup();
    Ok(Plan { grants, free })
}

/// Gives out the CPUs of both roles.
struct Hands {
    /// Critical ones, the data plane's own last.
    critical: std::vec::IntoIter<u32>,
    /// Batch ones that are given to one feature each.
    own: std::vec::IntoIter<u32>,
    /// Batch ones that are given in turn: whoever shares, shares what nobody asked for.
    turns: std::iter::Cycle<std::vec::IntoIter<u32>>,
}

impl Hands {
    fn of(machine: &Machine, batch: &[Count]) -> Self {
        let mut critical = machine.critical.clone();
        let first = usize::from(!critical.is_empty());
        critical.rotate_left(first);
        let own: usize = batch.iter().map(|count| count.own()).sum();
        let mut own_cpus = machine.batch.clone();
        let turns = own_cpus.split_off(own.min(own_cpus.len()));
        Self { critical: critical.into_iter(), own: own_cpus.into_iter(), turns: turns.into_iter().cycle() }
    }

    fn critical(&mut self, count: Count) -> Vec<u32> {
        self.critical.by_ref().take(count.own()).collect()
    }

    fn batch(&mut self, count: Count) -> Vec<u32> {
        match count {
            Count::Own(count) => self.own.by_ref().take(count).collect(),
            Count::InTurn => self.turns.next().into_iter().collect(),
        }
    }
}

/// What of a profile a feature did not get, as a sentence; nothing where it was asked for in so many words.
fn shortfall(ask: &Ask, profile: &Profile, grant: &Grant) -> String {
    let mut parts = Vec::new();
    let mut less = |asked: bool, got: u64, wanted: u64, what: &str| {
        if !asked && got < wanted {
            parts.push(format!("{got} of {wanted} {what}"));
        }
    };
    less(ask.critical.is_some(), grant.critical.len() as u64, u64::from(profile.critical), "critical cores");
    less(ask.batch.is_some(), grant.batch.len() as u64, u64::from(profile.batch), "batch cores");
    less(ask.memory.is_some(), grant.memory >> 20, profile.memory >> 20, "MiB");
    for (name, share, _) in profile.accelerators {
        let got = grant.accelerators.iter().find(|one| one.name == *name).map_or(0, |one| one.share);
        less(ask.accelerator.is_some(), u64::from(got / 100), u64::from(share / 100), &format!("% of {name}"));
    }
    if parts.is_empty() { String::new() } else { format!("{} of its profile", parts.join(", ")) }
}
