//! What flags mean together: who waits for whom, which sets of takers they can make, and the tables that the classifier
//! looks a flow's bucket up in.
//!
//! Each flag decides for itself: a flow is the flag's if the flag is on, the flow matches, and its bucket is below the
//! share. With prerequisites it must be theirs as well. A flow goes to all whose it is. Buckets are counted from 0 for
//! every flag, so a flag of 5 % takes flows that one of 25 % takes too, and a share that grows moves no flow away. No flag
//! has connections to the management's ports, whatever it asks for: a share of them would be connections that never come
//! about. Nor has one DHCP, what is not IP, or ICMPv6: all ARP of a box is one flow, and without it no neighbour finds it.

mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use weir_ebpf_abi::layout::FLAG_TABLES;
use weir_ebpf_abi::rules::Match;

use crate::config::{FlagSpec, FlagState, VariantSpec};
use crate::management::KEPT_MATCHES;
use crate::name::FlagName;
use crate::problem::Problem;
use crate::share::Share;
use crate::taker::{FeatureName, TakerSet};

pub use tables::{TakerTable, tables};

/// Different matches that flags can have together: every combination of them is a table of the classifier.
pub const MAX_MATCHES: usize = 4;

// With the tables for what no flag has, and the one for all other flows.
const _: () = assert!((1 << MAX_MATCHES) + KEPT_MATCHES <= FLAG_TABLES);

/// What becomes of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This share of the flows is its own: its share, or that of a prerequisite if that is less.
    Works(Share),
    /// It is off.
    Off,
    /// This prerequisite is off or waits itself.
    Waits(FlagName),
}

impl Standing {
    /// The share of the flows that it has.
    pub const fn share(&self) -> Share {
        match self {
            Self::Works(share) => *share,
            Self::Off | Self::Waits(_) => Share::NONE,
        }
    }
}

/// A flag with what the others make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The flag.
    pub flag: &'a FlagSpec,
    /// What becomes of it.
    pub standing: Standing,
    /// Which flows it asks for, prerequisites included; `None` where none can be.
    pub matches: Option<Match>,
}

/// What becomes of each flag, in their order. One whose prerequisites are not there or go round in a circle waits.
pub fn resolve(flags: &[FlagSpec]) -> Vec<Resolved<'_>> {
    let mut known: BTreeMap<&FlagName, Resolved<'_>> = BTreeMap::new();
    // Each round settles all whose prerequisites are settled, so there are no more rounds than flags.
    loop {
        let next: Vec<&FlagSpec> = flags
            .iter()
            .filter(|flag| !known.contains_key(&flag.name))
            .filter(|flag| flag.requires.iter().all(|name| known.contains_key(name)))
            .collect();
        if next.is_empty() {
            break;
        }
        for flag in next {
            let one = joined(flag, &known);
            known.insert(&flag.name, one);
        }
    }
    let waits = |flag| Resolved { flag, standing: unsettled(flag, &known), matches: None };
    flags.iter().map(|flag| known.get(&flag.name).cloned().unwrap_or_else(|| waits(flag))).collect()
}

/// A flag whose prerequisites are all known.
fn joined<'a>(flag: &'a FlagSpec, known: &BTreeMap<&FlagName, Resolved<'a>>) -> Resolved<'a> {
    let mut matches = Some(Match::from(flag.matches));
    let mut standing = Standing::Works(flag.share);
    for required in flag.requires.iter().filter_map(|name| known.get(name)) {
        matches = matches.zip(required.matches).and_then(|(own, theirs)| own.both(&theirs));
        standing = match (standing, &required.standing) {
            (Standing::Works(own), Standing::Works(theirs)) => Standing::Works(own.min(*theirs)),
            (Standing::Works(_), _) => Standing::Waits(required.flag.name.clone()),
            (waits, _) => waits,
        };
    }
    if flag.state == FlagState::Off {
        standing = Standing::Off;
    }
    Resolved { flag, standing, matches }
}

/// What becomes of a flag of which a prerequisite is not known.
fn unsettled(flag: &FlagSpec, known: &BTreeMap<&FlagName, Resolved<'_>>) -> Standing {
    let missing = flag.requires.iter().find(|name| !known.contains_key(name));
    match (flag.state, missing) {
        (FlagState::On, Some(name)) => Standing::Waits(name.clone()),
        _ => Standing::Off,
    }
}

/// The flags that name `flag` as a prerequisite, directly or by another.
pub fn dependents<'a>(flags: &'a [FlagSpec], flag: &FlagName) -> Vec<&'a FlagSpec> {
    let mut found: Vec<&FlagSpec> = Vec::new();
    let mut known: BTreeSet<&FlagName> = BTreeSet::from([flag]);
    loop {
        let more: Vec<&FlagSpec> = flags
            .iter()
            .filter(|other| !known.contains(&other.name) && other.requires.iter().any(|name| known.contains(name)))
            .collect();
        if more.is_empty() {
            return found;
        }
        known.extend(more.iter().map(|flag| &flag.name));
        found.extend(more);
    }
}

