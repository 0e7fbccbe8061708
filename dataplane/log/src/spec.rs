//! What a log is made of: where, how large, for how long.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{LogError, Result};
use crate::format::{BLOCK, GROUP_HEADER, RECORD_HEADER};

/// Where a log is and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Folder of the segment files; made if it is not there.
    pub folder: PathBuf,
    /// Bytes of a segment file, a multiple of 4096.
    pub segment_bytes: u64,
    /// Most bytes of all segment files; the oldest are deleted for it, the newest never. `None`: no limit.
    pub keep_bytes: Option<u64>,
    /// Longest time a segment is kept after its last record was written. `None`: for ever.
    pub keep_age: Option<Duration>,
    /// Bytes of a group with its header, a multiple of 4096: what is gathered at most before it is written.
    pub group_bytes: usize,
    /// Groups that are filled or wait for the disk at most.
    pub groups: usize,
    /// What to do when the disk has no room for the next segment.
    pub when_full: WhenFull,
    /// Whether to ask the kernel for io_uring; pwrite else.
    pub io_uring: bool,
}

/// What to do when the disk has no room for the next segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Stand still until there is room and `retry` is called: no record is lost.
    #[default]
    Stop,
    /// Delete the oldest segment, the newest never: new records are worth more than old ones.
    DeleteOldest,
}

impl LogSpec {
    /// A log in `folder`: segments of 64 MiB, groups of 1 MiB, four of them, nothing deleted.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: 64 << 20,
            keep_bytes: None,
            keep_age: None,
            group_bytes: 1 << 20,
            groups: 4,
            when_full: WhenFull::Stop,
            io_uring: true,
        }
    }

    /// Bytes of the longest frame that one group can hold.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        self.group_bytes.saturating_sub(GROUP_HEADER + RECORD_HEADER)
    }

    /// Says whether these values can work.
    ///
    /// # Errors
    /// [`LogError::Spec`] with the first that cannot.
    pub fn check(&self) -> Result<()> {
        let group = self.group_bytes as u64;
        let wrong = |what, value, cure| Err(LogError::Spec { what, value, cure });
        if !(BLOCK..=1 << 30).contains(&group) || !group.is_multiple_of(BLOCK) {
            return wrong("group_bytes", group, "give a multiple of 4096 from 4096 to 1 GiB");
        }
        if !self.segment_bytes.is_multiple_of(BLOCK) || self.segment_bytes < BLOCK + group {
            return wrong(
                "segment_bytes",
                self.segment_bytes,
                "give a multiple of 4096 of at least group_bytes + 4096",
            );
        }
        if !(2..=1024).contains(&self.groups) {
            return wrong("groups", self.groups as u64, "give 2 to 1024: one fills while another is written");
        }
        Ok(())
    }
}

/// What the log keeps about a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Class whose ring the frame came from.
    pub class: u8,
    /// Who sent it, by the number the application uses.
    pub source: u32,
    /// The source's own count: 32 bits of a message in a packet, 64 of one that came over a stream.
    pub sequence: u64,
    /// It came over a stream: source and sequence are the stream's, and no two records have the same.
    pub stream: bool,
    /// When it came, CLOCK_REALTIME in nanoseconds.
    pub time_ns: u64,
}
