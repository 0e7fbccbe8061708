//! Room 6b: dataplane/log. Frames come from whoever lends them, as byte slices, and leave to segment files on disk.
//!
//! What is acknowledged here is on the disk, so a frame of a durable class can be lent again. The same room reads the
//! files back, and says which byte of which file is bad. The layout of the files is in `docs/log.md`.
//!
//! * [`LogWriter`] gathers frames into groups, writes each with one operation, and tells up to which record all is durable;
//! * [`LogReader`] gives records back by number, by time or of one source, and follows a log that is being written;
//! * [`verify()`] checks every byte of a log, [`Audit`] the sequence of every source;
//! * [`LogTaker`] is a taker of rings like any other: its cursor moves when what lies behind it is durable;
//! * [`format`](mod@format) has the layout as types.

mod ahead;
pub mod audit;
pub mod error;
pub mod format;
mod groups;
mod index;
pub mod reader;
mod recovery;
mod retention;
mod segment;
pub mod spec;
mod streams;
pub mod taker;
pub mod verify;
pub mod writer;

use std::path::{Path, PathBuf};

pub use audit::{Audit, Sender, Tally};
pub use error::{LogError, Result};
pub use reader::{LogReader, Record};
pub use recovery::{Cut, Recovery};
pub use retention::Retired;
pub use spec::{LogSpec, Stamp, WhenFull};
pub use streams::StreamsFrom;
pub use taker::{LogCounts, LogTaker, LoggedRing, Now, Turn, WhenStuck};
pub use verify::{Spot, Verified, verify};
pub use writer::LogWriter;

/// The segment files in `folder`, oldest first: path and number of the first record.
///
/// # Errors
/// What the kernel refuses.
pub fn segments(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    Ok(segment::list(folder)?.into_iter().map(|segment| (segment.path, segment.first)).collect())
}
