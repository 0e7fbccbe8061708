//! Services in the classifier: numbers and places that stay, tables built and flipped, counters read.

use aya::maps::{HashMap, PerCpuArray, PerCpuValues};
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::control::{HAS_SERVICES, SERVICE_BANK};
use weir_ebpf_abi::layout;
use weir_ebpf_abi::maglev::{self, Member};
use weir_ebpf_abi::services::{
    Backend, Connection, MAX_BACKENDS, MAX_SERVICES, STATE_DOWN, STATE_DRAINING, STATE_EMPTY, STATE_UP, ServiceCount,
    ServiceIndex, ServiceKey, ServiceTable, UNSERVED, Wrap, count_entry, table_entry,
};

use crate::classifier::{Classifier, cpus};
use crate::error::LoadError;
use crate::grace;
use crate::tables::zeroed;
use crate::values::{bad_map, map_mut, per_cpu, read, refused, write};

/// Whether an agent of a service gets frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// New connections and its own.
    Up,
    /// Only the connections that it has.
    Draining,
    /// None.
    Down,
}

/// An agent of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceAgent {
    /// Where its frames go; `ifindex` must be set where it can be reached.
    pub agent: Agent,
    /// Its weight among the agents that are up; 0 for no new connections.
    pub weight: u32,
    /// Whether it gets frames.
    pub state: AgentState,
    /// Bytes of the longest IP packet that its link takes.
    pub mtu: u16,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Virtual address, protocol and port.
    pub key: ServiceKey,
    /// How frames travel to its agents.
    pub wrap: Wrap,
    /// Its agents, at most 256, each id once.
    pub agents: Vec<ServiceAgent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    key: ServiceKey,
    number: u8,
    /// Agents' ids by place.
    ids: Vec<Option<u32>>,
}

/// Which number each service has and which place each of its agents. Both stay for as long as service and agent do:
/// connections and counters name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement(Vec<Placed>);

impl Placement {
    /// No service.
    pub(crate) const NONE: Placement = Placement(Vec::new());

    /// The service with this number.
    pub fn key(&self, number: u8) -> Option<ServiceKey> {
        self.0.iter().find(|placed| placed.number == number).map(|placed| placed.key)
    }

    fn of(&self, key: &ServiceKey) -> Option<&Placed> {
        self.0.iter().find(|placed| placed.key == *key)
    }

    /// Numbers and places for `services`, those known already first.
    fn next(&self, services: &[Service]) -> Placement {
        let kept =
            |number: &u8| services.iter().any(|service| self.of(&service.key).is_some_and(|at| at.number == *number));
        let mut free = (0..MAX_SERVICES as u8).filter(|number| !kept(number));
        let place = |service: &Service| {
            let known = self.of(&service.key);
            let number = known.map(|known| known.number).or_else(|| free.next()).unwrap_or_default();
            let former = known.map(|known| known.ids.as_slice()).unwrap_or_default();
            Placed { key: service.key, number, ids: places(former, &service.agents) }
        };
        Placement(services.iter().map(place).collect())
    }
}

/// Agents' ids by place: those that have one keep it, new ones take the first that are free.
fn places(former: &[Option<u32>], agents: &[ServiceAgent]) -> Vec<Option<u32>> {
    let wanted = |id: u32| agents.iter().any(|agent| agent.agent.id == id);
    let mut ids: Vec<Option<u32>> = former.iter().map(|id| id.filter(|id| wanted(*id))).collect();
    for agent in agents {
        if ids.contains(&Some(agent.agent.id)) {
            continue;
        }
        match ids.iter_mut().find(|id| id.is_none()) {
            Some(free) => *free = Some(agent.agent.id),
            None => ids.push(Some(agent.agent.id)),
        }
    }
    while ids.last() == Some(&None) {
        ids.pop();
    }
    ids
}

/// All that is written for some services.
pub(crate) struct Built {
    pub(crate) placement: Placement,
    pub(crate) index: Box<ServiceIndex>,
    /// Tables by number.
    pub(crate) tables: Vec<(u8, Box<ServiceTable>)>,
}

