//! The one trait a feature implements: make, on_batch, on_tick, checkpoint, on_call.

use crate::batch::Batch;
use crate::outputs::Outputs;

/// Why a checkpoint was refused by [`Feature::restore`].
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// The bytes end before the state they announce.
    #[error(
        "checkpoint of {length} bytes is too short (needs at least {needed}); start without it, the windows begin empty"
    )]
    Truncated {
        /// Bytes given.
        length: usize,
        /// Bytes needed to go on reading.
        needed: usize,
    },
    /// The checkpoint was written by another feature or in a layout this build does not read.
    #[error("checkpoint says `{found}` where `{expected}` was expected; start without it, the windows begin empty")]
    Foreign {
        /// What the checkpoint announces.
        found: String,
        /// What this feature writes.
        expected: String,
    },
    /// A count or an index in the checkpoint is outside what the feature's tables hold.
    #[error(
        "checkpoint field `{field}` is {value}, at most {limit} is possible; start without it, the windows begin empty"
    )]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The bound it breaks.
        limit: u64,
    },
}

/// A feature: borrowed frames in; records, verdicts and wishes to send out.
///
/// A feature opens no file and no socket, reads no clock (time comes with the batch) and keeps no view after
/// [`Feature::on_batch`] returns (the lifetime forbids it). So it replays from a capture, and two runs give equal records.
pub trait Feature: Sized {
    /// The feature's name: configuration key, command word and metric label.
    const NAME: &'static str;
    /// Number written into [`weir_dataplane_ring::record::Record`]'s `feature` field.
    const ID: u16;
    /// What the configuration says about this feature.
    type Settings: Clone + Send;

    /// Makes the feature with all the memory it will ever use.
    fn make(settings: &Self::Settings) -> Self;

    /// Works on the next frames of a class, in ring order.
    fn on_batch(&mut self, batch: &Batch<'_>, out: &mut Outputs<'_>);

    /// Is called about every [`TICK_NS`] of stream time, also when no frame arrives.
    fn on_tick(&mut self, now_ns: u64, out: &mut Outputs<'_>);

    /// Appends the state that [`Feature::restore`] reads back.
    fn checkpoint(&self, into: &mut Vec<u8>);

    /// Takes up the state of an earlier [`Feature::checkpoint`].
    ///
    /// # Errors
    /// Says what is wrong with the bytes; the feature then is as it was made.
    fn restore(&mut self, from: &[u8]) -> Result<(), CheckpointError>;

    /// Answers a query. An empty reply means that the feature does not know the call.
    fn on_call(&mut self, call: &[u8], reply: &mut Vec<u8>);
}

/// Stream time between two ticks, in nanoseconds.
pub const TICK_NS: u64 = 100_000_000;
