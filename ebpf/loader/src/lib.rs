//! Room 2: ebpf/loader. Frames come from nowhere and leave to nowhere: this room puts the classifier where they pass.
//!
//! * [`Classifier`] loads, attaches, pins and replaces the program, and fills its maps;
//! * [`compile`] turns rules into the classifier's rule set;
//! * [`HostTables`] are the same tables in memory, for the host's copy of the decision;
//! * [`floor`] attaches programs without a thought, to measure beside;
//! * [`generate`] sends live frames from inside the kernel and counts at the other end;
//! * [`measure`] asks the kernel what one frame costs.

mod attach;
mod classifier;
pub mod compile;
mod error;
mod flags;
pub mod floor;
pub mod generate;
mod grace;
pub mod measure;
mod object;
mod pins;
mod ran;
mod services;
mod tables;
mod values;

pub use attach::{AttachMode, AttachWish, Attached};
pub use classifier::{Classifier, LoadOptions};
pub use error::LoadError;
pub use flags::FlagTable;
pub use object::ORIGIN;
pub use pins::remove_pins;
pub use ran::{Ran, Verdict};
pub use services::{AgentState, Placement, Service, ServiceAgent, ServiceCounters};
pub use tables::HostTables;