/// Builds index and tables for `services`, whose predecessors were placed as `former` says.
///
/// # Errors
/// [`LoadError::TooMany`] services or agents; [`LoadError::Value`] for a service or an agent that stands twice.
pub(crate) fn build(former: &Placement, services: &[Service]) -> Result<Built, LoadError> {
    if services.len() > MAX_SERVICES {
        return Err(LoadError::TooMany { what: "services", found: services.len(), limit: MAX_SERVICES });
    }
    for service in services {
        let mut ids: Vec<u32> = service.agents.iter().map(|agent| agent.agent.id).collect();
        if ids.len() > MAX_BACKENDS {
            return Err(LoadError::TooMany { what: "agents of a service", found: ids.len(), limit: MAX_BACKENDS });
        }
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let cause = "it stands twice in a service; name it once";
            return Err(LoadError::Value { what: "agent", value: twice[0].to_string(), cause });
        }
    }
    let placement = former.next(services);
    let mut index = zeroed::<ServiceIndex>("service indexes")?;
    let keys: Vec<(u8, ServiceKey)> = placement.0.iter().map(|placed| (placed.number, placed.key)).collect();
    index.fill(&keys).map_err(|found| LoadError::Value {
        what: "services",
        value: found.to_string(),
        cause: "two of them have the same address, protocol and port; remove one",
    })?;
    let both = placement.0.iter().zip(services);
    let tables =
        both.map(|(placed, service)| Ok((placed.number, table(placed, service)?))).collect::<Result<_, LoadError>>()?;
    Ok(Built { placement, index, tables })
}

fn table(placed: &Placed, service: &Service) -> Result<Box<ServiceTable>, LoadError> {
    let mut table = zeroed::<ServiceTable>("service tables")?;
    table.wrap = service.wrap;
    let mut members = Vec::new();
    for (place, id) in placed.ids.iter().enumerate() {
        let Some(found) = service.agents.iter().find(|agent| Some(agent.agent.id) == *id) else { continue };
        let state = match found.state {
            AgentState::Up => STATE_UP,
            AgentState::Draining => STATE_DRAINING,
            AgentState::Down => STATE_DOWN,
        };
        let Some(backend) = table.backends.get_mut(place) else { continue };
        *backend = Backend { agent: found.agent, state, reserved: 0, mtu: found.mtu };
        if found.state == AgentState::Up && found.weight > 0 {
            members.push(Member { id: found.agent.id, weight: found.weight, place: place as u8 }); // below MAX_BACKENDS
        }
    }
    // The order of turns must not depend on who came first.
    members.sort_unstable_by_key(|member| member.id);
    if maglev::fill(&mut table.slots, &members) {
        table.up = members.len() as u32;
    }
    Ok(table)
}

/// What a service got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounters {
    /// By agent's id.
    pub agents: Vec<(u32, ServiceCount)>,
    /// Frames that found no agent up.
    pub unserved: ServiceCount,
}

impl Classifier {
    /// Puts `services` in force: frames to them go to one of their agents. The change is one flip between two banks; no
    /// frame sees a mixture, and connections stay with their agents as long as these are up or draining. Agents' egress
    /// slots are those of [`Classifier::install_agents`].
    ///
    /// # Errors
    /// [`LoadError::TooMany`] over 64 services or 256 agents of one, [`LoadError::Value`] for one that stands twice,
    /// [`LoadError::Map`] when the kernel refuses; what was in force stays.
    pub fn install_services(&mut self, services: &[Service]) -> Result<(), LoadError> {
        let none = services.is_empty() && self.control.services & HAS_SERVICES == 0;
        if none || self.services.as_deref() == Some(services) {
            return Ok(());
        }
        let built = build(&self.placement, services)?;
        self.services = None;
        let idle = 1 - self.control.service_bank();
        let mut ebpf = self.lock();
        write::<ServiceIndex>(&mut ebpf, layout::MAP_SERVICE_INDEX, idle, &built.index)?;
        for (number, table) in &built.tables {
            write::<ServiceTable>(&mut ebpf, layout::MAP_SERVICES, table_entry(idle, *number), table)?;
        }
        drop(ebpf);
        let has = if services.is_empty() { 0 } else { HAS_SERVICES };
        self.control.services = has | (idle as u8 * SERVICE_BANK);
        self.write_control()?;
        // From here on nobody counts for who is gone or reads the former bank, so that it may be written again.
        grace::wait();
        let former = std::mem::replace(&mut self.placement, built.placement);
        self.clear_service_counters(&former)?;
        self.services = Some(services.to_vec());
        Ok(())
    }

