//! What the classifier counts, per CPU.

use crate::layout::MAX_CLASSES;
use crate::reason::Reason;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Frames and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tally {
    /// Frames.
    pub frames: u64,
    /// Bytes, from the Ethernet header on, without the frame check sequence. Where an IP packet ends in a frame's
    /// first buffer, what trails it in further buffers is not counted.
    pub bytes: u64,
}

impl Tally {
    /// Counts one frame of `bytes`.
    #[inline(always)]
    pub fn count(&mut self, bytes: u64) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &Tally) {
        self.frames = self.frames.wrapping_add(other.frames);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// The one value of the counter map; `received = passed + dropped + forwarded + delivered`, and `mirrored` is a
/// part of `forwarded`.
///
/// `delivered` counts what was redirected to a ring. The kernel may still drop there when the ring is full: that
/// is in the socket's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters {
    /// Every frame seen.
    pub received: Tally,
    /// To the host's stack.
    pub passed: Tally,
    /// Dropped, whatever the reason.
    pub dropped: Tally,
    /// Sent on inside the kernel, or by the pool's sender for a mirrored frame.
    pub forwarded: Tally,
    /// Redirected to a ring.
    pub delivered: Tally,
    /// The part of `forwarded` that went to a ring as well.
    pub mirrored: Tally,
    /// Frames by [`Reason`]; index 0 is not counted.
    pub reasons: [u64; Reason::COUNT],
    /// Frames redirected to each class.
    pub classes: [u64; MAX_CLASSES],
}

impl Default for Counters {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

impl Counters {
    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &Counters) {
        self.received.add(&other.received);
        self.passed.add(&other.passed);
        self.dropped.add(&other.dropped);
        self.forwarded.add(&other.forwarded);
        self.delivered.add(&other.delivered);
        self.mirrored.add(&other.mirrored);
        for (sum, part) in self.reasons.iter_mut().zip(other.reasons) {
            *sum = sum.wrapping_add(part);
        }
        for (sum, part) in self.classes.iter_mut().zip(other.classes) {
            *sum = sum.wrapping_add(part);
        }
    }

    /// Frames counted with `reason`.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize]
    }
}

/// What one rule matched.
pub type RuleCount = Tally;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_cpus() {
        let mut one = Counters::default();
        one.received.count(60);
        one.reasons[3] = 2;
        let mut sum = Counters::default();
        sum.add(&one);
        sum.add(&one);
        assert_eq!(sum.received, Tally { frames: 2, bytes: 120 });
        assert_eq!(sum.reason(Reason::UnknownAgent), 4);
    }
}
