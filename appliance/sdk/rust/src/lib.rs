//! Room 11b: the client. Frames come from a program as messages and leave over a stream to the box; memory can be shared.
//!
//! | module | what it is |
//! |---|---|
//! | [`client`] | [`StreamClient`]: messages over TCP or a local socket, kept until they are acknowledged, sent again if need be |
//! | [`window`] | the messages that are not acknowledged yet |
//! | [`address`] | where a box listens |
//! | [`ingest`] | [`Ingest`]: batches of events, packed, paced and sent |
//! | [`pack`] | events into as few event-batch messages as they fit |
//! | [`limit`] | so many events a second |
//! | [`buffer`] | [`SharedBuffer`]: a ring of bytes on hugepages and a NUMA node of choice |
//! | [`error`] | what can go wrong: value, cause and cure |
//!
//! It needs no runtime: a client has one thread that writes and one that reads, and blocks nobody who does not ask for it.

pub mod address;
pub mod buffer;
pub mod client;
pub mod error;
pub mod ingest;
pub mod limit;
pub mod pack;
pub mod window;

mod link;

pub use address::IngestAddress;
pub use buffer::SharedBuffer;
pub use client::{StreamClient, StreamOptions, StreamStatistics};
pub use error::{SdkError, StreamFailure};
pub use ingest::{Ingest, IngestOptions};
pub use pack::EventView;
