//! Rules to rule set: for every value a field can have, the bit vector of the rules that do not mind it.

use std::collections::HashMap;

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::{Agent, AgentTable};
use weir_ebpf_abi::control::{HAS_BUCKETS, HAS_RULES, MirrorClasses, NEEDS_FLOW};
use weir_ebpf_abi::known;
use weir_ebpf_abi::layout::{BUCKETS, MAX_AGENTS, MAX_CLASSES, MAX_EGRESS, MAX_RULES};
use weir_ebpf_abi::rules::{Match, Prefix, Rule};
use weir_ebpf_abi::ruleset::{ASK_FLAGS, Field, MAX_VECTORS, POSITIONS, RuleEntry, RuleSet, Vector};

use crate::error::LoadError;
use crate::flags::{self, FlagTable};
use crate::tables::zeroed;

mod ranges;

use ranges::Interval;

/// A rule set of `rules`, in order of priority, and of `flags`, with the state bits that
/// [`Control`](weir_ebpf_abi::control::Control) needs.
///
/// # Errors
/// [`LoadError::TooMany`] over 1,024 rules, tables of flags counted in, or over 16 of those; [`LoadError::Value`] for a
/// class of 64 or more, a share over 10 000, a prefix longer than its address, or a range whose end is before its start.
pub fn rules(rules: &[Rule], flags: &[FlagTable]) -> Result<(Box<RuleSet>, u8), LoadError> {
    let targeted = flags.iter().filter(|table| !table.is_for_all_others());
    let asking = targeted.zip(1..).map(|(table, number)| Rule {
        matches: table.matches,
        action: Action::Deliver,
        class: number,
        share: BUCKETS as u16,
    });
    let own = rules.len();
    let rules: Vec<Rule> = rules.iter().copied().chain(asking).collect();
    if rules.len() > MAX_RULES {
        return Err(LoadError::TooMany { what: "rules", found: rules.len(), limit: MAX_RULES });
    }
    rules.iter().try_for_each(check)?;
    let rules = rules.as_slice();
    let mut set = zeroed::<RuleSet>("rule sets")?;
    set.count = rules.len() as u32;
    set.positions = POSITIONS;
    for (entry, rule) in set.rules.iter_mut().zip(rules) {
        *entry = RuleEntry { action: rule.action as u8, class: rule.class, share: rule.share };
    }
    set.rules[own..rules.len()].iter_mut().for_each(|entry| entry.action = ASK_FLAGS);
    let mut vectors = Vectors::new(&mut set, rules.len());
    direct(rules, &mut set, &mut vectors)?;
    searched(rules, &mut set, &mut vectors)?;
    let any_flag = flags::fill(&mut set, flags)?;
    set.asked = known::asked(set.used);
    let mut state = 0;
    if !rules.is_empty() {
        state |= HAS_RULES;
    }
    if any_flag {
        state |= HAS_BUCKETS;
    }
    if set.used & (1 << Field::Share as u32) != 0 {
        state |= NEEDS_FLOW;
    }
    Ok((set, state))
}

/// An agent table.
///
/// # Errors
/// [`LoadError::TooMany`] over 4,096 agents.
pub fn agents(agents: &[Agent]) -> Result<Box<AgentTable>, LoadError> {
    let mut table = zeroed::<AgentTable>("agent tables")?;
    table.fill(agents).map_err(|found| LoadError::TooMany { what: "agents", found, limit: MAX_AGENTS })?;
    Ok(table)
}

pub(crate) fn mirror_classes(offsets: &[u8], classes: &mut MirrorClasses) {
    *classes = MirrorClasses([0; MAX_EGRESS]);
    for (class, offset) in classes.0.iter_mut().zip(offsets) {
        *class = *offset;
    }
}

fn check(rule: &Rule) -> Result<(), LoadError> {
    let bad = |what, value: String, cause| Err(LoadError::Value { what, value, cause });
    if usize::from(rule.class) >= MAX_CLASSES {
        return bad("class", rule.class.to_string(), "classes are 0 to 63");
    }
    if usize::from(rule.share) > BUCKETS {
        return bad("share", rule.share.to_string(), "a share is 0 to 10000 basis points");
    }
    let matches = &rule.matches;
    for prefix in [matches.source, matches.destination].into_iter().flatten() {
        let longest = match prefix.version {
            4 => 32,
            6 => 128,
            version => return bad("IP version", version.to_string(), "it is 4 or 6"),
        };
        if prefix.length > longest {
            return bad("prefix length", prefix.length.to_string(), "it is at most 32 for IPv4 and 128 for IPv6");
        }
    }
    let narrow = [matches.source_port, matches.destination_port, matches.vlan];
    let ranges = narrow.into_iter().flatten().map(|(first, last)| (u32::from(first), u32::from(last)));
    for (first, last) in ranges.chain(matches.message_type) {
        if first > last {
            return bad("range", format!("{first}-{last}"), "the first must not be above the last");
        }
    }
    Ok(())
}

