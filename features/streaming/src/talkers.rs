//! Top talkers: the Space-Saving summary (Metwally, Agrawal, El Abbadi 2005), weighted by bytes.
//!
//! With k counters every flow that sent more than 1/k of all bytes is in the table; an estimate is never too low, and
//! too high by at most its own `error`, which is at most total/k. Two summaries merge with the same bound (Agarwal and
//! others 2012), so the minute is made of its seconds.

use crate::filter::{COLUMN, Column};
use crate::simd::Simd;

/// Flows a summary keeps. The error bound is 1/64 of the window's bytes.
pub const TALKERS: usize = 64;
/// Flows reported for each window.
pub const REPORTED: usize = 8;

/// One counted flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talker {
    /// The classifier's fingerprint of the flow.
    pub flow: u64,
    /// Bytes, never too few.
    pub bytes: u64,
    /// Most by which `bytes` can be too high.
    pub error: u64,
    /// Frames since the flow entered the table.
    pub frames: u64,
    /// Source agent of the last message, 0 for none.
    pub source: u32,
}

/// A summary of fixed size. The words that every frame asks for stand in columns, the rest of each flow beside them.
#[derive(Clone, Debug)]
pub struct Talkers {
    simd: Simd,
    flows: Column,
    bytes: Column,
    rest: [Rest; TALKERS],
    length: usize,
    total: u64,
    /// Flows as rows, for what comes once a window. Twice the counters, so that a merge never allocates.
    rows: Vec<Talker>,
}

const _: () = assert!(TALKERS == COLUMN);

/// What no search looks at.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    error: u64,
    frames: u64,
    source: u32,
}

impl Talkers {
    /// An empty summary that is searched with these instructions.
    #[must_use]
    pub fn new(simd: Simd) -> Self {
        let (flows, bytes) = (Column::EMPTY, Column::EMPTY);
        let rows = Vec::with_capacity(2 * TALKERS);
        Self { simd, flows, bytes, rest: [Rest::default(); TALKERS], length: 0, total: 0, rows }
    }

    /// Counts a frame of `bytes` bytes; `source` 0 keeps the agent known before.
    #[inline]
    pub fn add(&mut self, flow: u64, bytes: u64, source: u32) {
        self.total += bytes;
        if let Some(at) = self.flows.position(self.simd, self.length, flow) {
            let rest = &mut self.rest[at];
            rest.frames += 1;
            rest.source = if source == 0 { rest.source } else { source };
            self.bytes.0[at] += bytes;
            return;
        }
        let fresh = Talker { flow, bytes, error: 0, frames: 1, source };
        if self.length < TALKERS {
            self.length += 1;
            return self.put(self.length - 1, fresh);
        }
        let least = self.bytes.least(self.simd);
        let at = self.bytes.position(self.simd, TALKERS, least);
        self.put(at.unwrap_or(0), Talker { bytes: least + bytes, error: least, ..fresh });
    }

    #[inline]
    fn put(&mut self, at: usize, talker: Talker) {
        self.flows.0[at] = talker.flow;
        self.bytes.0[at] = talker.bytes;
        self.rest[at] = Rest { error: talker.error, frames: talker.frames, source: talker.source };
    }

    /// Bytes of all frames counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Most that a flow outside the table can have sent.
    fn floor(&self) -> u64 {
        if self.length < TALKERS { 0 } else { self.bytes.least(self.simd) }
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let (own_floor, other_floor) = (self.floor(), other.floor());
        let mut rows = self.unload();
        for talker in &mut rows {
            match other.state().find(|theirs| theirs.flow == talker.flow) {
                Some(theirs) => {
                    talker.bytes += theirs.bytes;
                    talker.error += theirs.error;
                    talker.frames += theirs.frames;
                    talker.source = if theirs.source == 0 { talker.source } else { theirs.source };
                }
                None => {
                    talker.bytes += other_floor;
                    talker.error += other_floor;
                }
            }
        }
        let own = rows.len();
        for theirs in other.state() {
            if !rows[..own].iter().any(|talker| talker.flow == theirs.flow) {
                rows.push(Talker { bytes: theirs.bytes + own_floor, error: theirs.error + own_floor, ..theirs });
            }
        }
        sort(&mut rows);
        self.load(self.total + other.total, &rows);
        self.rows = rows;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.length = 0;
        self.total = 0;
    }

