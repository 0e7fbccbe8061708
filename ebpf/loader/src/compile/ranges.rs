//! Fields that rules ask about by range: the values are cut where a rule begins or ends.

use weir_ebpf_abi::rules::Rule;
use weir_ebpf_abi::ruleset::{MAX_BOUNDS, Ranges32, Ranges128, RuleSet, Vector};

use super::Vectors;
use crate::error::LoadError;

/// First and last value a rule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) first: u128,
    pub(super) last: u128,
}

impl Interval {
    /// No value at all.
    pub(super) const EMPTY: Interval = Interval { first: 1, last: 0 };

    fn is_empty(self) -> bool {
        self.first > self.last
    }
}

/// A vector, and the value from which on it holds.
pub(super) type Step = (u128, u16);

/// Vectors over all values, from 0 on; neighbours differ.
pub(super) fn steps(
    set: &mut RuleSet,
    vectors: &mut Vectors,
    rules: &[Rule],
    wanted: impl Fn(&Rule) -> Option<Interval>,
) -> Result<Vec<Step>, LoadError> {
    // A walk from the lowest value up, with one bit turned over at each rule's begin and end.
    let mut vector = Vector::default();
    let mut turns = Vec::new();
    for (rule, interval) in rules.iter().map(wanted).enumerate() {
        match interval {
            None => turn(&mut vector, rule),
            Some(interval) if interval.is_empty() => {}
            Some(Interval { first, last }) => {
                turns.push((first, rule));
                turns.extend(last.checked_add(1).map(|end| (end, rule)));
            }
        }
    }
    turns.sort_unstable();
    let mut steps = vec![(0, vectors.intern(set, vector)?)];
    for place in turns.chunk_by(|one, other| one.0 == other.0) {
        place.iter().for_each(|&(_, rule)| turn(&mut vector, rule));
        let step = (place[0].0, vectors.intern(set, vector)?);
        match steps.last_mut() {
            Some(last) if last.0 == step.0 => *last = step,
            Some(last) if last.1 == step.1 => {}
            _ => steps.push(step),
        }
    }
    Ok(steps)
}

fn turn(vector: &mut Vector, rule: usize) {
    let (word, bit) = (rule / 64, 1 << (rule % 64));
    vector.words[word] ^= bit;
    vector.summary &= !(1 << word);
    vector.summary |= u64::from(vector.words[word] != 0) << word;
}

/// One vector number per value of a field with `size` values.
pub(super) fn spread(
    set: &mut RuleSet,
    vectors: &mut Vectors,
    rules: &[Rule],
    size: usize,
    wanted: impl Fn(&Rule) -> Option<Interval>,
) -> Result<Vec<u16>, LoadError> {
    let steps = steps(set, vectors, rules, wanted)?;
    let mut table = vec![0; size];
    for (index, &(from, number)) in steps.iter().enumerate() {
        let to = steps.get(index + 1).map_or(size as u128, |next| next.0).min(size as u128);
        if from < to {
            table[from as usize..to as usize].fill(number);
        }
    }
    Ok(table)
}

/// First stride of a search among `bounds` boundaries: half the least power of two above.
fn half(bounds: usize) -> u32 {
    if bounds == 0 { 0 } else { (bounds + 1).next_power_of_two() as u32 / 2 }
}

/// Lays steps out for the search; 1,024 rules make 2,049 steps at most, which fit.
pub(super) fn fill32(table: &mut Ranges32, steps: &[Step]) {
    // A range that ends at the highest number has its boundary behind all numbers.
    let inside = steps.iter().take_while(|step| step.0 <= u128::from(u32::MAX)).count();
    let steps = &steps[..inside];
    let bounds = steps.len() - 1;
    table.half = half(bounds);
    for place in 0..MAX_BOUNDS {
        table.vectors[place] = steps[place.min(bounds)].1;
        table.bounds[place] = steps[(place + 1).min(bounds)].0 as u32;
    }
}

/// Lays steps out for the search in two halves: at most 2,048 boundaries, and one more for each upper half.
pub(super) fn fill128(table: &mut Ranges128, steps: &[Step]) {
    let bounds = &steps[1..];
    let mut groups = 0;
    let mut longest = 0;
    let mut lows = 0;
    table.vectors[0] = steps[0].1;
    for group in bounds.chunk_by(|one, other| one.0 >> 64 == other.0 >> 64) {
        table.highs[groups] = (group[0].0 >> 64) as u64;
        table.starts[groups] = lows as u16;
        // Every group starts at its lowest address, so that a search in it always finds a step.
        let before = (group[0].0 >> 64 << 64, table.vectors[groups]);
        let first = (group[0].0 != before.0).then_some(before);
        for (from, number) in first.into_iter().chain(group.iter().copied()) {
            table.lows[lows] = from as u64;
            table.low_vectors[lows] = number;
            lows += 1;
        }
        table.ends[groups] = lows as u16;
        table.vectors[groups + 1] = group[group.len() - 1].1;
        longest = longest.max(group.len() + 1);
        groups += 1;
    }
    table.half = half(groups);
    table.low_half = half(longest);
    // Behind the last entry, the last entry again: a search that runs on finds the same.
    for place in groups..MAX_BOUNDS {
        if let Some(last) = groups.checked_sub(1) {
            table.highs[place] = table.highs[last];
            table.starts[place] = table.starts[last];
            table.ends[place] = table.ends[last];
        }
        if place > groups {
            table.vectors[place] = table.vectors[groups];
        }
    }
}
