//! Services: a virtual address whose connections are shared among agents.
//!
//! A service is found by its key in a [`ServiceIndex`] that holds no collision, so that a frame to no service costs one
//! look-up. Its [`ServiceTable`] has the agents and, for every [slot](slot_of) of the flow's fingerprint, which of them a
//! new connection gets ([`maglev`](crate::maglev)). A connection that is known keeps its agent, whatever the slots say by
//! now, until that agent is down. Index and tables have two banks, flipped together.

use crate::agents::Agent;
use crate::decode::{Address, Layers, PORTS, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::maglev::SLOTS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Services in force.
pub const MAX_SERVICES: usize = 64;
/// Agents of one service: a slot is one byte.
pub const MAX_BACKENDS: usize = 256;
/// Connections remembered over all services; the one that was silent for longest makes room. 9 MiB of kernel memory.
pub const CONNECTIONS: usize = 131_072;
/// Number of no service.
pub const NO_SERVICE: u8 = 0xff;
/// Positions of the index: with 64 keys one multiplier in seven spreads them without a collision.
pub const POSITIONS: usize = 1024;
/// Multipliers tried before the keys are refused.
const MULTIPLIERS: usize = 1_000;
/// [`count_entry`]'s place for frames that found no agent.
pub const UNSERVED: usize = MAX_BACKENDS;
/// Entries of the map of [`ServiceCount`].
pub const COUNT_ENTRIES: usize = MAX_SERVICES * (MAX_BACKENDS + 1);

/// What frames of a service have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceKey {
    /// Upper half of the virtual address.
    pub high: u64,
    /// Lower half, or the IPv4 address.
    pub low: u64,
    /// IP version, protocol and port (0 for any port).
    pub rest: u64,
}

impl ServiceKey {
    /// The key of a service; `port` 0 stands for any.
    #[inline(always)]
    pub const fn new(version: u8, address: Address, protocol: u8, port: u16) -> ServiceKey {
        let rest = (version as u64) << 32 | (protocol as u64) << 16 | port as u64;
        ServiceKey { high: address.high, low: address.low, rest }
    }

    /// The port, 0 for any.
    pub const fn port(&self) -> u16 {
        self.rest as u16
    }

    #[inline(always)]
    const fn position(&self, multiplier: u64) -> usize {
        let rest = self.rest.wrapping_mul(multiplier.rotate_left(32) | 1);
        let mixed = (self.low ^ self.high.rotate_left(7)).wrapping_add(rest).wrapping_mul(multiplier);
        (mixed >> 54) as usize & (POSITIONS - 1)
    }

    #[inline(always)]
    const fn is(&self, other: &ServiceKey) -> bool {
        (self.high ^ other.high) | (self.low ^ other.low) | (self.rest ^ other.rest) == 0
    }
}

/// From keys to numbers of services, one bank of the index map.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceIndex {
    /// Odd multiplier of the hash.
    pub multiplier: u64,
    /// 1 when a service takes any port, so that a second look-up is worth its price.
    pub any_port: u64,
    /// Keys by number; all zeros where there is no such service.
    pub keys: [ServiceKey; MAX_SERVICES],
    /// Numbers by position, [`NO_SERVICE`] where empty.
    pub numbers: [u8; POSITIONS],
}

impl ServiceIndex {
    /// Fills the index with services by their numbers.
    ///
    /// # Errors
    /// How many there are, when no multiplier spreads their keys or a number is out of range.
    pub fn fill(&mut self, services: &[(u8, ServiceKey)]) -> Result<(), usize> {
        let mut multiplier = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..MULTIPLIERS {
            if self.try_fill(services, multiplier) {
                return Ok(());
            }
            multiplier = multiplier.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x6a09_e667_f3bc_c908) | 1;
        }
        Err(services.len())
    }

    fn try_fill(&mut self, services: &[(u8, ServiceKey)], multiplier: u64) -> bool {
        self.multiplier = multiplier;
        self.any_port = services.iter().any(|(_, key)| key.port() == 0) as u64;
        self.keys.fill(ServiceKey::default());
        self.numbers.fill(NO_SERVICE);
        services.iter().all(|(number, key)| {
            let place = &mut self.numbers[key.position(multiplier)];
            let free = *place == NO_SERVICE;
            *place = *number;
            let Some(known) = self.keys.get_mut(usize::from(*number)) else { return false };
            *known = *key;
            free
        })
    }

    #[inline(always)]
    fn number(&self, key: &ServiceKey) -> Option<u8> {
        let number = self.numbers[key.position(self.multiplier)];
        // An empty position's mask names the last key, which then is another one or all zeros: no frame has that.
        if self.keys[number as usize & (MAX_SERVICES - 1)].is(key) && number != NO_SERVICE {
            Some(number)
        } else {
            None
        }
    }

    /// The service of a frame, and whether it was found by its port.
    #[inline(always)]
    pub fn find(&self, outer: &Layers) -> Option<(u8, bool)> {
        if outer.protocol != PROTOCOL_TCP && outer.protocol != PROTOCOL_UDP {
            return None;
        }
        if outer.flags & PORTS != 0 {
            let key = ServiceKey::new(outer.version, outer.destination, outer.protocol, outer.destination_port);
            if let Some(number) = self.number(&key) {
                return Some((number, key.port() != 0));
            }
        }
        if self.any_port == 0 {
            return None;
        }
        let key = ServiceKey::new(outer.version, outer.destination, outer.protocol, 0);
        self.number(&key).map(|number| (number, false))
    }
}

