//! Load in an open loop: frames are due by the clock, whether or not the box keeps up.
//!
//! Every frame carries the time at which it was *due*, so a generator that falls behind makes latencies longer instead
//! of hiding them. The receiving side accounts for every frame by source and sequence number.

mod memory;
mod meter;
mod outcome;
mod pace;
mod receive;
mod run;

pub use memory::{MemoryRig, MemorySpec, Parts};
pub use meter::Meter;
pub use outcome::{Latency, Outcome, SourceOutcome};
pub use pace::Pace;
pub use receive::{Receiver, RingReceiver, UdpReceiver};
pub use run::{Flow, Labels, Plan, drive, run};
