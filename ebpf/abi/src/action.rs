//! What happens to a frame.

/// What the classifier does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Action {
    /// To the host's own network stack; the default, so that management traffic survives.
    #[default]
    Pass = 0,
    /// Away, with a counted reason.
    Drop = 1,
    /// Rewritten for the agent its header names and sent out, all inside the kernel.
    Forward = 2,
    /// To the ring of a class, for its takers.
    Deliver = 3,
    /// Forward and deliver: to a class among whose takers is the pool's own sender.
    Mirror = 4,
}

impl Action {
    /// Every action, in the order of its number.
    pub const ALL: [Action; 5] = [Action::Pass, Action::Drop, Action::Forward, Action::Deliver, Action::Mirror];

    /// The action with this number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Action> {
        match number {
            0 => Some(Action::Pass),
            1 => Some(Action::Drop),
            2 => Some(Action::Forward),
            3 => Some(Action::Deliver),
            4 => Some(Action::Mirror),
            _ => None,
        }
    }

    /// True when the frame goes to the ring of a class.
    pub const fn takes_a_ring(self) -> bool {
        matches!(self, Action::Deliver | Action::Mirror)
    }

    /// The word used in rules, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Forward => "forward",
            Action::Deliver => "deliver",
            Action::Mirror => "mirror",
        }
    }

    /// The action with this name, as [`Action::name`] spells it.
    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl core::fmt::Display for Action {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        for (number, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, number);
            assert_eq!(Action::from_number(number as u8), Some(action));
            assert_eq!(Action::from_name(action.name()), Some(action));
        }
        assert_eq!(Action::from_number(5), None);
        assert_eq!(Action::from_name("eat"), None);
    }
}
