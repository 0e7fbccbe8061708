//! What forwarded frames cost and how late they are, counted by the classifier while it is asked to.
//!
//! *Cost* is the time from the classifier's first instruction to its decision to forward, two readings of the clock included.
//! *Lateness* is by how much a message's delay, from its sender's stamp to the classifier, is more than the fastest of the same
//! source: the sender's clock may be any clock and wrong by any constant, as in RFC 6817 (LEDBAT, section 2) and with the minimum
//! as the reference of RFC 5481 (section 4.2). Clocks drift, so the fastest is that of this era and of the one before; who asks
//! begins an era about once a minute.

use crate::decode::Decoded;
use crate::message::MessageKind;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Buckets of one power of two.
const STEPS: u64 = 16;
/// Buckets of lateness, a sixteenth of a power of two each: up to 2^36 ns, which is 68 s; what is longer is in the last.
pub const LATE_BUCKETS: usize = 33 * STEPS as usize;
/// Buckets of cost: up to 2^20 ns, a millisecond.
pub const COST_BUCKETS: usize = 16 * STEPS as usize;
/// Sources whose fastest delay is kept, by the lower bits of their number.
pub const SOURCES: usize = 256;

/// The fastest delay of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fastest {
    /// The least difference of clocks in this era.
    pub now: i64,
    /// And in the one before; the same as `now` where there was none.
    pub before: i64,
    /// Whose.
    pub source: u32,
    /// The era; 0 for an empty place.
    pub era: u32,
}

/// Times of frames that were forwarded while they were watched, of one CPU.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Watched {
    /// When the frame at hand came in.
    pub begin_ns: u64,
    /// Messages of sources for which there was no place.
    pub crowded: u64,
    /// Frames by [`bucket`] of their cost.
    pub costs: [u64; COST_BUCKETS],
    /// Sum of the costs in each bucket, in nanoseconds: a bucket is wider than a percent.
    pub cost_ns: [u64; COST_BUCKETS],
    /// Messages by [`bucket`] of their lateness.
    pub late: [u64; LATE_BUCKETS],
    /// The fastest of each source.
    pub fastest: [Fastest; SOURCES],
}

impl Default for Watched {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// The bucket of a time in nanoseconds: its leading one and the four bits behind it.
#[inline(always)]
pub fn bucket(ns: u64) -> usize {
    let value = if ns < STEPS { STEPS } else { ns };
    // Halving by arithmetic: every branch would be one more way for the verifier.
    let (mut power, mut rest) = (0, value);
    let mut half = 32;
    while half > 0 {
        let step = if rest >> half != 0 { half } else { 0 };
        rest >>= step;
        power += step;
        half >>= 1;
    }
    let power = (power - 4) & 63;
    ((power * STEPS) + ((value >> power) & (STEPS - 1))) as usize
}

impl Watched {
    /// Counts a frame that came in at `begin_ns` and is to be forwarded `now`.
    #[inline(always)]
    pub fn forwarded(&mut self, era: u8, now: u64, decoded: &Decoded) {
        let cost = now.wrapping_sub(self.begin_ns);
        let place = bucket(cost);
        let place = if place < COST_BUCKETS { place } else { COST_BUCKETS - 1 };
        self.costs[place] = self.costs[place].wrapping_add(1);
        self.cost_ns[place] = self.cost_ns[place].wrapping_add(cost);
        if decoded.kind == MessageKind::None as u8 || decoded.message.timestamp_ns == 0 {
            return;
        }
        let delay = now.wrapping_sub(decoded.message.timestamp_ns) as i64;
        let Some(late) = self.late(era as u32, decoded.message.source_agent, delay) else {
            self.crowded = self.crowded.wrapping_add(1);
            return;
        };
        let place = bucket(late);
        let place = if place < LATE_BUCKETS { place } else { LATE_BUCKETS - 1 };
        self.late[place] = self.late[place].wrapping_add(1);
    }