/// How a frame travels to its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Encapsulation {
    /// As it is, with the agent's link address: agents on the same links.
    #[default]
    None = 0,
    /// An IP header in front (RFC 2003, RFC 2473, RFC 4213).
    IpInIp = 1,
    /// IP, UDP and Geneve headers in front (RFC 8926).
    Geneve = 2,
}

/// What stands around a frame on its way: the same for all agents of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Wrap {
    /// Number of the [`Encapsulation`].
    pub encapsulation: u8,
    /// IP version of the outer header: 4 or 6, 0 without one.
    pub version: u8,
    /// 0.
    pub reserved: [u8; 6],
    /// Source address of the outer header; IPv4 in the first four bytes.
    pub source: [u8; 16],
}

/// No such agent here.
pub const STATE_EMPTY: u8 = 0;
/// The agent gets new connections.
pub const STATE_UP: u8 = 1;
/// The agent keeps the connections that it has.
pub const STATE_DRAINING: u8 = 2;
/// The agent gets nothing.
pub const STATE_DOWN: u8 = 3;

/// One agent of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    /// Where its frames go. With an encapsulation `address` is the outer destination.
    pub agent: Agent,
    /// One of the states above.
    pub state: u8,
    /// 0.
    pub reserved: u8,
    /// Bytes of the longest IP packet that its link takes.
    pub mtu: u16,
}

/// One service: an entry of the service map, of which each bank has [`MAX_SERVICES`].
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceTable {
    /// Agents that are up; 0 where the slots mean nothing.
    pub up: u32,
    /// 0.
    pub reserved: u32,
    /// How frames travel.
    pub wrap: Wrap,
    /// Agents by place. A place belongs to one agent for as long as it is in the service.
    pub backends: [Backend; MAX_BACKENDS],
    /// Places by slot.
    pub slots: [u8; SLOTS],
    /// 0, up to a whole number of words.
    pub padding: [u8; 3],
}

const _: () = assert!(core::mem::size_of::<Backend>() == 44);
const _: () = assert!(core::mem::size_of::<ServiceTable>().is_multiple_of(4));

/// Slot of a flow, below [`SLOTS`]. From the lower half of the fingerprint: the sticky bucket is made of the upper one, and
/// a share of the flows shall not fall to a share of the agents.
#[inline(always)]
pub const fn slot_of(flow: u64) -> u32 {
    (((flow & 0xffff_ffff) * SLOTS as u64) >> 32) as u32
}

/// Who has a connection, by the flow's fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connection {
    /// The agent's id: its place may have another agent by now.
    pub agent: u32,
    /// Its place in the service.
    pub place: u32,
}

impl ServiceTable {
    /// The agent that has this connection, if it still takes its frames. One that drains takes none that `opens`.
    #[inline(always)]
    pub fn keeper(&self, connection: Connection, opens: bool) -> Option<u8> {
        let place = connection.place as usize & (MAX_BACKENDS - 1);
        let backend = &self.backends[place];
        let takes = backend.state == STATE_UP || (backend.state == STATE_DRAINING && !opens);
        if takes && backend.agent.id == connection.agent { Some(place as u8) } else { None }
    }
}

/// Entry of a service's table in its bank.
#[inline(always)]
pub const fn table_entry(bank: u32, number: u8) -> u32 {
    bank * MAX_SERVICES as u32 + number as u32
}

