//! From the configuration to what the classifier is given: rules with class numbers, buckets, agents with their way out.

use std::net::IpAddr;

use weir_appliance_control::class::takers;
use weir_appliance_control::config::{AgentSpec, Config, FlagSpec, RuleAction, RuleSpec};
use weir_appliance_control::matching::{IpPrefix, MatchExpression, Range};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::TakerSet;
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::rules::{Match, Prefix, Rule};

use super::classes::KernelClasses;
use super::setup::Port;

/// All that a configuration asks of the classifier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// Rules, first match first.
    pub rules: Vec<Rule>,
    /// Classes and their shares of the flows no rule took, in basis points.
    pub buckets: Vec<(u8, u16)>,
    /// Agents.
    pub agents: Vec<Agent>,
}

/// Translates `config`.
///
/// # Errors
/// A set of takers that has no ring yet, or an agent behind an interface that does not take part.
pub fn steering(config: &Config, classes: &KernelClasses, ports: &[Port]) -> Result<Steering, Problem> {
    let (rules, buckets) = rules(config, classes)?;
    let agents = config.agents().iter().map(|spec| agent(spec, ports)).collect::<Result<_, _>>()?;
    Ok(Steering { rules, buckets, agents })
}

/// The rules and the flags' buckets of `config`, for who has no agents.
///
/// # Errors
/// A set of takers that has no ring yet.
pub fn rules(config: &Config, classes: &KernelClasses) -> Result<(Vec<Rule>, Vec<(u8, u16)>), Problem> {
    let rules = config.rules().iter().map(|spec| rule(spec, classes)).collect::<Result<_, _>>()?;
    let bucket = |flag: &FlagSpec| Ok((class(flag.to.iter().copied().collect(), classes)?, flag.share.basis_points()));
    let buckets = config.flags().iter().map(bucket).collect::<Result<_, _>>()?;
    Ok((rules, buckets))
}

fn class(set: TakerSet, classes: &KernelClasses) -> Result<u8, Problem> {
    classes.first_of(set).ok_or_else(|| {
        let cause = "no ring is bound for this set of takers";
        Problem::new(set.to_string(), cause, "write the rule into the configuration and restart weir: rings are bound at start")
    })
}

fn rule(spec: &RuleSpec, classes: &KernelClasses) -> Result<Rule, Problem> {
    let class = takers(spec).map_or(Ok(0), |set| class(set, classes))?;
    let action = match spec.action {
        RuleAction::Pass => Action::Pass,
        RuleAction::Drop => Action::Drop,
        RuleAction::Forward => Action::Forward,
        RuleAction::Deliver => Action::Deliver,
        RuleAction::Mirror => Action::Mirror,
    };
    Ok(Rule { matches: matches(&spec.matches), action, class, share: spec.share.basis_points() })
}

fn matches(text: &MatchExpression) -> Match {
    Match {
        source: text.source.map(prefix),
        destination: text.destination.map(prefix),
        source_port: text.source_port.map(Range::ends),
        destination_port: text.destination_port.map(Range::ends),
        protocol: text.protocol.map(|protocol| protocol.0),
        vlan: text.vlan.map(Range::ends),
        message_type: text.message_type.map(Range::ends),
        modality: text.modality.map(|set| set.bits()),
    }
}

fn prefix(prefix: IpPrefix) -> Prefix {
    let (address, version) = octets(prefix.address());
    Prefix { address, length: prefix.length(), version }
}

/// An address as the classifier keeps it: IPv4 in the first four bytes.
fn octets(address: IpAddr) -> ([u8; 16], u8) {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            (octets, 4)
        }
        IpAddr::V6(v6) => (v6.octets(), 6),
    }
}

fn agent(spec: &AgentSpec, ports: &[Port]) -> Result<Agent, Problem> {
    let found = ports.iter().zip(0..).find(|(port, _)| port.spec.name == spec.interface);
    let (port, egress) = found.ok_or_else(|| {
        let cause = format!("agent {} is behind an interface that weir does not run on", spec.id);
        Problem::new(spec.interface.as_str(), cause, "add the interface under `interfaces:` and restart, or name one that is there")
    })?;
    let (address, version) = octets(spec.address);
    Ok(Agent {
        id: spec.id.0,
        ifindex: port.link.index,
        address,
        mac: spec.mac.octets(),
        source_mac: port.link.mac.0,
        version,
        egress,
        ..Agent::default()
    })
}