    /// By how much `delay` is more than the fastest of `source`; `None` where another source has its place.
    #[inline(always)]
    fn late(&mut self, era: u32, source: u32, delay: i64) -> Option<u64> {
        let fastest = &mut self.fastest[source as usize & (SOURCES - 1)];
        if fastest.era != era {
            // Eras are 1 to 255, and 1 again.
            let follows = fastest.source == source && fastest.era != 0 && era == fastest.era % 255 + 1;
            let before = if follows { fastest.now } else { delay };
            *fastest = Fastest { now: delay, before, source, era };
        } else if fastest.source != source {
            return None;
        }
        if delay < fastest.now {
            fastest.now = delay;
        }
        let least = if fastest.before < fastest.now { fastest.before } else { fastest.now };
        // What is faster than all before is the fastest itself.
        Some(delay.wrapping_sub(least) as u64)
    }

    /// Adds the counts of another CPU. What is known of sources stays with each.
    pub fn add(&mut self, other: &Watched) {
        self.crowded = self.crowded.wrapping_add(other.crowded);
        let sums = [(&mut self.costs[..], &other.costs[..]), (&mut self.cost_ns[..], &other.cost_ns[..])];
        let sums = sums.into_iter().chain([(&mut self.late[..], &other.late[..])]);
        for (sum, part) in sums.flat_map(|(sum, part)| sum.iter_mut().zip(part)) {
            *sum = sum.wrapping_add(*part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: u32, stamp: u64) -> Decoded {
        let mut decoded = Decoded { kind: MessageKind::Standard as u8, ..Decoded::default() };
        (decoded.message.source_agent, decoded.message.timestamp_ns) = (source, stamp);
        decoded
    }

    /// First bucket that counts something.
    fn late(watched: &mut Watched, era: u8, now: u64, source: u32, stamp: u64) -> Option<usize> {
        let before = watched.late;
        watched.begin_ns = now;
        watched.forwarded(era, now, &message(source, stamp));
        (0..LATE_BUCKETS).find(|place| watched.late[*place] != before[*place])
    }

    #[test]
    fn a_bucket_begins_where_the_one_before_ends() {
        let mut last = 0;
        for ns in 16..100_000u64 {
            let found = bucket(ns);
            assert!(found == last || found == last + 1, "{ns}: {found} after {last}");
            last = found;
        }
        assert_eq!((bucket(0), bucket(31), bucket(32), bucket(1 << 35)), (0, 15, 16, 31 * 16));
        assert!(bucket(u64::MAX) >= LATE_BUCKETS);
    }

    #[test]
    fn a_wrong_clock_makes_nobody_late_and_a_delay_does() {
        for error in [0i64, 1_700_000_000_000_000_000, -5_000_000_000] {
            let mut watched = Watched::default();
            let stamp = |at: u64| (at as i64).wrapping_add(error) as u64;
            assert_eq!(late(&mut watched, 1, 10_000_100, 7, stamp(10_000_000)), Some(0));
            assert_eq!(late(&mut watched, 1, 20_000_100, 7, stamp(20_000_000)), Some(0));
            assert_eq!(late(&mut watched, 1, 35_000_100, 7, stamp(30_000_000)), Some(bucket(5_000_000)));
            // The era after remembers the fastest of the one before, the one after that does not.
            assert_eq!(late(&mut watched, 2, 45_000_100, 7, stamp(40_000_000)), Some(bucket(5_000_000)));
            assert_eq!(late(&mut watched, 3, 55_000_100, 7, stamp(50_000_000)), Some(0));
            assert_eq!(late(&mut watched, 1, 65_000_000, 7, stamp(50_000_000)), Some(0), "long ago");
        }
    }

    #[test]
    fn sources_have_their_own_clocks_and_who_finds_no_place_is_counted() {
        let mut watched = Watched::default();
        assert_eq!(late(&mut watched, 1, 1_000, 1, 900), Some(0));
        assert_eq!(late(&mut watched, 1, 1_000, 2, 500), Some(0));
        assert_eq!(late(&mut watched, 1, 1_000, 2 + SOURCES as u32, 500), None);
        assert_eq!(watched.crowded, 1);
        assert_eq!(late(&mut watched, 2, 1_000, 2 + SOURCES as u32, 500), Some(0), "a place is free after an era");
        assert_eq!(late(&mut watched, 2, 1_000, 3, 0), None, "no stamp, no lateness");
        assert_eq!(watched.crowded, 1);
    }

    #[test]
    fn eras_go_round() {
        let mut watched = Watched::default();
        assert_eq!(late(&mut watched, 255, 1_000, 1, 900), Some(0));
        assert_eq!(late(&mut watched, 1, 2_000, 1, 900), Some(bucket(1_000)));
    }
}
