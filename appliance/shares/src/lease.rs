//! Loans of idle cores.
//!
//! Every control period the owner of this looks at what each feature did in the last one and calls [`Leases::step`]. A core
//! lies idle when its owner used little of it and has nothing waiting; a feature is in need when its own cores are nearly
//! used up or frames wait for it. An idle core goes to the one in the greatest need. It goes back in the step in which its
//! owner has work again, in which the borrower needs it no more, or in which either is gone: so within one period, however
//! the machine is loaded. Nothing here knows a clock; a period is a call.
//!
//! To lend is to let another run on a core too: the owner never loses the right to run there, so that its first frame after a
//! pause waits for no period. A core that is lent is not lent on, and who lends does not borrow.

use std::collections::BTreeMap;

/// A core is idle below this use, in thousandths.
pub const IDLE: u32 = 100;
/// A feature is in need above this use of what it has, in thousandths.
pub const BUSY: u32 = 850;
/// Or when its fullest ring is filled above this, in thousandths.
pub const WAITING: u32 = 250;
/// Periods that an owner has to be idle before it lends: a feature that pauses between two batches is not idle.
pub const IDLE_PERIODS: u32 = 3;

/// What a feature did in the last period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What it used of one core, in thousandths; above 1000 with several threads.
    pub used: u32,
    /// How full its fullest ring is, in thousandths.
    pub waiting: u32,
    /// Its thread looks for work without sleeping: what it uses says nothing.
    pub spins: bool,
}

/// A feature in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its CPUs, the one that its thread is pinned to first; the last is lent first.
    pub cpus: Vec<u32>,
    /// Others have these CPUs too, so there is nothing to lend.
    pub shared: bool,
    /// It takes part: it lends and it borrows.
    pub borrow: bool,
    /// Its load; `None` while it does not run.
    pub load: Option<Load>,
}

/// Who a core belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Nobody: the plan has given it to no feature.
    Nobody,
    /// A feature.
    Feature(String),
}

/// One loan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The core.
    pub cpu: u32,
    /// Whose it is.
    pub from: Owner,
    /// Who has it.
    pub to: String,
    /// In which period it was lent.
    pub since: u64,
}

/// Why a loan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Its owner has work.
    OwnerWorks,
    /// The borrower needs it no more.
    NoNeed,
    /// One of the two does not run any more, or the plan has changed.
    Gone,
}

impl Because {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OwnerWorks => "its owner has work",
            Self::NoNeed => "it is not needed any more",
            Self::Gone => "one of the two is gone, or the plan has changed",
        }
    }
}

/// What a step changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A core was lent.
    Lent(Lease),
    /// A core went back.
    Back(Lease, Because),
}

/// All loans.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    period: u64,
    leases: BTreeMap<u32, Lease>,
    idle: BTreeMap<String, u32>,
}