/// What is wrong with flags that are right one by one, and with which.
///
/// # Errors
/// A prerequisite that is no flag, prerequisites in a circle, matches that exclude each other, or too many of them.
pub fn judge(flags: &[FlagSpec]) -> Result<(), (FlagName, &'static str, Problem)> {
    for flag in flags {
        let refuse = |value: &dyn ToString, cause: String, cure: &str| {
            Err((flag.name.clone(), "requires", Problem::new(value.to_string(), cause, cure)))
        };
        for name in &flag.requires {
            if !flags.iter().any(|other| other.name == *name) {
                let cause = format!("flag {} requires a flag that is not there", flag.name);
                return refuse(name, cause, "add it under `flags:`, or take it out of `requires`");
            }
        }
        if let Some(way) = circle(flags, flag) {
            return refuse(
                &way,
                "these flags require each other in a circle".into(),
                "take one of them out of `requires`",
            );
        }
    }
    let mut different = Vec::new();
    for Resolved { flag, matches, .. } in resolve(flags) {
        let refuse = |cause: String, cure: &str| {
            Err((flag.name.clone(), "match", Problem::new(flag.matches.to_string(), cause, cure)))
        };
        let Some(matches) = matches else {
            let cause = format!("no flow can match flag {} and those that it requires", flag.name);
            return refuse(cause, "match what they match, or a part of it");
        };
        note(&mut different, matches);
        if different.len() > MAX_MATCHES {
            let cause = format!("flags have more than {MAX_MATCHES} different matches");
            return refuse(cause, "use a rule with a share, or match what another flag does");
        }
    }
    Ok(())
}

/// Adds a match that is not there yet, unless it is everything.
fn note(different: &mut Vec<Match>, matches: Match) {
    if matches != Match::default() && !different.contains(&matches) {
        different.push(matches);
    }
}

/// The way from a flag over prerequisites back to itself.
fn circle(flags: &[FlagSpec], start: &FlagSpec) -> Option<String> {
    let mut ways: Vec<Vec<&FlagName>> = vec![vec![&start.name]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last().and_then(|name| flags.iter().find(|flag| flag.name == **name))?;
        for next in &last.requires {
            let longer: Vec<&FlagName> = way.iter().copied().chain([next]).collect();
            if *next == start.name {
                return Some(longer.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> "));
            }
            if seen.insert(next) {
                ways.push(longer);
            }
        }
    }
    None
}

/// Rules of the classifier's that the flags take, whatever their states: one for each combination of their matches, and
/// those that keep what the box is reached by from all of them, as if it had as many ports as it can: so a port more never
/// is one too many.
pub fn rules_taken(flags: &[FlagSpec]) -> usize {
    let mut different = Vec::new();
    resolve(flags).iter().filter_map(|one| one.matches).for_each(|matches| note(&mut different, matches));
    if flags.is_empty() { 0 } else { (1 << different.len().min(MAX_MATCHES)) - 1 + KEPT_MATCHES }
}

/// Every set of takers that flags can give a flow to, whatever their shares and states.
pub fn taker_sets(flags: &[FlagSpec]) -> BTreeSet<TakerSet> {
    let mut sets = BTreeSet::new();
    for set in flags.iter().flat_map(each) {
        let joined: Vec<TakerSet> = sets.iter().map(|other: &TakerSet| other.union(set)).collect();
        sets.extend(joined);
        sets.insert(set);
    }
    sets.remove(&TakerSet::EMPTY);
    sets
}

fn each(flag: &FlagSpec) -> Vec<TakerSet> {
    let set = |to: &[FeatureName]| to.iter().copied().collect::<TakerSet>();
    if flag.variants.is_empty() {
        return vec![set(&flag.to)];
    }
    flag.variants.iter().map(|variant| set(&variant.to)).collect()
}

/// The variant of a flag that a bucket has: it depends on nothing but the variants' weights, so a flow keeps its variant
/// when the flag's share grows.
///
/// Buckets are strewn over the variants by steps of the golden section (6181 of 10 000, the nearest number without a
/// common factor), whose first *n* points lie evenly for every *n* (Knuth, The Art of Computer Programming, volume 3,
/// 6.4, theorem S): every share has the variants in their proportion, to within a few buckets.
pub fn variant(flag: &FlagSpec, bucket: u16) -> Option<&VariantSpec> {
    let all: u64 = flag.variants.iter().map(|variant| u64::from(variant.weight)).sum();
    let position = u64::from(bucket) * 6181 % u64::from(Share::ALL.basis_points());
    let mut end = 0;
    flag.variants.iter().find(|variant| {
        end += u64::from(variant.weight);
        position * all < end * u64::from(Share::ALL.basis_points())
    })
}