/// What one agent of a service got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceCount {
    /// Frames.
    pub frames: u64,
    /// Their bytes, as they came.
    pub bytes: u64,
    /// The part of `frames` whose connection was known.
    pub known: u64,
}

impl ServiceCount {
    /// Counts one frame of `bytes`.
    #[inline(always)]
    pub fn count(&mut self, bytes: u64, known: bool) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
        self.known = self.known.wrapping_add(known as u64);
    }

    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &ServiceCount) {
        self.frames = self.frames.wrapping_add(other.frames);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.known = self.known.wrapping_add(other.known);
    }
}

/// Entry of the count of `place` ([`UNSERVED`] for frames that found no agent) of service `number`.
#[inline(always)]
pub const fn count_entry(number: u8, place: usize) -> u32 {
    number as u32 * (MAX_BACKENDS as u32 + 1) + place as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;
    use zerocopy::FromZeros;

    fn key(number: u64) -> ServiceKey {
        ServiceKey::new(4, Address { high: 0, low: 0x0a09_0000 + number / 4 }, 6, 80 + (number % 4) as u16)
    }

    fn index() -> Box<ServiceIndex> {
        ServiceIndex::new_box_zeroed().expect("memory")
    }

    fn frame(key: &ServiceKey, port: u16) -> Layers {
        let destination = Address { high: key.high, low: key.low };
        let version = (key.rest >> 32) as u8;
        Layers {
            version,
            destination,
            protocol: (key.rest >> 16) as u8,
            flags: PORTS,
            destination_port: port,
            ..Layers::default()
        }
    }

    #[test]
    fn every_service_is_found_and_nothing_else() {
        let services: Vec<(u8, ServiceKey)> = (0..64).map(|number| (number, key(u64::from(number)))).collect();
        let mut index = index();
        index.fill(&services).expect("64 services fit");
        for (number, key) in &services {
            assert_eq!(index.find(&frame(key, key.port())), Some((*number, true)));
        }
        assert_eq!(index.find(&frame(&key(0), 79)), None);
        assert_eq!(index.find(&frame(&key(64), 80)), None);
        assert_eq!(index.find(&Layers { protocol: 1, ..frame(&key(0), 80) }), None);
        assert_eq!(index.find(&Layers { version: 6, ..frame(&key(0), 80) }), None);
        assert_eq!(index.find(&Layers::default()), None, "the key of all zeros is no service");
    }

    #[test]
    fn any_port_is_asked_after_the_port() {
        let any = ServiceKey::new(6, Address { high: 1, low: 2 }, 17, 0);
        let one = ServiceKey::new(6, Address { high: 1, low: 2 }, 17, 53);
        let mut index = index();
        index.fill(&[(0, any), (9, one)]).expect("two fit");
        assert_eq!(index.find(&frame(&any, 53)), Some((9, true)));
        assert_eq!(index.find(&frame(&any, 54)), Some((0, false)));
        assert_eq!(index.find(&Layers { flags: 0, ..frame(&any, 0) }), Some((0, false)), "a later fragment");
        assert_eq!(index.fill(&[(1, any), (2, any)]), Err(2), "one key twice");
        assert_eq!(index.fill(&[(64, any)]), Err(1), "no such number");
    }

    #[test]
    fn a_connection_stays_with_its_agent_and_no_other() {
        let mut table = ServiceTable::new_box_zeroed().expect("memory");
        table.backends[7].agent.id = 70;
        let mine = Connection { agent: 70, place: 7 };
        for (state, known, opening) in [
            (STATE_EMPTY, None, None),
            (STATE_UP, Some(7), Some(7)),
            (STATE_DRAINING, Some(7), None),
            (STATE_DOWN, None, None),
        ] {
            table.backends[7].state = state;
            assert_eq!((table.keeper(mine, false), table.keeper(mine, true)), (known, opening), "state {state}");
        }
        table.backends[7].state = STATE_UP;
        assert_eq!(table.keeper(Connection { agent: 71, ..mine }, false), None, "the place has another agent");
    }

    #[test]
    fn slots_and_counts_stay_in_their_maps() {
        assert_eq!((slot_of(0), slot_of(u64::MAX)), (0, SLOTS as u32 - 1));
        assert_eq!(count_entry(63, UNSERVED) as usize, COUNT_ENTRIES - 1);
        assert_eq!(table_entry(1, 63) as usize, 2 * MAX_SERVICES - 1);
    }
}
