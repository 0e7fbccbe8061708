//! From the configuration to what the classifier is given: rules with class numbers, flags, agents with their way out.

use std::collections::BTreeMap;

use weir_appliance_control::class::takers;
use weir_appliance_control::config::{AgentSpec, Config, RuleSpec};
use weir_appliance_control::flags::{self, TakerTable};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::tables;
use weir_appliance_control::taker::TakerSet;
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

/// Translates `config`.
///
/// # Errors
/// A set of takers that has no ring yet, or an agent behind an interface that does not take part.
pub(crate) fn steering(
    config: &Config,
    classes: &KernelClasses,
    ports: &[Port],
    health: &Health,
) -> Result<Steering, Problem> {
    let (rules, flags) = rules(config, classes)?;
    let agents = config.agents().iter().map(|spec| agent(spec, ports)).collect::<Result<_, _>>()?;
    Ok(Steering { rules, flags, agents, services: services::services(config, ports, health)? })
}

/// Rules, and what flags do with the flows that no rule took.
pub(crate) type RulesAndFlags = (Vec<Rule>, Vec<FlagTable>);

/// The rules and the flags of `config`, for who has no agents.
///
/// # Errors
/// A set of takers that has no ring yet.
pub(crate) fn rules(config: &Config, classes: &KernelClasses) -> Result<RulesAndFlags, Problem> {
    let rules = config.rules().iter().map(|spec| rule(spec, classes)).collect::<Result<_, _>>()?;
    let flags =
        flags::tables(config.flags()).iter().map(|table| flag_table(table, classes)).collect::<Result<_, _>>()?;
    Ok((rules, flags))
}

fn flag_table(table: &TakerTable, classes: &KernelClasses) -> Result<FlagTable, Problem> {
    let mut known: BTreeMap<TakerSet, u8> = BTreeMap::new();
    for set in table.takers.iter().filter(|set| !set.is_empty()) {
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

fn rule(spec: &RuleSpec, classes: &KernelClasses) -> Result<Rule, Problem> {
    let class = takers(spec).map_or(Ok(0), |set| class(set, classes))?;
    Ok(Rule { matches: spec.matches.into(), action: spec.action.into(), class, share: spec.share.basis_points() })
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
