//! Services to run frames under, and the model of what they remember and count.

use std::collections::{BTreeMap, HashMap};

use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::decode::{Address, Reader, SliceReader};
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::rewrite::{SliceWriter, route};
use weir_ebpf_abi::services::{Connection, Encapsulation, ServiceCount, ServiceKey, Wrap};
use weir_ebpf_abi::wrap::{encapsulate, packet_length};
use weir_ebpf_loader::{AgentState, Classifier, HostTables, Service, ServiceAgent, ServiceCounters};

use crate::frames::{HIGHS6, NETS4, PORTS};
use crate::seed::Seed;

/// Up to 24 services with up to 6 agents each.
pub(crate) fn services(seed: &mut Seed) -> Vec<Service> {
    let mut made: BTreeMap<(u64, u64, u64), Service> = BTreeMap::new();
    for _ in 0..seed.below(25) {
        let (version, address) = if seed.chance(60) {
            (4, Address { high: 0, low: u64::from(seed.pick(&NETS4)) | seed.below(8) as u64 })
        } else {
            (6, Address { high: seed.pick(&HIGHS6), low: seed.pick(&[0, 1, 7, u64::MAX, u64::MAX - 3]) })
        };
        let port = if seed.chance(40) { 0 } else { seed.pick(&PORTS) };
        let key = ServiceKey::new(version, address, seed.pick(&[6, 17, 17]), port);
        let agents = (0..seed.below(7) as u32).map(|id| agent(seed, 100 + id)).collect();
        made.insert((key.high, key.low, key.rest), Service { key, wrap: wrap(seed), agents });
    }
    made.into_values().collect()
}

fn wrap(seed: &mut Seed) -> Wrap {
    let encapsulation = seed.pick(&[Encapsulation::None, Encapsulation::IpInIp, Encapsulation::Geneve]);
    let version = if encapsulation == Encapsulation::None { 0 } else { seed.pick(&[4, 6]) };
    let mut source = [0; 16];
    source.copy_from_slice(&seed.bytes(16));
    Wrap { encapsulation: encapsulation as u8, version, source, ..Wrap::default() }
}

fn agent(seed: &mut Seed, id: u32) -> ServiceAgent {
    let mut address = [0; 16];
    address.copy_from_slice(&seed.bytes(16));
    let egress = seed.pick(&[0, 0, 1, 9]);
    // Of the slots only the last leads nowhere.
    let ifindex = if egress == 9 { 0 } else { crate::judge::LOOPBACK };
    let mac = |seed: &mut Seed| -> [u8; 6] { std::array::from_fn(|_| seed.next() as u8) };
    let (mac, source_mac) = (mac(seed), mac(seed));
    ServiceAgent {
        agent: Agent { id, ifindex, address, mac, source_mac, egress, ..Agent::default() },
        weight: seed.pick(&[0, 1, 1, 3, 1_000]),
        state: state(seed),
        mtu: seed.pick(&[1_500, 1_500, 200, u16::MAX]),
    }
}

fn state(seed: &mut Seed) -> AgentState {
    seed.pick(&[AgentState::Up, AgentState::Up, AgentState::Draining, AgentState::Down])
}

/// The same services after some of their agents came, went, or changed.
pub(crate) fn changed(seed: &mut Seed, mut services: Vec<Service>) -> Vec<Service> {
    for service in &mut services {
        service.agents.retain(|_| seed.chance(90));
        service.agents.iter_mut().for_each(|agent| agent.state = state(seed));
        if seed.chance(50) {
            let id = 100 + seed.below(12) as u32;
            if service.agents.iter().all(|agent| agent.agent.id != id) {
                service.agents.push(agent(seed, id));
            }
        }
    }
    services.retain(|_| seed.chance(95));
    services
}

/// What the classifier remembers and counts, counted along.
#[derive(Default)]
pub(crate) struct Model {
    connections: HashMap<u64, Connection>,
    counts: HashMap<ServiceKey, ServiceCounters>,
}

impl Model {
    /// Takes over what stays when `services` come into force, and gives the host its memory.
    pub(crate) fn install(&mut self, services: &[Service], host: &mut HostTables) {
        let ids = |service: &Service| service.agents.iter().map(|agent| agent.agent.id).collect::<Vec<_>>();
        self.counts.retain(|key, _| services.iter().any(|service| service.key == *key));
        for service in services {
            let counts = self.counts.entry(service.key).or_default();
            counts.agents.retain(|(id, _)| ids(service).contains(id));
            for id in ids(service) {
                if counts.agents.iter().all(|(known, _)| *known != id) {
                    counts.agents.push((id, ServiceCount::default()));
                }
            }
        }
        self.connections.iter().for_each(|(flow, connection)| host.remember(*flow, *connection));
    }

    /// Counts a frame to an agent, and remembers the connection.
    pub(crate) fn served(&mut self, key: ServiceKey, bytes: u64, explained: &Explanation, host: &mut HostTables) {
        let agents = &mut self.counts.entry(key).or_default().agents;
        let found = agents.iter_mut().find(|(id, _)| *id == explained.agent);
        found.expect("an agent of the service").1.count(bytes, explained.known != 0);
        if explained.known == 0 {
            let connection = Connection { agent: explained.agent, place: explained.place.into() };
            self.connections.insert(explained.flow, connection);
            host.remember(explained.flow, connection);
        }
    }

    /// Counts a frame that found no agent.
    pub(crate) fn unserved(&mut self, key: ServiceKey, bytes: u64) {
        self.counts.entry(key).or_default().unserved.count(bytes, false);
    }

    /// The kernel counted the same.
    pub(crate) fn check(&mut self, classifier: &Classifier) {
        for (key, counts) in &mut self.counts {
            let mut kernel = classifier.service_counters(key).expect("reads");
            kernel.agents.sort_by_key(|(id, _)| *id);
            counts.agents.sort_by_key(|(id, _)| *id);
            assert_eq!(kernel, *counts, "{key:?}");
        }
    }
}

/// The frame as its agent gets it; `None` where it is too long with the headers in front.
pub(crate) fn sent(frame: &[u8], explained: &Explanation, host: &HostTables) -> Option<Vec<u8>> {
    let table = host.service_table(explained.service).expect("a service we installed");
    let backend = &table.backends[usize::from(explained.place)];
    let overhead = table.wrap.overhead();
    let mut out = vec![0; overhead];
    out.extend(frame);
    if overhead == 0 {
        route(SliceWriter::new(&mut out), &explained.decoded, &backend.agent);
        return Some(out);
    }
    let reader = SliceReader::new(frame, frame.len());
    if packet_length(reader, &explained.decoded) + overhead > usize::from(backend.mtu) {
        return None;
    }
    // What the room in front holds is what the kernel has there, and all of it is written.
    encapsulate(SliceWriter::new(&mut out), &explained.decoded, &table.wrap, &backend.agent, explained.flow);
    assert!(reader.has(14));
    Some(out)
}
