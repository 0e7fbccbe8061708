//! Frames on their way out: which are on a transmit ring, and which of those go home when the kernel has sent them.

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

/// One byte for each frame. Plain memory of the pool: no other process sees it.
pub struct OnTheWay {
    frame_shift: u32,
    states: Box<[State]>,
}

impl OnTheWay {
    /// For `frames` frames of `1 << frame_shift` bytes.
    #[must_use]
    pub fn new(frames: u32, frame_shift: u32) -> Self {
        Self { frame_shift, states: vec![State::Here; frames as usize].into_boxed_slice() }
    }

    fn slot(&mut self, address: u64) -> Option<&mut State> {
        self.states.get_mut((address >> self.frame_shift) as usize)
    }

    /// Notes that the frame at `address` was put on a transmit ring.
    pub fn sending(&mut self, address: u64) {
        if let Some(state) = self.slot(address) {
            *state = State::Sending;
        }
    }

    /// The takers are done with the frame: true when it may be lent to the kernel at once.
    pub fn released(&mut self, address: u64) -> bool {
        match self.slot(address) {
            Some(state @ State::Sending) => {
                *state = State::GoesHome;
                false
            }
            _ => true,
        }
    }

    /// The kernel has sent the frame: true when it may be lent to the kernel now.
    pub fn completed(&mut self, address: u64) -> bool {
        let Some(state) = self.slot(address) else { return false };
        let home = *state == State::GoesHome;
        *state = State::Here;
        home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_home_after_both_the_takers_and_the_wire() {
        let mut frames = OnTheWay::new(4, 11);
        assert!(frames.released(2048), "a frame nobody sends goes home at once");
        frames.sending(2048);
        assert!(!frames.released(2048 + 256), "any address inside the frame names it");
        assert!(frames.completed(2048), "the wire was last");
        frames.sending(4096);
        assert!(!frames.completed(4096), "the takers still hold it");
        assert!(frames.released(4096), "the takers were last");
        assert!(!frames.completed(1 << 20), "an address outside is nobody's frame");
    }
}