    /// Numbers and places in force, for the host's copy of the decision.
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What the service with this key got since it is in force.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn service_counters(&self, key: &ServiceKey) -> Result<ServiceCounters, LoadError> {
        let mut counters = ServiceCounters::default();
        let Some(placed) = self.placement.of(key) else { return Ok(counters) };
        counters.unserved = self.service_count(placed.number, UNSERVED)?;
        for (place, id) in placed.ids.iter().enumerate() {
            if let Some(id) = id {
                counters.agents.push((*id, self.service_count(placed.number, place)?));
            }
        }
        Ok(counters)
    }

    fn service_count(&self, number: u8, place: usize) -> Result<ServiceCount, LoadError> {
        let parts = per_cpu::<ServiceCount>(&self.lock(), layout::MAP_SERVICE_COUNTS, count_entry(number, place))?;
        Ok(parts.iter().fold(ServiceCount::default(), |mut sum, part| {
            sum.add(part);
            sum
        }))
    }

    /// The connection with this fingerprint.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn connection(&self, flow: u64) -> Result<Option<Connection>, LoadError> {
        let mut ebpf = self.lock();
        let bytes = match connections(&mut ebpf)?.get(&flow, 0) {
            Ok(bytes) => bytes,
            Err(aya::maps::MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(refused(layout::MAP_CONNECTIONS, 0, &error)),
        };
        Ok(Some(zerocopy::transmute!(bytes)))
    }

    /// Forgets all connections: every flow is a new one. For measurements and tests.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn forget_connections(&self) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let mut map = connections(&mut ebpf)?;
        let flows: Vec<u64> = map.keys().filter_map(Result::ok).collect();
        for flow in flows {
            match map.remove(&flow) {
                Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
                Err(aya::maps::MapError::SyscallError(error))
                    if error.io_error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused(layout::MAP_CONNECTIONS, 0, &error)),
            }
        }
        Ok(())
    }

    /// What a classifier before this one had placed, read from the maps that were taken over.
    pub(crate) fn recover_placement(&mut self) -> Result<(), LoadError> {
        if self.control.services & HAS_SERVICES == 0 {
            return Ok(());
        }
        let bank = self.control.service_bank();
        let ebpf = self.lock();
        let index: ServiceIndex = read(&ebpf, layout::MAP_SERVICE_INDEX, bank)?;
        let mut placed = Vec::new();
        for (number, key) in (0..).zip(index.keys).filter(|(_, key)| *key != ServiceKey::default()) {
            let table: ServiceTable = read(&ebpf, layout::MAP_SERVICES, table_entry(bank, number))?;
            let id = |backend: &Backend| (backend.state != STATE_EMPTY).then_some(backend.agent.id);
            placed.push(Placed { key, number, ids: table.backends.iter().map(id).collect() });
        }
        drop(ebpf);
        self.placement = Placement(placed);
        Ok(())
    }

    /// Zeroes the counts of numbers and places that were someone's before and are so no more.
    fn clear_service_counters(&self, former: &Placement) -> Result<(), LoadError> {
        for placed in &former.0 {
            let stays = self.placement.0.iter().find(|next| next.number == placed.number && next.key == placed.key);
            for (place, id) in placed.ids.iter().enumerate().filter(|(_, id)| id.is_some()) {
                if stays.is_none_or(|next| next.ids.get(place) != Some(id)) {
                    self.clear_service_count(placed.number, place)?;
                }
            }
            if stays.is_none() {
                self.clear_service_count(placed.number, UNSERVED)?;
            }
        }
        Ok(())
    }

    fn clear_service_count(&self, number: u8, place: usize) -> Result<(), LoadError> {
        let entry = count_entry(number, place);
        let mut ebpf = self.lock();
        let map = map_mut(&mut ebpf, layout::MAP_SERVICE_COUNTS)?;
        let mut counts: PerCpuArray<_, [u8; size_of::<ServiceCount>()]> =
            PerCpuArray::try_from(map).map_err(|error| bad_map(layout::MAP_SERVICE_COUNTS, &error))?;
        let zeros = PerCpuValues::try_from(vec![[0; size_of::<ServiceCount>()]; cpus(layout::MAP_SERVICE_COUNTS)?])
            .map_err(|error| refused(layout::MAP_SERVICE_COUNTS, entry, &error))?;
        counts.set(entry, zeros, 0).map_err(|error| refused(layout::MAP_SERVICE_COUNTS, entry, &error))
    }
}

