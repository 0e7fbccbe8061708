//! Room 11b: sdk/rust. Messages come from a program and leave to a box, over a stream that loses none.
//!
//! [`StreamClient`] speaks the stream form of `docs/wire.md`: it keeps what is not acknowledged, within bounds, sends on
//! from where the box stands after a broken connection, and lets its caller feel the box's credit.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use weir_appliance_sdk_rust::{StreamClient, StreamOptions};
//! let mut client = StreamClient::new("unix:/run/weir/ingest.sock".parse()?, StreamOptions::new(7));
//! client.send(48_100, &[0; 28], std::time::Duration::from_secs(1))?;
//! client.flush(std::time::Duration::from_secs(5))?;
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod error;
mod events;
mod socket;

pub use address::IngestAddress;
pub use client::{StreamClient, StreamOptions, StreamStatistics};
pub use error::StreamFailure;
pub use events::{Event, EventBatches};
