//! Services: from the configuration and what is known of the agents' health to the classifier's tables, and their status.

use anyhow::Result;
use weir_appliance_control::config::{AgentSpec, Config, ServiceSpec};
use weir_appliance_control::message::{ServiceAgentState, ServiceAgentStatus, ServiceStatus};
use weir_appliance_control::problem::Problem;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::services::{ServiceCount, ServiceKey, Wrap};
use weir_ebpf_loader::{AgentState, Service, ServiceAgent};

use super::health::Health;
use super::setup::Port;
use super::{Dataplane, lock, steering};

/// The services of `config`, with their agents as `health` has them.
///
/// # Errors
/// An agent behind an interface that does not take part.
pub(super) fn services(config: &Config, ports: &[Port], health: &Health) -> Result<Vec<Service>, Problem> {
    let agent = |service: &ServiceSpec, spec: &AgentSpec| {
        let port = ports.iter().find(|port| port.spec.name == spec.interface);
        let mtu = port.map_or(0, |port| port.link.mtu);
        Ok(member(spec, steering::agent(spec, ports)?, state(service, spec, health), mtu))
    };
    let service = |spec: &ServiceSpec| {
        let agents = config.agents_of(spec).map(|member| agent(spec, member)).collect::<Result<_, Problem>>()?;
        Ok(Service { key: spec.into(), wrap: Wrap::from(spec), agents })
    };
    config.services().iter().map(service).collect()
}

/// The services of `config` for who explains a capture on a host that may have none of their agents: all are healthy and
/// every link takes the longest packet.
pub(crate) fn offline(config: &Config) -> Vec<Service> {
    let health = Health::default();
    let made = steering::offline_agents(config);
    let find = |spec: &AgentSpec| made.iter().find(|agent| agent.id == spec.id.get()).copied().unwrap_or_default();
    let agents = |spec: &ServiceSpec| {
        config.agents_of(spec).map(|agent| member(agent, find(agent), state(spec, agent, &health), u32::MAX)).collect()
    };
    config
        .services()
        .iter()
        .map(|spec| Service { key: spec.into(), wrap: Wrap::from(spec), agents: agents(spec) })
        .collect()
}

fn member(spec: &AgentSpec, agent: Agent, state: AgentState, mtu: u32) -> ServiceAgent {
    // No IP packet is longer than what the field holds.
    ServiceAgent { agent, weight: spec.weight, state, mtu: mtu.min(u16::MAX.into()) as u16 }
}

fn state(service: &ServiceSpec, agent: &AgentSpec, health: &Health) -> AgentState {
    match (health.is_up(service, agent), agent.draining) {
        (false, _) => AgentState::Down,
        (true, true) => AgentState::Draining,
        (true, false) => AgentState::Up,
    }
}

/// The services with their agents and counters.
///
/// # Errors
/// When the kernel does not give a counter.
pub(super) fn status(dataplane: &Dataplane) -> Result<Vec<ServiceStatus>> {
    let config = lock(&dataplane.config).clone();
    config.services().iter().map(|spec| one(dataplane, &config, spec)).collect()
}

fn one(dataplane: &Dataplane, config: &Config, spec: &ServiceSpec) -> Result<ServiceStatus> {
    let counters = lock(&dataplane.classifier).service_counters(&ServiceKey::from(spec))?;
    let count = |agent: &AgentSpec| {
        let found = counters.agents.iter().find(|(id, _)| *id == agent.id.get());
        found.map_or_else(ServiceCount::default, |(_, count)| *count)
    };
    let is_up = |agent: &AgentSpec| state(spec, agent, &dataplane.health) == AgentState::Up;
    let all: u32 = config.agents_of(spec).filter(|agent| is_up(agent)).map(|agent| agent.weight).sum();
    let agent = |agent: &AgentSpec| {
        let (state, count) = (state(spec, agent, &dataplane.health), count(agent));
        let due = if state == AgentState::Up { agent.weight } else { 0 };
        ServiceAgentStatus {
            id: agent.id,
            state: match state {
                AgentState::Up => ServiceAgentState::Up,
                AgentState::Draining => ServiceAgentState::Draining,
                AgentState::Down => ServiceAgentState::Down,
            },
            weight: agent.weight,
            share: 100.0 * f64::from(due) / f64::from(all.max(1)),
            frames: count.frames,
            bytes: count.bytes,
            known: count.known,
            health: dataplane.health.last(spec, agent),
        }
    };
    let agents: Vec<ServiceAgentStatus> = config.agents_of(spec).map(agent).collect();
    let known = agents.iter().map(|agent| agent.known).sum();
    let frames: u64 = agents.iter().map(|agent| agent.frames).sum();
    Ok(ServiceStatus {
        name: spec.name.clone(),
        address: spec.address,
        protocol: spec.protocol,
        port: spec.port,
        encapsulation: spec.encapsulation,
        picks: frames.saturating_sub(known),
        known,
        unserved: counters.unserved.frames,
        agents,
    })
}
