//! A group on its way: filled in a buffer, sealed, written, durable.

use std::fs::File;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::format::{GROUP_HEADER, GROUP_MAGIC, GroupHeader, RECORD_HEADER, RecordHeader, group_bytes, record_bytes};
use crate::index::Sources;
use crate::spec::Stamp;
use crate::streams::{self, Step};

/// The group that frames are put into.
pub(crate) struct Filling {
    /// Index of its buffer.
    pub(crate) buffer: usize,
    /// Number of its first record.
    pub(crate) first: u64,
    used: usize,
    count: u32,
    earliest_ns: u64,
    latest_ns: u64,
    steps: Vec<Step>,
    sources: Sources,
}

/// A group that is whole, in the order of the log.
pub(crate) struct Sealed {
    /// Index of its buffer.
    pub(crate) buffer: usize,
    /// Number of its first record.
    pub(crate) first: u64,
    /// Number of the first record behind it.
    pub(crate) end: u64,
    /// Bytes in the file.
    pub(crate) length: usize,
    /// File and byte it belongs to, once that is settled: a second try writes to the same place.
    pub(crate) place: Option<(Arc<File>, u64)>,
    /// Earliest and latest time of a record.
    pub(crate) times: (u64, u64),
    /// Its records' sources.
    pub(crate) sources: Sources,
    /// How far it is.
    pub(crate) stage: Stage,
    /// Its records of stream sources.
    pub(crate) steps: Vec<Step>,
}

/// How far a sealed group is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be written, or to be written again.
    Waiting,
    /// The disk has been asked.
    Writing,
    /// On the disk.
    Durable,
}

impl Filling {
    pub(crate) fn new(buffer: usize, first: u64) -> Self {
        let (earliest_ns, latest_ns, steps) = (u64::MAX, 0, Vec::new());
        Self { buffer, first, used: GROUP_HEADER, count: 0, earliest_ns, latest_ns, steps, sources: Sources::NONE }
    }

    /// Bytes of header and records so far.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Copies a frame in; the caller has checked that `bytes`, the group's buffer, has room.
    pub(crate) fn put(&mut self, bytes: &mut [u8], stamp: &Stamp, frame: &[&[u8]]) {
        let start = self.used;
        let mut at = start + RECORD_HEADER;
        for (place, word) in bytes[start..at].chunks_exact_mut(8).zip(RecordHeader::words(stamp, frame)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for piece in frame {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        self.sources.add(stamp.source);
        if stamp.stream {
            let number = self.end();
            streams::note(&mut self.steps, stamp, number);
        }
        self.used += record_bytes(at - start - RECORD_HEADER);
        bytes[at..self.used].fill(0); // the buffer still has what was written from it before
        self.count += 1; // a group of at most 1 GiB has fewer than 2^32 records
        self.earliest_ns = self.earliest_ns.min(stamp.time_ns);
        self.latest_ns = self.latest_ns.max(stamp.time_ns);
    }

    /// Number of the first record behind the group.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Writes header and padding into `bytes`, the group's buffer.
    pub(crate) fn seal(self, bytes: &mut [u8], log_id: [u8; 16]) -> Sealed {
        let payload = &bytes[GROUP_HEADER..self.used];
        let [a, b, c, d, e, f, g, h, ..] = log_id;
        let mut header = GroupHeader {
            magic: GROUP_MAGIC.into(),
            length: (payload.len() as u32).into(), // at most 1 GiB
            count: self.count.into(),
            payload_checksum: crc32c::crc32c(payload).into(),
            first: self.first.into(),
            earliest_ns: self.earliest_ns.into(),
            latest_ns: self.latest_ns.into(),
            log_id: [a, b, c, d, e, f, g, h],
            reserved: [0; 12],
            checksum: 0.into(),
        };
        header.checksum = crc32c::crc32c(&header.as_bytes()[..GROUP_HEADER - 4]).into();
        let length = group_bytes(payload.len());
        bytes[..GROUP_HEADER].copy_from_slice(header.as_bytes());
        bytes[self.used..length].fill(0);
        let (buffer, first, end) = (self.buffer, self.first, self.end());
        Sealed {
            buffer,
            first,
            end,
            length,
            place: None,
            times: (self.earliest_ns, self.latest_ns),
            sources: self.sources,
            stage: Stage::Waiting,
            steps: self.steps,
        }
    }
}
