//! The same feature in this process: frames that were already classified, time from the capture.

use weir_dataplane_ring::SendRequest;
use weir_dataplane_ring::record::Record;
use weir_ebpf_abi::flow::FlowVerdict;

use crate::batch::{BATCH_FRAMES, Batch, FrameView};
use crate::feature::{Feature, TICK_NS};
use crate::outputs::Outputs;

/// What a feature made of a capture.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Records, in the order in which the feature gave them.
    pub records: Vec<Record>,
    /// Verdicts, in the order in which the feature gave them.
    pub verdicts: Vec<FlowVerdict>,
    /// Frames that the feature wanted sent, in that order; `place` is what [`Replay::feed`] was given.
    pub sends: Vec<SendRequest>,
}

impl Replayed {
    fn outputs(&mut self, feature: u16) -> Outputs<'_> {
        Outputs::new(feature, &mut self.records, &mut self.verdicts).sending(&mut self.sends)
    }
}

/// Feeds a feature from a capture. Ticks fall on multiples of [`TICK_NS`] of capture time, so two runs give equal records, verdicts
/// and sends.
pub struct Replay<F> {
    feature: F,
    given: Replayed,
    next_tick_ns: Option<u64>,
    last_ns: u64,
}

impl<F: Feature> Replay<F> {
    /// Begins with a feature as it was made.
    pub fn new(settings: &F::Settings) -> Self {
        Self { feature: F::make(settings), given: Replayed::default(), next_tick_ns: None, last_ns: 0 }
    }

    /// Hands on frames that were captured together at `time_ns`. A time before the last one is taken as the last one:
    /// stream time does not run backwards.
    pub fn feed(&mut self, time_ns: u64, frames: &[FrameView<'_>]) {
        self.advance(time_ns);
        let mut out = self.given.outputs(F::ID);
        for part in frames.chunks(BATCH_FRAMES) {
            self.feature.on_batch(&Batch::new(self.last_ns, part), &mut out);
        }
    }

    /// Lets stream time pass up to `time_ns`. Over a long silence only the last ticks are run: the first closes every
    /// window that was open, and the rest would find nothing new.
    pub fn advance(&mut self, time_ns: u64) {
        self.last_ns = self.last_ns.max(time_ns);
        let mut tick = self.next_tick_ns.unwrap_or_else(|| self.last_ns.next_multiple_of(TICK_NS));
        let mut out = self.given.outputs(F::ID);
        let mut run = 0;
        while tick <= self.last_ns {
            self.feature.on_tick(tick, &mut out);
            run += 1;
            tick = if run == TICKS_BEFORE_SKIP {
                (self.last_ns / TICK_NS * TICK_NS).max(tick + TICK_NS)
            } else {
                tick + TICK_NS
            };
        }
        self.next_tick_ns = Some(tick);
    }

    /// Ends the stream: a last tick far enough on to close a one-minute window, then everything the feature gave.
    #[must_use]
    pub fn finish(mut self) -> Replayed {
        let end = self.last_ns.saturating_add(CLOSING_NS);
        let mut out = self.given.outputs(F::ID);
        self.feature.on_tick(end, &mut out);
        self.given
    }
}

/// Ticks run one by one over a silence before the rest of it is skipped: two minutes' worth, so that every open window closes.
const TICKS_BEFORE_SKIP: u32 = 1_200;

/// Longest window a feature of this room keeps open, twice: 2 min.
const CLOSING_NS: u64 = 120_000_000_000;
