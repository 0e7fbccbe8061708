//! Top talkers: the Space-Saving summary (Metwally, Agrawal, El Abbadi 2005), weighted by bytes.
//!
//! With k counters every flow that sent more than 1/k of all bytes is in the table; an estimate is never too low, and
//! too high by at most its own `error`, which is at most total/k. Two summaries merge with the same bound (Agarwal and
//! others 2012), so the minute is made of its seconds.

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

/// A summary of fixed size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talkers {
    flows: Vec<Talker>,
    total: u64,
}

impl Default for Talkers {
    fn default() -> Self {
        // Twice the counters, so that a merge never allocates.
        Self { flows: Vec::with_capacity(2 * TALKERS), total: 0 }
    }
}

impl Talkers {
    /// Counts a frame of `bytes` bytes; `source` 0 keeps the agent known before.
    #[inline]
    pub fn add(&mut self, flow: u64, bytes: u64, source: u32) {
        self.total += bytes;
        if let Some(at) = self.flows.iter().position(|talker| talker.flow == flow) {
            let talker = &mut self.flows[at];
            talker.bytes += bytes;
            talker.frames += 1;
            talker.source = if source == 0 { talker.source } else { source };
            // A busy flow moves towards the front, where the search begins.
            if at > 0 {
                self.flows.swap(at, at - 1);
            }
            return;
        }
        let fresh = Talker { flow, bytes, error: 0, frames: 1, source };
        if self.flows.len() < TALKERS {
            self.flows.push(fresh);
        } else if let Some(least) = self.flows.iter_mut().min_by_key(|talker| talker.bytes) {
            *least = Talker { bytes: least.bytes + bytes, error: least.bytes, ..fresh };
        }
    }

    /// Bytes of all frames counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Most that a flow outside the table can have sent.
    fn floor(&self) -> u64 {
        if self.flows.len() < TALKERS { 0 } else { self.flows.iter().map(|talker| talker.bytes).min().unwrap_or(0) }
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let (own_floor, other_floor) = (self.floor(), other.floor());
        for talker in &mut self.flows {
            match other.flows.iter().find(|theirs| theirs.flow == talker.flow) {
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
        let own = self.flows.len();
        for theirs in &other.flows {
            if !self.flows[..own].iter().any(|talker| talker.flow == theirs.flow) {
                self.flows.push(Talker { bytes: theirs.bytes + own_floor, error: theirs.error + own_floor, ..*theirs });
            }
        }
        self.sort();
        self.flows.truncate(TALKERS);
        self.total += other.total;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.flows.clear();
        self.total = 0;
    }

    /// The flows in the table, most bytes first; equal ones by fingerprint.
    pub fn top(&mut self) -> &[Talker] {
        self.sort();
        &self.flows
    }

    fn sort(&mut self) {
        self.flows.sort_unstable_by_key(|talker| (std::cmp::Reverse(talker.bytes), talker.flow));
    }

    /// The flows in their present order: what a checkpoint keeps.
    pub(crate) fn state(&self) -> &[Talker] {
        &self.flows
    }

    /// Takes up what [`Talkers::state`] gave; false when it is more than fits.
    pub(crate) fn take_up(&mut self, total: u64, flows: &[Talker]) -> bool {
        self.clear();
        self.total = total;
        self.flows.extend_from_slice(&flows[..flows.len().min(TALKERS)]);
        flows.len() <= TALKERS
    }
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
        fn estimates_keep_their_bound(frames in prop::collection::vec((0..200u64, 1..2000u64), 0..2000)) {
            let mut talkers = Talkers::default();
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
            let mut minute = Talkers::default();
            let mut exact = BTreeMap::new();
            for frames in seconds {
                let mut second = Talkers::default();
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