/// The pool of vectors: equal ones are kept once.
struct Vectors {
    known: HashMap<Vector, u16>,
}

impl Vectors {
    /// Number 0 has every rule: what a field that no rule asks about contributes.
    fn new(set: &mut RuleSet, count: usize) -> Vectors {
        let mut all = Vector::default();
        (0..count).for_each(|rule| all.set(rule));
        set.vectors[0] = all;
        Vectors { known: HashMap::from([(all, 0)]) }
    }

    /// The number of the vector of the rules for which `minds_not` says yes.
    fn number(&mut self, set: &mut RuleSet, count: usize, minds_not: impl Fn(usize) -> bool) -> Result<u16, LoadError> {
        let mut vector = Vector::default();
        (0..count).filter(|rule| minds_not(*rule)).for_each(|rule| vector.set(rule));
        self.intern(set, vector)
    }

    fn intern(&mut self, set: &mut RuleSet, vector: Vector) -> Result<u16, LoadError> {
        let next = self.known.len();
        if let Some(&number) = self.known.get(&vector) {
            return Ok(number);
        }
        let place = set.vectors.get_mut(next);
        let place =
            place.ok_or(LoadError::TooMany { what: "distinct rule vectors", found: next + 1, limit: MAX_VECTORS })?;
        *place = vector;
        self.known.insert(vector, next as u16);
        Ok(next as u16)
    }
}

fn uses(rules: &[Rule], set: &mut RuleSet, field: Field, asks: impl Fn(&Rule) -> bool) -> bool {
    let used = rules.iter().any(asks);
    if used {
        set.used |= 1 << field as u32;
    }
    used
}

/// Fields with a table entry for every value.
fn direct(rules: &[Rule], set: &mut RuleSet, vectors: &mut Vectors) -> Result<(), LoadError> {
    let count = rules.len();
    if uses(rules, set, Field::Protocol, |rule| rule.matches.protocol.is_some() || rule.matches.no_ip) {
        for value in 0..=255u8 {
            let minds_not = |rule: usize| {
                let Match { protocol, no_ip, .. } = rules[rule].matches;
                !no_ip && protocol.is_none_or(|wanted| wanted == value)
            };
            set.protocols[usize::from(value)] = vectors.number(set, count, minds_not)?;
        }
        set.absent[Field::Protocol as usize] =
            vectors.number(set, count, |rule| rules[rule].matches.protocol.is_none())?;
    }
    if uses(rules, set, Field::Modality, |rule| rule.matches.modality.is_some()) {
        for value in 0..16u8 {
            let minds_not = |rule: usize| rules[rule].matches.modality.is_none_or(|wanted| wanted >> value & 1 != 0);
            set.modalities[usize::from(value)] = vectors.number(set, count, minds_not)?;
        }
    }
    if uses(rules, set, Field::SourcePort, |rule| rule.matches.source_port.is_some()) {
        let table = ranges::spread(set, vectors, rules, 65_536, |rule| narrow(rule.matches.source_port))?;
        set.source_ports.copy_from_slice(&table);
        set.absent[Field::SourcePort as usize] =
            vectors.number(set, count, |rule| rules[rule].matches.source_port.is_none())?;
    }
    if uses(rules, set, Field::DestinationPort, |rule| rule.matches.destination_port.is_some()) {
        let table = ranges::spread(set, vectors, rules, 65_536, |rule| narrow(rule.matches.destination_port))?;
        set.destination_ports.copy_from_slice(&table);
        set.absent[Field::DestinationPort as usize] =
            vectors.number(set, count, |rule| rules[rule].matches.destination_port.is_none())?;
    }
    if uses(rules, set, Field::Vlan, |rule| rule.matches.vlan.is_some()) {
        let table = ranges::spread(set, vectors, rules, 4096, |rule| narrow(rule.matches.vlan))?;
        set.vlans.copy_from_slice(&table);
        set.absent[Field::Vlan as usize] = vectors.number(set, count, |rule| rules[rule].matches.vlan.is_none())?;
    }
    if uses(rules, set, Field::Share, |rule| usize::from(rule.share) < BUCKETS) {
        let below = |rule: &Rule| match rule.share {
            0 => Some(Interval::EMPTY),
            share => Some(Interval { first: 0, last: u128::from(share) - 1 }),
        };
        let table = ranges::spread(set, vectors, rules, BUCKETS, below)?;
        set.shares.copy_from_slice(&table);
    }
    Ok(())
}

