//! Room 8: features/streaming. Frames come from features/worker as borrowed views and leave as records about windows.
//!
//! Who sends how much, how late, and of what: for each (source agent, message type) and each (event source, event
//! type) the counts, bytes and latency quantiles over tumbling windows of one second and one minute, and the flows that
//! sent most. README.md beside this room says what it costs.
//!
//! * [`windows`] is the engine: samples in, rows out, no input or output of its own;
//! * [`events`] walks the events of a batch where they lie;
//! * [`histogram`], [`talkers`] and the bounded tables are the summaries with their error bounds;
//! * [`rows`] are the 112-byte bodies of the records;
//! * [`feature`] fits the engine to the worker.

pub mod checkpoint;
pub mod columns;
pub mod events;
pub mod feature;
pub mod filter;
pub mod histogram;
pub mod query;
pub mod rows;
pub mod simd;
pub mod talkers;
pub mod windows;

mod table;

pub use feature::Streaming;
pub use windows::Settings;
