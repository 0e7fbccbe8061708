//! Maglev hashing: a table that gives each agent its share of the slots and moves few of them when an agent comes or goes.
//!
//! Filled as in section 3.4 of "Maglev: A Fast and Reliable Software Network Load Balancer" (Eisenbud et al., NSDI 2016):
//! each agent has a permutation of the slots that depends on nothing but its id, and the agents take turns in taking the
//! next free slot of theirs. Weights alter how often an agent has its turn, as the paper suggests: it saves its weight up,
//! and pays the greatest weight for a turn.

use crate::services::MAX_BACKENDS;

/// Slots of a table; a prime, so that every step below it walks through all slots.
///
/// The paper asks for a hundred slots an agent at least, so that shares are within 1 % of the weights. Agents get their share
/// of the slots to within one, so 100 agents of equal weight have 655 slots each and are off by 0.15 % at most: what then
/// remains of 1 % is left to chance, which over 10^6 flows and ten agents takes 0.3 % (one standard deviation). The paper's
/// own small size, and 64 KiB: half of it would not fit the first-level cache either.
pub const SLOTS: usize = 65_537;

/// An agent that gets new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The agent's id, which alone decides on its permutation.
    pub id: u32,
    /// Its weight; 0 for none.
    pub weight: u32,
    /// What is written into its slots.
    pub place: u8,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    next: u32,
    skip: u32,
    saved: u64,
}

/// Fills all slots with the places of `members`, of which the first [`MAX_BACKENDS`] count. The same members in the same
/// order always make the same table; sort them by id. False, and nothing is written, where nobody has a weight.
pub fn fill(slots: &mut [u8; SLOTS], members: &[Member]) -> bool {
    let members = members.get(..MAX_BACKENDS).unwrap_or(members);
    let price = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(0);
    if price == 0 {
        return false;
    }
    let mut turns = [Turn::default(); MAX_BACKENDS];
    for (turn, member) in turns.iter_mut().zip(members) {
        let (offset, step) = (mixed(u64::from(member.id)), mixed(u64::from(member.id) | 1 << 32));
        *turn = Turn {
            next: (offset % SLOTS as u64) as u32,
            skip: (step % (SLOTS as u64 - 1)) as u32 + 1,
            // Half a turn ahead: shares are rounded to the nearest slot and not down.
            saved: price / 2,
        };
    }
    let mut taken = [0u64; SLOTS.div_ceil(64)];
    let mut left = SLOTS;
    loop {
        for (turn, member) in turns.iter_mut().zip(members) {
            turn.saved += u64::from(member.weight);
            if turn.saved < price {
                continue;
            }
            turn.saved -= price;
            // There is a free slot, and the walk meets every slot.
            while taken[turn.next as usize / 64] >> (turn.next % 64) & 1 != 0 {
                turn.next = after(turn);
            }
            taken[turn.next as usize / 64] |= 1 << (turn.next % 64);
            slots[turn.next as usize] = member.place;
            turn.next = after(turn);
            left -= 1;
            if left == 0 {
                return true;
            }
        }
    }
}

fn after(turn: &Turn) -> u32 {
    let next = turn.next + turn.skip;
    if next >= SLOTS as u32 { next - SLOTS as u32 } else { next }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): numbers in a row give numbers without a pattern.
#[inline(always)]
pub const fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::services::slot_of;
    use std::boxed::Box;
    use std::vec::Vec;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member =
            |(place, weight): (usize, &u32)| Member { id: 100 + place as u32, weight: *weight, place: place as u8 };
        weights.iter().enumerate().map(member).collect()
    }

    fn table(members: &[Member]) -> Box<[u8; SLOTS]> {
        let mut slots = Box::new([0xee; SLOTS]);
        assert!(fill(&mut slots, members));
        slots
    }

    fn held(slots: &[u8; SLOTS], place: u8) -> usize {
        slots.iter().filter(|slot| **slot == place).count()
    }

    /// Flows as the fingerprint makes them: numbers without a pattern.
    fn flows(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|number| mixed(number ^ 0x5745_4952))
    }

    #[test]
    fn slots_are_prime() {
        assert!((2..SLOTS).take_while(|factor| factor * factor <= SLOTS).all(|factor| !SLOTS.is_multiple_of(factor)));
    }

    #[test]
    fn everyone_has_the_slots_of_its_weight() {
        for weights in [&[1u32; 1][..], &[1; 3], &[1; 100], &[1; 256], &[1, 2, 3, 4], &[1000, 1], &[999, 1000, 7, 30]] {
            let members = members(weights);
            let slots = table(&members);
            let sum: u32 = weights.iter().sum();
            for member in &members {
                let due = SLOTS as f64 * f64::from(member.weight) / f64::from(sum);
                let has = held(&slots, member.place) as f64;
                assert!((has - due).abs() <= 1.5, "{} of {sum}: {has} slots for {due}", member.weight);
            }
        }
    }

    #[test]
    fn a_million_flows_are_shared_by_weight() {
        for weights in [&[1u32; 4][..], &[3, 2, 1], &[1; 10], &[5, 5, 10]] {
            let members = members(weights);
            let slots = table(&members);
            let mut got = [0u64; 256];
            flows(1_000_000).for_each(|flow| got[usize::from(slots[slot_of(flow) as usize])] += 1);
            let sum: u32 = weights.iter().sum();
            for member in &members {
                let due = 1e6 * f64::from(member.weight) / f64::from(sum);
                let off = got[usize::from(member.place)] as f64 / due - 1.0;
                assert!(off.abs() <= 0.01, "weight {} of {sum} is off by {:.2} %", member.weight, off * 100.0);
            }
        }
    }

    #[test]
    fn who_stays_keeps_nearly_all_of_its_slots() {
        for count in [3usize, 10, 30] {
            let all = members(&std::vec![1; count]);
            let before = table(&all);
            let gone = all[count / 2];
            let rest: Vec<Member> = all.iter().copied().filter(|member| *member != gone).collect();
            let after = table(&rest);
            assert_eq!(held(&after, gone.place), 0);
            let moved = before.iter().zip(after.iter()).filter(|(old, new)| **old != gone.place && old != new).count();
            let part = moved as f64 / SLOTS as f64;
            assert!(part <= 0.01, "{count} agents: {:.2} % of the slots moved for nothing", part * 100.0);
        }
    }

    #[test]
    fn the_same_members_make_the_same_table_and_nobody_makes_none() {
        let some = members(&[2, 0, 3]);
        assert_eq!(table(&some), table(&some));
        assert_eq!(held(&table(&some), 1), 0, "weight 0 gets nothing");
        let mut slots = [7; SLOTS];
        assert!(!fill(&mut slots, &[]) && !fill(&mut slots, &members(&[0])));
        assert!(slots.iter().all(|slot| *slot == 7));
    }
}
