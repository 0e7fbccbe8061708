//! Agents: where a message goes when it is forwarded inside the kernel.
//!
//! The table is one map value: buckets of four ids hashed with a multiplier that the loader chooses so that no
//! bucket overflows. A look-up reads one bucket and one entry.

use crate::layout::MAX_AGENTS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Buckets of the table, each with [`BUCKET_WAYS`] ids.
pub const AGENT_BUCKETS: usize = 8192;
/// Ids in a bucket.
pub const BUCKET_WAYS: usize = 4;
/// Multipliers tried; 4,096 random ids fit under about one in four.
const MULTIPLIERS: usize = 1_000;
/// Entry number of an empty place.
pub const NO_AGENT: u16 = 0xffff;

/// Where messages for one agent go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Agent {
    /// `dest_agent_id` of its messages.
    pub id: u32,
    /// Interface behind `egress`; a message that came in there leaves by XDP_TX.
    pub ifindex: u32,
    /// IPv4 in the first four bytes, or IPv6.
    pub address: [u8; 16],
    /// New destination MAC: the agent's, or its gateway's.
    pub mac: [u8; 6],
    /// New source MAC: the egress interface's.
    pub source_mac: [u8; 6],
    /// 4 or 6.
    pub version: u8,
    /// Slot in the egress device map.
    pub egress: u8,
    /// 0.
    pub reserved: [u8; 2],
}

/// One bucket: four ids and the numbers of their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AgentBucket {
    /// Agent ids.
    pub ids: [u32; BUCKET_WAYS],
    /// Index into [`AgentTable::entries`], [`NO_AGENT`] where empty.
    pub entries: [u16; BUCKET_WAYS],
}

/// The table, one bank of the agent map.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AgentTable {
    /// Odd multiplier of the hash.
    pub multiplier: u32,
    /// Entries in use.
    pub count: u32,
    /// Buckets by `(id * multiplier) >> 19`.
    pub buckets: [AgentBucket; AGENT_BUCKETS],
    /// The agents.
    pub entries: [Agent; MAX_AGENTS],
}

const _: () = assert!(core::mem::size_of::<Agent>() == 40);

impl AgentTable {
    /// Bucket of an id under a multiplier.
    #[inline(always)]
    pub const fn bucket_of(id: u32, multiplier: u32) -> usize {
        (id.wrapping_mul(multiplier) >> 19) as usize & (AGENT_BUCKETS - 1)
    }

    /// The agent with this id.
    #[inline(always)]
    pub fn find(&self, id: u32) -> Option<&Agent> {
        let bucket = &self.buckets[Self::bucket_of(id, self.multiplier)];
        let entry = if bucket.ids[0] == id && bucket.entries[0] != NO_AGENT {
            bucket.entries[0]
        } else if bucket.ids[1] == id && bucket.entries[1] != NO_AGENT {
            bucket.entries[1]
        } else if bucket.ids[2] == id && bucket.entries[2] != NO_AGENT {
            bucket.entries[2]
        } else if bucket.ids[3] == id && bucket.entries[3] != NO_AGENT {
            bucket.entries[3]
        } else {
            return None;
        };
        // The mask is for the verifier: entries never name more than MAX_AGENTS.
        Some(&self.entries[entry as usize & (MAX_AGENTS - 1)])
    }

    /// Fills an empty (all zeros) table with `agents`; an id that comes twice keeps its last entry.
    ///
    /// # Errors
    /// The number of agents when more than [`MAX_AGENTS`] are distinct, or when no multiplier spreads their ids.
    pub fn fill(&mut self, agents: &[Agent]) -> Result<(), usize> {
        // Multipliers of a fixed sequence, so that the same agents always make the same table.
        let mut multiplier = 0x9e37_79b1u32;
        for _ in 0..MULTIPLIERS {
            match self.try_fill(agents, multiplier) {
                Fill::Done => return Ok(()),
                Fill::TooMany => break,
                Fill::Overflow => multiplier = multiplier.wrapping_mul(0x915f_77f5).wrapping_add(0x6a09_e668) | 1,
            }
        }
        Err(agents.len())
    }

    fn try_fill(&mut self, agents: &[Agent], multiplier: u32) -> Fill {
        self.multiplier = multiplier;
        self.count = 0;
        self.buckets.fill(AgentBucket { ids: [0; BUCKET_WAYS], entries: [NO_AGENT; BUCKET_WAYS] });
        for agent in agents {
            let bucket = &mut self.buckets[Self::bucket_of(agent.id, multiplier)];
            let known = (0..BUCKET_WAYS).find(|&way| bucket.entries[way] != NO_AGENT && bucket.ids[way] == agent.id);
            if let Some(way) = known {
                self.entries[usize::from(bucket.entries[way])] = *agent;
                continue;
            }
            let Some(way) = bucket.entries.iter().position(|&entry| entry == NO_AGENT) else {
                return Fill::Overflow;
            };
            let Some(place) = self.entries.get_mut(self.count as usize) else { return Fill::TooMany };
            *place = *agent;
            bucket.ids[way] = agent.id;
            bucket.entries[way] = self.count as u16;
            self.count += 1;
        }
        Fill::Done
    }
}

enum Fill {
    Done,
    Overflow,
    TooMany,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn table() -> std::boxed::Box<AgentTable> {
        zerocopy::FromZeros::new_box_zeroed().expect("memory")
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let spread = |n: u32| n.wrapping_mul(0x0101_6b2d) ^ 0x5555;
        for ids in
            [(0..4096).collect::<Vec<u32>>(), (0..4096).map(spread).collect(), (0..4096).map(|n| n << 20).collect()]
        {
            let agents: Vec<Agent> = ids.iter().map(|&id| Agent { id, egress: id as u8, ..Agent::default() }).collect();
            let mut table = table();
            table.fill(&agents).expect("4096 agents fit");
            for agent in &agents {
                assert_eq!(table.find(agent.id).map(|found| found.id), Some(agent.id));
            }
            assert_eq!(table.find(0xdead_beef), None);
        }
    }

    #[test]
    fn one_too_many_is_refused_and_a_repeated_id_keeps_its_last_entry() {
        let many: Vec<Agent> = (0..4097).map(|id| Agent { id, ..Agent::default() }).collect();
        assert_eq!(table().fill(&many), Err(4097));
        let mut table = table();
        table
            .fill(&[Agent { id: 0, egress: 1, ..Agent::default() }, Agent { id: 0, egress: 2, ..Agent::default() }])
            .expect("two");
        assert_eq!(table.find(0).map(|agent| agent.egress), Some(2));
        assert_eq!(table.count, 1);
    }
}
