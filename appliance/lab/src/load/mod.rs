//! Load in an open loop: frames are due by the clock, whether or not the box keeps up.
//!
//! Every frame carries the time at which it was *due*, so a generator that falls behind makes latencies longer instead
//! of hiding them. The receiving side accounts for every frame by source and sequence number.

mod footprint;
mod ledger;
mod memory;
mod meter;
mod outcome;
mod overload;
mod pace;
mod phased;
mod receive;
mod run;
mod tally;
mod timeline;

pub use footprint::{Footprint, resident};
pub use ledger::{Ledger, Phase, PhaseBooks, Shed, Slice, SourceBooks};
pub use memory::{MemoryRig, MemorySpec, Parts};
pub use meter::Meter;
pub use outcome::{Latency, Outcome, SourceOutcome};
pub use overload::{Overload, overload};
pub use pace::Pace;
pub use phased::{PhaseSent, drive_phases};
pub use receive::{Consumer, Receiver, RingReceiver, UdpReceiver};
pub use run::{Flow, Labels, Plan, drive, run, watched};
pub use tally::Tally;
pub use timeline::Timeline;