type Connections<'a> = HashMap<&'a mut aya::maps::MapData, u64, [u8; size_of::<Connection>()]>;

fn connections(ebpf: &mut aya::Ebpf) -> Result<Connections<'_>, LoadError> {
    HashMap::try_from(map_mut(ebpf, layout::MAP_CONNECTIONS)?).map_err(|error| bad_map(layout::MAP_CONNECTIONS, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf_abi::decode::Address;

    fn service(port: u16, ids: &[u32]) -> Service {
        let agent = |id: &u32| ServiceAgent {
            agent: Agent { id: *id, ifindex: 1, ..Agent::default() },
            weight: 1,
            state: AgentState::Up,
            mtu: 1500,
        };
        let key = ServiceKey::new(4, Address { high: 0, low: 9 }, 6, port);
        Service { key, wrap: Wrap::default(), agents: ids.iter().map(agent).collect() }
    }

    #[test]
    fn numbers_and_places_stay_when_others_come_and_go() {
        let first = Placement::default().next(&[service(1, &[10, 11, 12]), service(2, &[5])]);
        let next = first.next(&[service(3, &[5]), service(2, &[6, 5]), service(1, &[12, 13, 10, 14])]);
        let shown: Vec<_> =
            next.0.iter().map(|placed| (placed.key.port(), placed.number, placed.ids.clone())).collect();
        let some = |ids: &[u32]| ids.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(shown, [(3, 2, some(&[5])), (2, 1, some(&[5, 6])), (1, 0, some(&[10, 13, 12, 14]))]);
        assert_eq!(next.next(&[service(1, &[10])]).0[0].ids, some(&[10]), "no tail of empty places");
    }

    #[test]
    fn only_agents_that_are_up_have_slots() {
        let mut web = service(1, &[10, 11, 12]);
        web.agents[0].state = AgentState::Draining;
        web.agents[1].state = AgentState::Down;
        let built = build(&Placement::default(), std::slice::from_ref(&web)).expect("a good service");
        let table = &built.tables[0].1;
        assert_eq!((table.up, table.slots.iter().all(|place| *place == 2)), (1, true));
        assert_eq!(
            [0, 1, 2, 3].map(|place| table.backends[place].state),
            [STATE_DRAINING, STATE_DOWN, STATE_UP, STATE_EMPTY]
        );
        web.agents[2].weight = 0;
        assert_eq!(build(&Placement::default(), &[web]).expect("a good service").tables[0].1.up, 0);
    }

    #[test]
    fn too_much_and_twice_is_refused() {
        let refused =
            |services: &[Service]| build(&Placement::default(), services).err().map(|error| error.to_string());
        let many: Vec<Service> = (1..=65).map(|port| service(port, &[1])).collect();
        assert!(refused(&many).is_some_and(|text| text.starts_with("65 services")));
        let ids: Vec<u32> = (1..=257).collect();
        assert!(refused(&[service(1, &ids)]).is_some_and(|text| text.starts_with("257 agents of a service")));
        assert!(refused(&[service(1, &[7, 8, 7])]).is_some_and(|text| text.starts_with("agent 7")));
        assert!(refused(&[service(1, &[7]), service(1, &[8])]).is_some());
        assert!(refused(&many[..64]).is_none());
    }
}