fn narrow(range: Option<(u16, u16)>) -> Option<Interval> {
    range.map(|(first, last)| Interval { first: first.into(), last: last.into() })
}

/// Fields whose values are searched for.
fn searched(rules: &[Rule], set: &mut RuleSet, vectors: &mut Vectors) -> Result<(), LoadError> {
    let count = rules.len();
    if uses(rules, set, Field::MessageType, |rule| rule.matches.message_type.is_some()) {
        let wanted = |rule: &Rule| {
            rule.matches.message_type.map(|(first, last)| Interval { first: first.into(), last: last.into() })
        };
        let steps = ranges::steps(set, vectors, rules, wanted)?;
        ranges::fill32(&mut set.message_types, &steps);
        set.absent[Field::MessageType as usize] =
            vectors.number(set, count, |rule| rules[rule].matches.message_type.is_none())?;
    }
    if uses(rules, set, Field::Source, |rule| rule.matches.source.is_some()) {
        let [v4, v6] = [4, 6].map(|version| move |rule: &Rule| prefix(rule.matches.source, version));
        let steps = ranges::steps(set, vectors, rules, v4)?;
        ranges::fill32(&mut set.source4, &steps);
        let steps = ranges::steps(set, vectors, rules, v6)?;
        ranges::fill128(&mut set.source6, &steps);
        set.absent[Field::Source as usize] = vectors.number(set, count, |rule| rules[rule].matches.source.is_none())?;
    }
    if uses(rules, set, Field::Destination, |rule| rule.matches.destination.is_some()) {
        let [v4, v6] = [4, 6].map(|version| move |rule: &Rule| prefix(rule.matches.destination, version));
        let steps = ranges::steps(set, vectors, rules, v4)?;
        ranges::fill32(&mut set.destination4, &steps);
        let steps = ranges::steps(set, vectors, rules, v6)?;
        ranges::fill128(&mut set.destination6, &steps);
        set.absent[Field::Destination as usize] =
            vectors.number(set, count, |rule| rules[rule].matches.destination.is_none())?;
    }
    Ok(())
}

/// The addresses of a prefix; a prefix of the other IP version matches none.
fn prefix(prefix: Option<Prefix>, version: u8) -> Option<Interval> {
    let prefix = prefix?;
    if prefix.version != version {
        return Some(Interval::EMPTY);
    }
    let bits = if version == 4 { 32 } else { 128 };
    let all = u128::MAX >> (128 - bits);
    let address = u128::from_be_bytes(prefix.address) >> (128 - bits);
    let host = all.checked_shr(prefix.length.into()).unwrap_or(0);
    Some(Interval { first: address & !host, last: address | host })
}

/// The linear search that a rule set must agree with; the oracle of tests.
pub fn first_match_linear(rules: &[Rule], decoded: &weir_ebpf_abi::decode::Decoded, bucket: u16) -> Option<u16> {
    let outer = &decoded.outer;
    let within = |wanted: Option<Prefix>, address: weir_ebpf_abi::decode::Address| match wanted {
        None => true,
        Some(wanted) if wanted.version != outer.version => false,
        Some(wanted) => {
            let bits = if wanted.version == 4 { 32 } else { 128 };
            let value = u128::from(address.high) << 64 | u128::from(address.low);
            let wanted_value = u128::from_be_bytes(wanted.address) >> (128 - bits);
            let shift = bits - u32::from(wanted.length);
            shift >= 128 || value >> shift == wanted_value >> shift
        }
    };
    let port = |wanted: Option<(u16, u16)>, port: Option<u16>| match (wanted, port) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((first, last)), Some(port)) => first <= port && port <= last,
    };
    let vlan = outer.vlan_ids().first().copied();
    let holds = |rule: &Rule| {
        let matches = &rule.matches;
        within(matches.source, outer.source)
            && within(matches.destination, outer.destination)
            && port(matches.source_port, outer.ports().map(|ports| ports.0))
            && port(matches.destination_port, outer.ports().map(|ports| ports.1))
            && matches.protocol.is_none_or(|wanted| outer.version != 0 && wanted == outer.protocol)
            && (!matches.no_ip || outer.version == 0)
            && port(matches.vlan, vlan)
            && matches
                .message_type
                .is_none_or(|(first, last)| decoded.kind != 0 && (first..=last).contains(&decoded.message.message_type))
            && matches.modality.is_none_or(|wanted| wanted >> (decoded.message.modality & 15) & 1 != 0)
            && bucket < rule.share
            && Action::from_number(rule.action as u8).is_some()
    };
    rules.iter().position(holds).map(|index| index as u16)
}
