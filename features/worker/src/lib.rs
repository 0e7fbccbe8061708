//! Room 7: features/worker. Frames come from dataplane/ring (the class's own ring, mapped read-only) and leave to a feature as borrowed views.
//!
//! A worker is one process per feature. It maps what it needs, gives up everything else ([`process`]), and then turns rings into
//! batches ([`taker`]) for the one trait every feature implements ([`feature`]). The same feature runs inside another process
//! from a capture with equal records ([`replay`]), because a feature does no input or output of its own.

pub mod attach;
pub mod audit;
pub mod batch;
pub mod feature;
pub mod outputs;
pub mod process;
pub mod replay;
pub mod taker;
pub mod waits;
