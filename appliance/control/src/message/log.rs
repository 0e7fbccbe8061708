//! What `weir log --json` prints. Fields are only added.

use serde::{Deserialize, Serialize};

/// A segment file of the durable log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSegment {
    /// Its path.
    pub file: String,
    /// Number of its first record.
    pub first: u64,
    /// Its size in bytes, as allocated.
    pub bytes: u64,
}

/// A record of the durable log, without its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its number.
    pub number: u64,
    /// When the frame was read from its ring: CLOCK_REALTIME in nanoseconds.
    pub time_ns: u64,
    /// Class of the ring.
    pub class: u8,
    /// The message's source, 0 where the frame is none.
    pub source: u32,
    /// The message's sequence number, 0 where the frame is none.
    pub sequence: u64,
    /// Whether it came over a stream.
    #[serde(default)]
    pub stream: bool,
    /// Bytes of the frame.
    pub length: u64,
}

/// What a check of the whole log found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogVerdict {
    /// Every byte is as it was written.
    pub sound: bool,
    /// Segment files.
    pub segments: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Number of the first.
    pub first: Option<u64>,
    /// Number of the last.
    pub last: Option<u64>,
    /// Where the newest segment ends in the middle of a group, if it does.
    pub torn: Option<String>,
    /// Everything else that is not as it was written: file, byte, cause.
    pub damage: Vec<String>,
    /// Files beside segments that are missing or do not hold: no record is lost by that, and a start mends it.
    #[serde(default)]
    pub beside: Vec<String>,
    /// Sequence of each source.
    pub sources: Vec<LogSource>,
    /// Records of sources beyond the limit of the audit.
    pub untracked: u64,
}

/// The sequence of one source of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSource {
    /// The class.
    pub class: u8,
    /// The source.
    pub source: u32,
    /// Its records came over a stream, whose count other classes have other parts of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Records seen.
    pub records: u64,
    /// Numbers that were skipped and did not come later.
    pub lost: u64,
    /// Records whose number had come before.
    pub doubled: u64,
    /// Records that came after a later one.
    pub reordered: u64,
    /// Records too late to be told apart.
    pub stale: u64,
}
