//! From the configuration to what the classifier is given: rules with class numbers, flags, agents with their way out.

use std::collections::BTreeMap;

use weir_appliance_control::class::takers;
use weir_appliance_control::config::{AgentSpec, Config, RuleAction, RuleSpec};
use weir_appliance_control::flags::{self, TakerTable};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::tables;
use weir_appliance_control::taker::{Taker, TakerSet};
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::rules::Rule;
use weir_ebpf_loader::{FlagTable, Service};

use super::classes::KernelClasses;
use super::health::Health;
use super::services;
use super::setup::Port;

/// All that a configuration asks of the classifier.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Steering {
    /// Rules, first match first.
    pub rules: Vec<Rule>,
    /// What flags do with the flows no rule took.
    pub flags: Vec<FlagTable>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// Services.
    pub services: Vec<Service>,
}

/// Translates `config`, where nobody of `off` is to be given a frame.
///
/// # Errors
/// A set of takers that has no ring yet, or an agent behind an interface that does not take part.
pub(crate) fn steering(
    config: &Config,
    off: TakerSet,
    classes: &KernelClasses,
    ports: &[Port],
    health: &Health,
) -> Result<Steering, Problem> {
    let (rules, flags) = rules(config, off, classes)?;
    let agents = config.agents().iter().map(|spec| agent(spec, ports)).collect::<Result<_, _>>()?;
    Ok(Steering { rules, flags, agents, services: services::services(config, ports, health)? })
}

/// Rules, and what flags do with the flows that no rule took.
pub(crate) type RulesAndFlags = (Vec<Rule>, Vec<FlagTable>);

/// Whether somebody is left of a set of takers when those of `off` get no frames. Who is left gets them on the ring of the
/// whole set: a ring waits for those only who are there.
pub(super) fn is_taken(set: TakerSet, off: TakerSet) -> bool {
    !set.without(off).is_empty()
}

/// The rules and the flags of `config`, for who has no agents. A rule that gives frames to nobody but those of `off` passes
/// or forwards them, and to a flag their flows are nobody's.
///
/// # Errors
/// A set of takers that has no ring yet.
pub(crate) fn rules(config: &Config, off: TakerSet, classes: &KernelClasses) -> Result<RulesAndFlags, Problem> {
    let rules = config.rules().iter().map(|spec| rule(spec, off, classes)).collect::<Result<_, _>>()?;
    let tables = flags::tables(config.flags(), &config.management().ports);
    let flags = tables.iter().map(|table| flag_table(table, off, classes)).collect::<Result<_, _>>()?;
    Ok((rules, flags))
}

fn flag_table(table: &TakerTable, off: TakerSet, classes: &KernelClasses) -> Result<FlagTable, Problem> {
    let mut known: BTreeMap<TakerSet, u8> = BTreeMap::new();
    for set in table.takers.iter().filter(|set| is_taken(**set, off)) {
        if !known.contains_key(set) {
            known.insert(*set, class(*set, classes)?);
        }
    }
    let of = |bucket: u16| table.takers.get(usize::from(bucket)).and_then(|set| known.get(set)).copied();
    Ok(FlagTable::new(table.matches, of))
}

fn class(set: TakerSet, classes: &KernelClasses) -> Result<u8, Problem> {
    classes.first_of(set).ok_or_else(|| {
        let cause = "no ring is bound for this set of takers";
        Problem::new(
            set.to_string(),
            cause,
            "write the rule or flag into the configuration and restart weir: rings are bound at start",
        )
    })
}

fn rule(spec: &RuleSpec, off: TakerSet, classes: &KernelClasses) -> Result<Rule, Problem> {
    let (class, action) = match (takers(spec), spec.action) {
        (None, action) => (0, action),
        // The sender alone is no taker: it sends on what somebody gets.
        (Some(set), action) if is_taken(set, off.with(Taker::Sender)) => (class(set, classes)?, action),
        (Some(_), RuleAction::Mirror) => (0, RuleAction::Forward),
        (Some(_), _) => (0, RuleAction::Pass),
    };
    Ok(Rule { matches: spec.matches.into(), action: action.into(), class, share: spec.share.basis_points() })
}

