//! What a receiver has seen.

use weir_ebpf_abi::stream::StreamError;

/// Counts since the start, and what is held now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Connections now.
    pub connections: u64,
    /// Connections taken.
    pub connected: u64,
    /// Messages taken, in order, each once.
    pub messages: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Messages put on a lane.
    pub delivered: u64,
    /// Messages that a rule dropped.
    pub dropped: u64,
    /// Messages that no rule gave to anybody.
    pub untaken: u64,
    /// Messages that had come before and came again.
    pub duplicates: u64,
    /// Bytes that were copied because their message came in pieces.
    pub copied: u64,
    /// Messages on lanes that are not finished yet.
    pub held: u64,
    /// Times that a connection had to wait for a lane or a buffer.
    pub waits: u64,
    /// Connections that failed or were reset by the other side.
    pub failed: u64,
    /// Connections that were ended here, by the number of the [`StreamError`].
    pub(super) refused: [u64; StreamError::ALL.len() + 1],
}

impl StreamCounts {
    /// Counts a refusal.
    pub(super) fn refuse(&mut self, reason: StreamError) {
        self.refused[reason as usize] += 1; // numbers begin at 1, and there is one place more than reasons
    }

    /// Connections that were ended here for each reason that there was.
    pub fn refused(&self) -> impl Iterator<Item = (StreamError, u64)> + '_ {
        StreamError::ALL
            .into_iter()
            .map(|reason| (reason, self.refused[reason as usize]))
            .filter(|(_, count)| *count > 0)
    }
}
