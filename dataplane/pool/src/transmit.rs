//! Frames on their way out: which are on a transmit ring, whose they are, and which go home when the kernel has sent them.

use crate::queue::Shares;
use crate::sender::SenderId;

/// What the pool knows about a frame beside the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not on a transmit ring.
    Here,
    /// On a transmit ring; its class's takers still hold it.
    Sending,
    /// On a transmit ring; everyone else is done with it.
    GoesHome,
}

/// State of a frame, and who is told when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    state: State,
    sender: Option<SenderId>,
}

const HERE: Frame = Frame { state: State::Here, sender: None };

/// What a completion means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// The frame may be lent to the kernel now.
    pub home: bool,
    /// A feature's frame, counted at its first piece.
    pub sender: Option<SenderId>,
}

/// A few bytes for each frame. Plain memory of the pool: no other process sees it.
pub struct OnTheWay {
    shares: Shares,
    frames: Box<[Frame]>,
    /// Frames of each queue that are on transmit rings.
    away: Box<[u32]>,
}

impl OnTheWay {
    /// For all frames of `queues` queues.
    #[must_use]
    pub fn new(shares: Shares, queues: usize) -> Self {
        let frames = shares.frames_per_queue as usize * queues;
        Self { shares, frames: vec![HERE; frames].into_boxed_slice(), away: vec![0; queues].into_boxed_slice() }
    }

    fn slot(&mut self, address: u64) -> Option<&mut Frame> {
        self.frames.get_mut((address >> self.shares.frame_shift) as usize)
    }

    /// Index of the queue to which the frame at `address` belongs.
    #[must_use]
    pub fn home(&self, address: u64) -> usize {
        self.shares.home(address)
    }

    /// Frames of queue `index` that are on transmit rings.
    #[must_use]
    pub fn away(&self, index: usize) -> u32 {
        self.away.get(index).copied().unwrap_or(0)
    }

    /// How many more frames of the queue to which `address` belongs may be put on transmit rings. The frame budget counts
    /// no more, over all ways out together.
    #[must_use]
    pub fn room(&self, address: u64) -> usize {
        self.shares.on_the_way.saturating_sub(self.away(self.home(address))) as usize
    }

    fn put(&mut self, address: u64, frame: Frame) {
        let home = self.home(address);
        if let Some(slot) = self.slot(address) {
            *slot = frame;
            if let Some(away) = self.away.get_mut(home) {
                *away += 1;
            }
        }
    }

    /// Notes that the frame at `address` was put on a transmit ring while its takers still hold it.
    pub fn sending(&mut self, address: u64) {
        self.put(address, Frame { state: State::Sending, sender: None });
    }

    /// Notes that the frame at `address`, which its takers are done with, was put on a transmit ring; `sender` hears when it
    /// was sent.
    pub fn leaving(&mut self, address: u64, sender: Option<SenderId>) {
        self.put(address, Frame { state: State::GoesHome, sender });
    }

    /// The takers are done with the frame: true when it may be lent to the kernel at once.
    pub fn released(&mut self, address: u64) -> bool {
        match self.slot(address) {
            Some(Frame { state: state @ State::Sending, .. }) => {
                *state = State::GoesHome;
                false
            }
            _ => true,
        }
    }

    /// The kernel has sent the frame.
    pub fn completed(&mut self, address: u64) -> Completed {
        let home = self.home(address);
        let Some(slot) = self.slot(address) else { return Completed::default() };
        let frame = std::mem::replace(slot, HERE);
        if frame.state != State::Here
            && let Some(away) = self.away.get_mut(home)
        {
            *away = away.saturating_sub(1);
        }
        Completed { home: frame.state == State::GoesHome, sender: frame.sender }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { frames_per_queue: 4, frame_shift: 11, on_the_way: 2 };

    #[test]
    fn a_frame_goes_home_after_both_the_takers_and_the_wire() {
        let mut frames = OnTheWay::new(SHARES, 1);
        assert!(frames.released(2048), "a frame nobody sends goes home at once");
        frames.sending(2048);
        assert!(!frames.released(2048 + 256), "any address inside the frame names it");
        assert!(frames.completed(2048).home, "the wire was last");
        frames.sending(4096);
        assert!(!frames.completed(4096).home, "the takers still hold it");
        assert!(frames.released(4096), "the takers were last");
        assert_eq!(frames.completed(1 << 20), Completed::default(), "an address outside is nobody's frame");
    }

    #[test]
    fn a_queue_has_no_more_frames_away_than_its_budget_counts() {
        let mut frames = OnTheWay::new(SHARES, 2);
        frames.leaving(0, Some(SenderId(3)));
        frames.sending(2048);
        assert_eq!((frames.room(4096), frames.room(4 * 2048)), (0, 2), "each queue has room of its own");
        assert_eq!(frames.completed(0), Completed { home: true, sender: Some(SenderId(3)) });
        assert_eq!((frames.room(0), frames.away(0)), (1, 1));
        assert_eq!(frames.completed(0), Completed::default(), "a frame is away once");
        assert_eq!(frames.away(0), 1);
    }
}
