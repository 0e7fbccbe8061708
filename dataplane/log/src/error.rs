//! What the log says when it refuses: the value, the cause and the cure, in one line.

use std::io;
use std::path::{Path, PathBuf};

use weir_dataplane_io::IoError;

/// Why a log was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A value of the specification that cannot work.
    #[error("{what} of {value} cannot work: {cure}")]
    Spec {
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
        /// What to give instead.
        cure: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Another writer has the folder.
    #[error("{} is locked by another writer; stop that one first, or give this one a folder of its own", folder.display())]
    Locked {
        /// The log's folder.
        folder: PathBuf,
    },
    /// No segment is in the folder.
    #[error("{} holds no log: no file NNNNNNNNNNNNNNNNNNNN.weirlog; check the path, or start a writer first", folder.display())]
    NoLog {
        /// The folder.
        folder: PathBuf,
    },
    /// Bytes of a file are not what was written.
    #[error("{}, byte {byte}: {why}; the records before it are whole: verify the log, restore the file, or seek behind it", file.display())]
    Damaged {
        /// The segment file.
        file: PathBuf,
        /// Byte of the file at which the bad group or header starts.
        byte: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// Every group buffer is waiting for the disk; nothing was put.
    #[error("all {groups} groups wait for the disk; poll until one is durable and put the frame again")]
    Full {
        /// Group buffers there are.
        groups: usize,
    },
    /// No group can hold the frame; nothing was put.
    #[error("a frame of {length} bytes does not fit a group, which holds {room}; raise group_bytes")]
    TooLong {
        /// Bytes of the frame.
        length: usize,
        /// Bytes of the longest frame that fits.
        room: usize,
    },
    /// A write failed and nothing is written until [`crate::LogWriter::retry`]; what was acknowledged is safe.
    #[error("the log stands still since a write failed: {cause}; free space or mend the disk, then retry")]
    Failed {
        /// What the disk said.
        cause: String,
    },
    /// Retention has deleted the record.
    #[error("record {wanted} was deleted by retention; the oldest is {first}: seek there, or keep more")]
    Gone {
        /// Number of the record that was to be read.
        wanted: u64,
        /// Number of the oldest record there is.
        first: u64,
    },
}

/// The result of a call on a log.
pub type Result<T> = std::result::Result<T, LogError>;

/// A refused call on a file of the log.
pub(crate) fn refused(what: &str, path: &Path, cause: io::Error) -> LogError {
    const CURE: &str = "check the path, its owner, the mode and the disk's space";
    IoError::new(format!("{what} {}", path.display()), cause, CURE).into()
}
