//! What belongs together in a service.

use std::net::IpAddr;

use super::super::*;
use super::{Judge, Refused, refuse};
use crate::name::AgentId;

impl Judge {
    /// After all agents: a service names them.
    pub(in super::super) fn service(&mut self, spec: &ServiceSpec) -> Result<(), Refused> {
        if self.services.len() == MAX_SERVICES {
            return refuse("name", &spec.name, format!("there are more than {MAX_SERVICES} services"), "remove some");
        }
        if !is_one_host(spec.address) {
            return refuse(
                "address",
                spec.address,
                "this is not one address",
                "give the service an address of its own",
            );
        }
        self.members(spec)?;
        self.wrap(spec)?;
        health(spec)?;
        if !self.virtual_ends.insert((spec.address, spec.protocol, spec.port)) {
            let cause = "another service has this address, protocol and port";
            return refuse("address", spec.address, cause, "choose another port");
        }
        if !self.services.insert(spec.name.clone()) {
            return refuse("name", &spec.name, "another service has this name", "choose a name that no other has");
        }
        Ok(())
    }

    fn members(&self, spec: &ServiceSpec) -> Result<(), Refused> {
        match (spec.agents.is_empty(), spec.kind) {
            (true, None) => {
                let cure = "name its agents, `agents: [7, 8]`, or all of a type, `type: 1`";
                return refuse("name", &spec.name, "this service has no agents", cure);
            }
            (false, Some(kind)) => {
                return refuse("type", kind, "`agents` and `type` cannot stand together", "keep one of the two");
            }
            _ => {}
        }
        for (at, id) in spec.agents.iter().enumerate() {
            if spec.agents.iter().take(at).any(|earlier| earlier == id) {
                return refuse("agents", id, "this agent stands twice", "name it once");
            }
            if !self.agents.contains_key(id) {
                let cause = format!("service {} names an agent that is not there", spec.name);
                return refuse("agents", id, cause, "add it under `agents:`, or take it out of the service");
            }
        }
        let count = self.agents_of(spec).count();
        if count > MAX_SERVICE_AGENTS {
            let cause = format!("a service has at most {MAX_SERVICE_AGENTS} agents");
            return refuse(
                if spec.kind.is_some() { "type" } else { "agents" },
                count,
                cause,
                "make two services of it",
            );
        }
        Ok(())
    }

    fn agents_of<'a>(&'a self, spec: &'a ServiceSpec) -> impl Iterator<Item = (&'a AgentId, &'a (u32, IpAddr))> {
        self.agents
            .iter()
            .filter(|(id, (kind, _))| spec.kind.map_or_else(|| spec.agents.contains(id), |wanted| *kind == wanted))
    }

    fn wrap(&self, spec: &ServiceSpec) -> Result<(), Refused> {
        let source = match (spec.encapsulation, spec.source) {
            (Encapsulation::None, None) => return Ok(()),
            (Encapsulation::None, Some(source)) => {
                return refuse("source", source, "without an encapsulation no outer header has a source", "remove it");
            }
            (how, None) => {
                let cure = "add `source:` with an address of this host";
                return refuse("encapsulation", how, "its outer header needs a source address", cure);
            }
            (_, Some(source)) => source,
        };
        if !is_one_host(source) {
            return refuse("source", source, "this is not the address of one host", "give an address of this host");
        }
        match self.agents_of(spec).find(|(_, (_, address))| address.is_ipv4() != source.is_ipv4()) {
            Some((id, (_, address))) => {
                let cause = format!("agent {id} is at {address}, of another IP version");
                refuse("source", source, cause, "give a source of the version of the agents' addresses")
            }
            None => Ok(()),
        }
    }
}

fn is_one_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn health(spec: &ServiceSpec) -> Result<(), Refused> {
    let HealthSpec { check, port, ref ask, ref answer, every_ms, timeout_ms, rise, fall } = spec.health;
    match (check, ask, answer) {
        (Check::Udp, None, _) => {
            let cause = "a UDP check has to send something that an agent answers";
            return refuse(
                "health",
                check,
                cause,
                "add `ask:` under `health:`, as text or as `0x` with hexadecimal digits",
            );
        }
        (Check::Udp, Some(_), _) | (_, None, None) => {}
        (_, ask, answer) => {
            let cause = format!("a check of kind {check} asks nothing and reads no answer");
            let value = ask.as_ref().or(answer.as_ref()).map(ToString::to_string).unwrap_or_default();
            return refuse("health", value, cause, "remove `ask:` and `answer:`, or write `check: udp`");
        }
    }
    if check != Check::None && port.or(spec.port).is_none() {
        let cause = "a service of any port does not say which port to check";
        return refuse("health", check, cause, "add `port:` under `health:`");
    }
    if !CHECK_EVERY_MS.contains(&every_ms) {
        let (least, most) = (CHECK_EVERY_MS.start(), CHECK_EVERY_MS.end());
        let cause = format!("`every_ms` is {least} to {most}");
        return refuse("health", every_ms, cause, format!("write {}", every_ms.clamp(*least, *most)));
    }
    if !(10..=every_ms).contains(&timeout_ms) {
        let cause = "`timeout_ms` is at least 10 and at most `every_ms`";
        return refuse("health", timeout_ms, cause, format!("write {}", timeout_ms.clamp(10, every_ms)));
    }
    for (key, count) in [("rise", rise), ("fall", fall)] {
        if !CHECK_ROW.contains(&count) {
            let cause = format!("`{key}` is {} to {}", CHECK_ROW.start(), CHECK_ROW.end());
            return refuse("health", count, cause, "write 2");
        }
    }
    Ok(())
}