pub(super) fn agent(spec: &AgentSpec, ports: &[Port]) -> Result<Agent, Problem> {
    let found = ports.iter().zip(0..).find(|(port, _)| port.spec.name == spec.interface);
    let (port, egress) = found.ok_or_else(|| {
        let cause = format!("agent {} is behind an interface that weir does not run on", spec.id);
        Problem::new(
            spec.interface.as_str(),
            cause,
            "add the interface under `interfaces:` and restart, or name one that is there",
        )
    })?;
    Ok(made(spec, egress, port.link.index, port.link.mac))
}

/// The agents of `config` with made-up interfaces, in the order in which the configuration names them: for who explains a
/// capture on a host that may have none of them.
pub(crate) fn offline_agents(config: &Config) -> Vec<Agent> {
    let egress =
        |spec: &AgentSpec| config.interfaces().iter().position(|port| port.name == spec.interface).unwrap_or(0) as u8;
    config.agents().iter().map(|spec| made(spec, egress(spec), u32::from(egress(spec)) + 1, [0; 6])).collect()
}

pub(super) fn made(spec: &AgentSpec, egress: u8, ifindex: u32, source_mac: [u8; 6]) -> Agent {
    let (version, address) = tables::address(spec.address);
    let (id, mac) = (spec.id.get(), spec.mac.octets());
    Agent { id, ifindex, address, mac, source_mac, version, egress, ..Agent::default() }
}

#[cfg(test)]
mod tests {
    use weir_appliance_control::class::classes;
    use weir_ebpf_abi::action::Action;

    use super::*;

    #[test]
    fn who_does_not_run_is_given_nothing_and_the_others_what_they_had() {
        let text = "features: {streaming: {}, test1: {}}\nrules:\n  \
            - {match: udp dport 1, action: deliver, to: [test1]}\n  \
            - {match: udp dport 2, action: deliver, to: [test1, streaming]}\n  \
            - {match: udp dport 3, action: mirror, to: [test1]}\n  \
            - {match: udp dport 4, action: deliver, to: [test1], durable: true}\n  \
            - {match: udp dport 5, action: deliver, to: [streaming]}\n\
            flags:\n  - {name: one, to: [test1], share: 100%}\n  - {name: two, to: [streaming], share: 50%}\n";
        let config = Config::parse(text).expect("a good configuration");
        let kernel = KernelClasses::of(&classes(&config), 2).expect("few classes");
        let all = rules(&config, TakerSet::EMPTY, &kernel).expect("rings for all");
        let off = TakerSet::EMPTY.with(Taker::Test1);
        let some = rules(&config, off, &kernel).expect("rings for the others");
        let actions = |rules: &[Rule]| rules.iter().map(|rule| rule.action).collect::<Vec<_>>();
        assert_eq!(
            actions(&all.0),
            [Action::Deliver, Action::Deliver, Action::Mirror, Action::Deliver, Action::Deliver]
        );
        assert_eq!(
            actions(&some.0),
            [Action::Pass, Action::Deliver, Action::Forward, Action::Deliver, Action::Deliver]
        );
        for (whole, part) in all.0.iter().zip(&some.0).filter(|(_, part)| part.action == Action::Deliver) {
            assert_eq!(whole, part, "who is left takes the frames where they were");
        }
        let both = off.with(Taker::Streaming);
        assert_eq!(actions(&rules(&config, both, &kernel).expect("none").0)[1], Action::Pass);
        let taken = |tables: &[FlagTable]| (0..10_000).filter(|bucket| tables[5].class(*bucket).is_some()).count();
        assert_eq!(
            (tables_of(&all.1), tables_of(&some.1)),
            (6, 6),
            "ssh, DHCP twice, ICMPv6, what is not IP, and the rest"
        );
        assert_eq!((taken(&all.1), taken(&some.1)), (10_000, 5_000), "flags to nobody take no flow");
    }

    fn tables_of(tables: &[FlagTable]) -> usize {
        tables.len()
    }
}