impl Leases {
    /// The loans now, by core.
    pub fn all(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Periods counted so far.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// The CPUs a feature may run on now: its own, and what it has borrowed.
    pub fn cpus_of(&self, name: &str, member: &Member) -> Vec<u32> {
        let borrowed = self.leases.values().filter(|lease| lease.to == name).map(|lease| lease.cpu);
        let mut cpus = member.cpus.clone();
        cpus.extend(borrowed.filter(|cpu| !member.cpus.contains(cpu)));
        cpus
    }

    /// One control period: loads are of the period that has just ended. `free` are cores that no feature has.
    pub fn step(&mut self, members: &BTreeMap<String, Member>, free: &[u32]) -> Vec<Event> {
        self.period += 1;
        let mut events = Vec::new();
        for (name, member) in members {
            let idle = if works(member) { 0 } else { self.idle.get(name).map_or(0, |idle| *idle) + 1 };
            self.idle.insert(name.clone(), idle);
        }
        self.idle.retain(|name, _| members.contains_key(name));
        let ended: Vec<(u32, Because)> =
            self.leases.values().filter_map(|lease| Some((lease.cpu, ends(lease, members, free)?))).collect();
        for (cpu, because) in ended {
            if let Some(lease) = self.leases.remove(&cpu) {
                events.push(Event::Back(lease, because));
            }
        }
        // Who has got a core back in this step waits for the next one: a core goes from hand to hand through its owner.
        let just_back: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                Event::Back(lease, _) => Some(lease.cpu),
                Event::Lent(_) => None,
            })
            .collect();
        let mut offered = self.offers(members, free);
        offered.retain(|(cpu, _)| !just_back.contains(cpu));
        for (to, _) in self.in_need(members) {
            let Some(place) = offered.iter().position(|(_, from)| *from != Owner::Feature(to.clone())) else {
                continue;
            };
            let (cpu, from) = offered.remove(place);
            let lease = Lease { cpu, from, to, since: self.period };
            self.leases.insert(cpu, lease.clone());
            events.push(Event::Lent(lease));
        }
        events
    }

    /// Cores that could be lent: what nobody has first, then those of idle owners.
    fn offers(&self, members: &BTreeMap<String, Member>, free: &[u32]) -> Vec<(u32, Owner)> {
        let mut offers: Vec<(u32, Owner)> = free.iter().map(|cpu| (*cpu, Owner::Nobody)).collect();
        for (name, member) in members {
            let idle_long = self.idle.get(name).is_some_and(|idle| *idle >= IDLE_PERIODS);
            if member.borrow && !member.shared && idle_long {
                offers.extend(member.cpus.iter().rev().map(|cpu| (*cpu, Owner::Feature(name.clone()))));
            }
        }
        offers.retain(|(cpu, _)| !self.leases.contains_key(cpu));
        offers
    }

    /// Who is in need, the greatest need first; one that has lent something is not.
    fn in_need(&self, members: &BTreeMap<String, Member>) -> Vec<(String, u32)> {
        let lends = |name: &str| self.leases.values().any(|lease| lease.from == Owner::Feature(name.to_owned()));
        let mut needy: Vec<(String, u32)> = members
            .iter()
            .filter(|(name, member)| member.borrow && !lends(name))
            .filter_map(|(name, member)| Some((name.clone(), need(member.load.as_ref()?, self.held(name, member))?)))
            .collect();
        needy.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        needy
    }

    fn held(&self, name: &str, member: &Member) -> usize {
        self.cpus_of(name, member).len()
    }
}

/// How great a need is; `None` where there is none. `cores` is what the feature has now.
fn need(load: &Load, cores: usize) -> Option<u32> {
    let capacity = cores.max(1) as u32 * 1000;
    let used = (u64::from(load.used) * 1000 / u64::from(capacity)).min(1000) as u32; // at most 1000
    let by_use = (!load.spins && used > BUSY).then_some(used);
    let by_ring = (load.waiting > WAITING).then_some(1000 + load.waiting);
    by_use.max(by_ring)
}

/// Whether a feature has work that could want all its cores.
fn works(member: &Member) -> bool {
    member.load.is_some_and(|load| load.spins || load.used >= IDLE || load.waiting > 0)
}

fn ends(lease: &Lease, members: &BTreeMap<String, Member>, free: &[u32]) -> Option<Because> {
    let Some(borrower) = members.get(&lease.to).filter(|member| member.borrow) else { return Some(Because::Gone) };
    let Some(load) = borrower.load else { return Some(Because::Gone) };
    match &lease.from {
        Owner::Nobody if !free.contains(&lease.cpu) => return Some(Because::Gone),
        Owner::Nobody => {}
        Owner::Feature(name) => match members.get(name) {
            Some(owner) if !owner.borrow || owner.shared || !owner.cpus.contains(&lease.cpu) => {
                return Some(Because::Gone);
            }
            Some(owner) if works(owner) => return Some(Because::OwnerWorks),
            Some(_) => {}
            None => return Some(Because::Gone),
        },
    }
    // Half of what makes a need: else a core would go to and fro.
    let calm = load.waiting <= WAITING / 2 && (load.spins || load.used < BUSY / 2);
    calm.then_some(Because::NoNeed)
}
