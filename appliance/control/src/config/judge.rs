//! What no value can know of itself: uniqueness, sums, limits and what belongs together.
//!
//! The file's reader and the changes made over the control socket ask the same judge, so neither can make a
//! configuration that the other would refuse.

mod flags;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::name::{AgentId, FlagName, InterfaceName, RuleName, ServiceName};
use crate::problem::Problem;

/// A refused item and the key that is at fault.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) key: &'static str,
    pub(super) problem: Problem,
}

fn refuse(
    key: &'static str,
    value: impl ToString,
    cause: impl Into<String>,
    cure: impl Into<String>,
) -> Result<(), Refused> {
    Err(Refused { key, problem: Problem::new(value.to_string(), cause, cure) })
}

/// Remembers what it has admitted.
#[derive(Debug, Default)]
pub(super) struct Judge {
    enabled: BTreeSet<FeatureName>,
    interfaces: BTreeSet<InterfaceName>,
    rules: BTreeSet<RuleName>,
    flags: BTreeSet<FlagName>,
    /// Type and address of each.
    agents: BTreeMap<AgentId, (u32, IpAddr)>,
    egress: BTreeSet<InterfaceName>,
    services: BTreeSet<ServiceName>,
    virtual_ends: BTreeSet<(IpAddr, ServiceProtocol, Option<u16>)>,
}

impl Judge {
    /// A judge who knows which features run.
    pub(super) fn new(enabled: impl IntoIterator<Item = FeatureName>) -> Self {
        Self { enabled: enabled.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn interface(&mut self, spec: &InterfaceSpec) -> Result<(), Refused> {
        if self.interfaces.len() == MAX_INTERFACES {
            return refuse(
                "name",
                &spec.name,
                format!("there are more than {MAX_INTERFACES} interfaces"),
                "remove some",
            );
        }
        if !self.interfaces.insert(spec.name.clone()) {
            return refuse("name", &spec.name, "this interface stands twice", "name each interface once");
        }
        Ok(())
    }

    pub(super) fn rule(&mut self, spec: &RuleSpec) -> Result<(), Refused> {
        if self.rules.len() == MAX_RULES {
            return refuse(
                "name",
                &spec.name,
                format!("there are more than {MAX_RULES} rules"),
                "remove some, or join them by ranges",
            );
        }
        if spec.durable && !spec.action.has_takers() {
            let cure = "use deliver or mirror, or remove `durable`";
            return refuse("durable", spec.action, "this action gives no frames to the log", cure);
        }
        match (spec.action.has_takers(), spec.to.is_empty()) {
            (true, true) => {
                let cure = format!("say who takes the frames, for example to: [{}]", FeatureName::STREAMING);
                return refuse("action", spec.action, "this action needs somebody who takes the frames", cure);
            }
            (false, false) => {
                let cure = "use deliver or mirror, or remove `to`";
                return refuse("to", spec.action, "this action gives no frames to takers", cure);
            }
            _ => self.takers(&spec.to)?,
        }
        if !self.rules.insert(spec.name.clone()) {
            return refuse("name", &spec.name, "another rule has this name", "choose a name that no other rule has");
        }
        Ok(())
    }

    pub(super) fn agent(&mut self, spec: &AgentSpec) -> Result<(), Refused> {
        if self.agents.len() == MAX_AGENTS {
            return refuse("id", spec.id, format!("there are more than {MAX_AGENTS} agents"), "remove some");
        }
        if spec.address.is_unspecified() || spec.address.is_multicast() {
            return refuse(
                "address",
                spec.address,
                "this is not the address of one host",
                "give the agent's own address",
            );
        }
        if !(1..=MAX_WEIGHT).contains(&spec.weight) {
            let cause = format!("a weight is a number from 1 to {MAX_WEIGHT}");
            return refuse("weight", spec.weight, cause, "remove the agent if it shall get nothing");
        }
        if !self.egress.contains(&spec.interface) && self.egress.len() == MAX_INTERFACES {
            let cause = format!("agents are behind more than {MAX_INTERFACES} interfaces");
            return refuse("interface", &spec.interface, cause, "use fewer interfaces");
        }
        if self.agents.insert(spec.id, (spec.kind, spec.address)).is_some() {
            return refuse("id", spec.id, "another agent has this number", "number each agent once");
        }
        self.egress.insert(spec.interface.clone());
        Ok(())
    }

    fn takers(&self, to: &[FeatureName]) -> Result<(), Refused> {
        for (at, name) in to.iter().enumerate() {
            if to.iter().take(at).any(|earlier| earlier == name) {
                return refuse("to", name, "this feature stands twice", "name it once");
            }
            if !self.enabled.contains(name) {
                let cure = format!("set enabled: true under features, {name}");
                return refuse("to", name, "this feature is not enabled", cure);
            }
        }
        Ok(())
    }
}
