//! Why a frame that the classifier let through was lost behind it. The classifier's own reasons are in
//! [`Reason`](weir_ebpf_abi::reason::Reason).

/// A name among [`Counters::dropped`](super::Counters::dropped).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The class's ring was full.
    RingFull,
    /// The kernel had no frame to fill, or could not copy.
    NoFrame,
    /// The last taker of the class died.
    TakerDied,
    /// The transmit ring was full.
    MirrorFull,
    /// The dataplane died.
    DataplaneDied,
    /// The classifier's reason is not in this version's table.
    Other,
}

impl Loss {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::RingFull, Self::NoFrame, Self::TakerDied, Self::MirrorFull, Self::DataplaneDied, Self::Other];

    /// The word used in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::NoFrame => "no-frame",
            Self::TakerDied => "taker-died",
            Self::MirrorFull => "mirror-full",
            Self::DataplaneDied => "dataplane-died",
            Self::Other => "other",
        }
    }

    /// One clause for people: what happened.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::RingFull => "the ring of its class was full",
            Self::NoFrame => "no frame was free for it, or the copy failed",
            Self::TakerDied => "its last taker died with it on the ring",
            Self::MirrorFull => "the transmit ring was full: it was not sent on",
            Self::DataplaneDied => "it was on a ring when the dataplane died",
            Self::Other => "for a reason that this version does not know",
        }
    }

    /// The loss with this name, as [`Loss::name`] spells it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|loss| loss.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use weir_ebpf_abi::reason::Reason;

    use super::*;

    #[test]
    fn names_and_sentences_are_those_of_one_loss() {
        for loss in Loss::ALL {
            assert_eq!(Loss::from_name(loss.name()), Some(loss));
            assert_eq!(Reason::from_name(loss.name()), None, "the classifier has another meaning for it");
            assert!(!loss.sentence().ends_with('.'), "{}: sentences are clauses", loss.name());
        }
    }
}