    /// The flows in the table, most bytes first; equal ones by fingerprint.
    pub fn top(&mut self) -> &[Talker] {
        self.rows = self.unload();
        sort(&mut self.rows);
        &self.rows
    }

    /// The rows' memory with the flows in it.
    fn unload(&mut self) -> Vec<Talker> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.extend(self.state());
        rows
    }

    /// Takes the first of `rows`, as many as fit, in their order.
    fn load(&mut self, total: u64, rows: &[Talker]) {
        self.total = total;
        self.length = rows.len().min(TALKERS);
        rows.iter().take(TALKERS).enumerate().for_each(|(at, talker)| self.put(at, *talker));
    }

    /// The flows in their present order: what a checkpoint keeps.
    pub(crate) fn state(&self) -> impl ExactSizeIterator<Item = Talker> + '_ {
        (0..self.length).map(|at| {
            let Rest { error, frames, source } = self.rest[at];
            Talker { flow: self.flows.0[at], bytes: self.bytes.0[at], error, frames, source }
        })
    }

    /// Takes up what [`Talkers::state`] gave; false when it is more than fits.
    pub(crate) fn take_up(&mut self, total: u64, flows: &[Talker]) -> bool {
        self.load(total, flows);
        flows.len() <= TALKERS
    }
}

fn sort(rows: &mut [Talker]) {
    rows.sort_unstable_by_key(|talker| (std::cmp::Reverse(talker.bytes), talker.flow));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn check(talkers: &mut Talkers, exact: &BTreeMap<u64, u64>) {
        let total = exact.values().sum::<u64>();
        assert_eq!(talkers.total(), total);
        let top = talkers.top().to_vec();
        assert!(top.len() <= TALKERS);
        for talker in &top {
            let truth = exact.get(&talker.flow).copied().unwrap_or(0);
            assert!(talker.bytes >= truth, "too low: {talker:?}, exact {truth}");
            assert!(talker.bytes - truth <= talker.error, "outside its error: {talker:?}, exact {truth}");
            assert!(talker.error <= total / TALKERS as u64, "error over the bound: {talker:?} of {total}");
        }
        for (flow, bytes) in exact {
            let known = top.iter().any(|talker| talker.flow == *flow);
            assert!(known || *bytes <= total / TALKERS as u64, "flow {flow} with {bytes} of {total} is missing");
        }
    }

    proptest! {
        #[test]
        fn every_set_of_instructions_keeps_the_same_flows(
            seconds in prop::collection::vec(prop::collection::vec((0..200u64, 0..50u64, 0..3u32), 0..300), 1..4),
        ) {
            let kept = |simd: Simd| {
                let (mut second, mut minute) = (Talkers::new(simd), Talkers::new(simd));
                let mut kept = Vec::new();
                for frames in &seconds {
                    for (flow, bytes, source) in frames {
                        second.add(*flow, *bytes, *source);
                    }
                    kept.extend(second.state());
                    minute.merge(&second);
                    second.clear();
                }
                kept.extend(minute.state());
                kept
            };
            let wanted = kept(Simd::Scalar);
            for simd in Simd::available() {
                prop_assert_eq!(&kept(simd), &wanted, "{}", simd.name());
            }
        }

        #[test]
        fn estimates_keep_their_bound(frames in prop::collection::vec((0..200u64, 1..2000u64), 0..2000)) {
            let mut talkers = Talkers::new(Simd::best());
            let mut exact = BTreeMap::new();
            for (flow, bytes) in frames {
                let flow = flow * flow / 200; // small numbers are frequent
                talkers.add(flow, bytes, 0);
                *exact.entry(flow).or_default() += bytes;
            }
            check(&mut talkers, &exact);
        }

        #[test]
        fn merged_seconds_keep_the_bound(seconds in prop::collection::vec(prop::collection::vec((0..200u64, 1..2000u64), 0..400), 1..6)) {
            let mut minute = Talkers::new(Simd::best());
            let mut exact = BTreeMap::new();
            for frames in seconds {
                let mut second = Talkers::new(Simd::best());
                for (flow, bytes) in frames {
                    second.add(flow, bytes, 0);
                    *exact.entry(flow).or_default() += bytes;
                }
                minute.merge(&second);
            }
            check(&mut minute, &exact);
        }
    }
}
