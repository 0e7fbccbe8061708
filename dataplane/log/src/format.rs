//! The layout of segment files, as types; `docs/log.md` has it in words. Everything is little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::spec::Stamp;

/// Bytes of a block: a segment's header has one, and each group starts at a multiple of it.
pub const BLOCK: u64 = 4096;
/// First bytes of a segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"WEIRLOG1";
/// First bytes of a group, as a number: "WGRP" in the file.
pub const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"WGRP");
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of a group's header.
pub const GROUP_HEADER: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 32;
/// Bit of a record's flags: it came over a stream, and its sequence has 64 bits.
pub const FROM_STREAM: u8 = 1;
/// First bytes of the file that says how far each stream source had come.
pub const STREAMS_MAGIC: [u8; 8] = *b"WEIRSTR1";
/// Most stream sources that a log remembers: 1.5 MiB of lines.
pub const STREAMS_MOST: usize = 65_536;
/// First bytes of a segment's index.
pub const INDEX_MAGIC: [u8; 8] = *b"WEIRIDX1";
/// Most lines of an index: 1 MiB of them.
pub const INDEX_MOST: usize = 16_384;
/// Byte of the segment's header block at which the checksum of all bytes before it stands.
pub const SEGMENT_CHECKSUM: usize = 4092;

/// First bytes of a segment file. Zeros follow up to [`SEGMENT_CHECKSUM`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`SEGMENT_MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// [`BLOCK`], in bytes.
    pub block: U32,
    /// Number of the segment's first record; the file's name too.
    pub first: U64,
    /// When the file was made, CLOCK_REALTIME in nanoseconds.
    pub created_ns: U64,
    /// Random, the same in every segment of a log.
    pub log_id: [u8; 16],
}

/// In front of each group.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GroupHeader {
    /// [`GROUP_MAGIC`].
    pub magic: U32,
    /// Bytes of the records behind this header, each with its padding.
    pub length: U32,
    /// Records of the group.
    pub count: U32,
    /// CRC32C of those bytes.
    pub payload_checksum: U32,
    /// Number of the first record.
    pub first: U64,
    /// Earliest time of a record, CLOCK_REALTIME in nanoseconds.
    pub earliest_ns: U64,
    /// Latest time of a record, CLOCK_REALTIME in nanoseconds.
    pub latest_ns: U64,
    /// First bytes of the log's id: a group of another log that a disk left behind is none of ours.
    pub log_id: [u8; 8],
    /// Zero.
    pub reserved: [u8; 12],
    /// CRC32C of the header's bytes before this.
    pub checksum: U32,
}

/// In front of each frame; zeros pad the frame to a multiple of 8.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the frame, without padding.
    pub length: U32,
    /// Class whose ring the frame came from.
    pub class: u8,
    /// Bit 0: [`FROM_STREAM`]; the others are zero.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
    /// Who sent it.
    pub source: U32,
    /// The source's own count, its low 32 bits.
    pub sequence: U32,
    /// When it came, CLOCK_REALTIME in nanoseconds.
    pub time_ns: U64,
    /// CRC32C of the 24 bytes before this, the 4 behind it, and the frame.
    pub checksum: U32,
    /// High 32 bits of the source's count; zero where the message came in a packet.
    pub sequence_high: U32,
}

/// First bytes of the file beside a segment that says how far each stream source had come before it; [`StreamLine`]s
/// follow, ascending by source.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamsHeader {
    /// [`STREAMS_MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// Lines behind the header, at most [`STREAMS_MOST`].
    pub count: U32,
    /// Number of the segment's first record: the lines speak of all records before it.
    pub first: U64,
    /// The log's id.
    pub log_id: [u8; 16],
    /// Sources that had to be forgotten over the log's life because there were more than [`STREAMS_MOST`].
    pub forgotten: U64,
    /// Zero.
    pub reserved: [u8; 12],
    /// CRC32C of the header's bytes before this, then of the lines.
    pub checksum: U32,
}

/// How far one stream source has come.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamLine {
    /// Who sends.
    pub source: U32,
    /// Zero.
    pub reserved: U32,
    /// Its highest sequence in the log.
    pub sequence: U64,
    /// Number of its last record.
    pub record: U64,
}

/// First bytes of the file beside a closed segment that says which times and sources are where in it; [`IndexLine`]s
/// follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndexHeader {
    /// [`INDEX_MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// Lines behind the header, at most [`INDEX_MOST`].
    pub count: U32,
    /// Number of the segment's first record.
    pub first: U64,
    /// Number behind its last record.
    pub end: U64,
    /// The log's id.
    pub log_id: [u8; 16],
    /// Byte of the segment behind its last group.
    pub used: U64,
    /// Earliest time of a record, CLOCK_REALTIME in nanoseconds.
    pub earliest_ns: U64,
    /// Latest time of a record, CLOCK_REALTIME in nanoseconds.
    pub latest_ns: U64,
    /// Set of the sources in the segment: two bits of 4096 for each, see `docs/log.md`.
    pub sources: [u8; 512],
    /// Zero.
    pub reserved: [u8; 52],
    /// CRC32C of the header's bytes before this, then of the lines.
    pub checksum: U32,
}

/// A group of the segment, or several that follow each other where there are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndexLine {
    /// Byte of the segment at which the group begins.
    pub at: U64,
    /// Number of its first record.
    pub first: U64,
    /// Earliest time of a record, CLOCK_REALTIME in nanoseconds.
    pub earliest_ns: U64,
    /// Latest time of a record, CLOCK_REALTIME in nanoseconds.
    pub latest_ns: U64,
    /// Set of its sources: two bits of 256 for each.
    pub sources: [u8; 32],
}

const _: () = assert!(size_of::<SegmentHeader>() == 48);
const _: () = assert!(size_of::<IndexHeader>() == 640);
const _: () = assert!(size_of::<IndexLine>() == 64);
const _: () = assert!(size_of::<GroupHeader>() == GROUP_HEADER);
const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER);
const _: () = assert!(size_of::<StreamsHeader>() == 64);
const _: () = assert!(size_of::<StreamLine>() == 24);

/// Bytes of a record in a group: header, frame, padding.
#[must_use]
pub const fn record_bytes(frame: usize) -> usize {
    RECORD_HEADER + frame.next_multiple_of(8)
}

/// Bytes of a group in the file, for `payload` bytes of records.
#[must_use]
pub const fn group_bytes(payload: usize) -> usize {
    (GROUP_HEADER + payload).next_multiple_of(BLOCK as usize)
}

impl SegmentHeader {
    /// The whole header block of a segment.
    #[must_use]
    pub fn block(first: u64, created_ns: u64, log_id: [u8; 16]) -> Vec<u8> {
        let magic = SEGMENT_MAGIC;
        let (version, block) = (VERSION.into(), (BLOCK as u32).into());
        let header = Self { magic, version, block, first: first.into(), created_ns: created_ns.into(), log_id };
        let mut bytes = vec![0; BLOCK as usize];
        bytes[..size_of::<Self>()].copy_from_slice(header.as_bytes());
        let checksum = crc32c::crc32c(&bytes[..SEGMENT_CHECKSUM]);
        bytes[SEGMENT_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header of a segment whose file says that it begins with record `first`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], first: u64) -> Result<Self, &'static str> {
        let (Some(head), Some(tail)) = (bytes.get(..SEGMENT_CHECKSUM), bytes.get(SEGMENT_CHECKSUM..BLOCK as usize))
        else {
            return Err("the segment's header is cut short");
        };
        if crc32c::crc32c(head).to_le_bytes() != tail {
            return Err("the checksum of the segment's header does not hold");
        }
        let (header, _) = Self::read_from_prefix(head).map_err(|_| "the segment's header is cut short")?;
        match (header.magic == SEGMENT_MAGIC, header.version.get() == VERSION, header.block.get() == BLOCK as u32) {
            (false, ..) => Err("the segment does not begin with WEIRLOG1"),
            (_, false, _) => Err("the segment is of a version that this program does not know"),
            (_, _, false) => Err("the segment has another block size than 4096"),
            _ if header.first.get() != first => Err("the segment's first record is not the one in the file's name"),
            _ => Ok(header),
        }
    }
}

impl GroupHeader {
    /// The header at the start of `bytes`, if it is one of the log `log_id` and its own checksum holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], log_id: &[u8; 16]) -> Result<Self, &'static str> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| "the group's header is cut short")?;
        if header.magic.get() != GROUP_MAGIC {
            return Err("no group begins here");
        }
        if crc32c::crc32c(&header.as_bytes()[..GROUP_HEADER - 4]) != header.checksum.get() {
            return Err("the checksum of the group's header does not hold");
        }
        if header.log_id != log_id[..8] {
            return Err("the group belongs to another log");
        }
        if header.count.get() == 0 || header.reserved != [0; 12] {
            return Err("the group's header says what no writer writes");
        }
        Ok(header)
    }

    /// Number of the first record behind the group.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.get().saturating_add(u64::from(self.count.get()))
    }

    /// Bytes of the group in the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        group_bytes(self.length.get() as usize) as u64
    }
}

impl StreamsHeader {
    /// The header and the lines in `bytes`, if they belong to the segment of the log `log_id` that begins with record
    /// `first` and every one of them is as it was written.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse<'a>(bytes: &'a [u8], first: u64, log_id: &[u8; 16]) -> Result<(Self, &'a [StreamLine]), &'static str> {
        let (header, rest) = Self::read_from_prefix(bytes).map_err(|_| "it is shorter than its header")?;
        match (header.magic == STREAMS_MAGIC, header.version.get() == VERSION, header.count.get() as usize) {
            (false, ..) => return Err("it does not begin with WEIRSTR1"),
            (_, false, _) => return Err("it is of a version that this program does not know"),
            (.., count) if count > STREAMS_MOST => return Err("it has too many lines"),
            (.., count) if rest.len() != count * size_of::<StreamLine>() => {
                return Err("it is not as long as its lines");
            }
            _ => {}
        }
        if header.checksum_with(rest) != header.checksum.get() {
            return Err("its checksum does not hold");
        }
        if header.log_id != *log_id || header.first.get() != first {
            return Err("it belongs to another segment");
        }
        let lines = <[StreamLine]>::ref_from_bytes(rest).map_err(|_| "it is not as long as its lines")?;
        let ascending = lines.is_sorted_by(|one, next| one.source.get() < next.source.get());
        if !ascending || lines.iter().any(|line| line.record.get() >= first) {
            return Err("its lines say what no writer writes");
        }
        Ok((header, lines))
    }

    pub(crate) fn checksum_with(&self, lines: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.as_bytes()[..60]), lines)
    }
}

impl IndexHeader {
    /// The header and the lines in `bytes`, if they belong to the segment of the log `log_id` that begins with record
    /// `first` and every one of them is as it was written.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse<'a>(bytes: &'a [u8], first: u64, log_id: &[u8; 16]) -> Result<(Self, &'a [IndexLine]), &'static str> {
        let (header, rest) = Self::read_from_prefix(bytes).map_err(|_| "it is shorter than its header")?;
        match (header.magic == INDEX_MAGIC, header.version.get() == VERSION, header.count.get() as usize) {
            (false, ..) => return Err("it does not begin with WEIRIDX1"),
            (_, false, _) => return Err("it is of a version that this program does not know"),
            (.., count) if count > INDEX_MOST => return Err("it has too many lines"),
            (.., count) if rest.len() != count * size_of::<IndexLine>() => {
                return Err("it is not as long as its lines");
            }
            _ => {}
        }
        if header.checksum_with(rest) != header.checksum.get() {
            return Err("its checksum does not hold");
        }
        if header.log_id != *log_id || header.first.get() != first {
            return Err("it belongs to another segment");
        }
        let lines = <[IndexLine]>::ref_from_bytes(rest).map_err(|_| "it is not as long as its lines")?;
        let ascending =
            lines.is_sorted_by(|one, next| one.at.get() < next.at.get() && one.first.get() < next.first.get());
        let inside = |line: &IndexLine| line.at.get() < header.used.get() && line.first.get() < header.end.get();
        let earliest = lines.iter().map(|line| line.earliest_ns.get()).min().unwrap_or(u64::MAX);
        let latest = lines.iter().map(|line| line.latest_ns.get()).max().unwrap_or_default();
        let spanned = (header.earliest_ns.get(), header.latest_ns.get()) == (earliest, latest);
        if !ascending || !spanned || !lines.iter().all(inside) {
            return Err("its lines say what no writer writes");
        }
        Ok((header, lines))
    }

    pub(crate) fn checksum_with(&self, lines: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.as_bytes()[..636]), lines)
    }
}

/// Number and stamp of each record of a group that was read whole into `buffer`. The group's checksum was found to hold,
/// so those of its records are not computed again.
pub(crate) fn records<'a>(header: &GroupHeader, buffer: &'a [u8]) -> impl Iterator<Item = (u64, Stamp)> + 'a {
    let mut rest = buffer.get(GROUP_HEADER..GROUP_HEADER + header.length.get() as usize).unwrap_or_default();
    (header.first.get()..header.end()).map_while(move |number| {
        let (record, behind) = RecordHeader::read_from_prefix(rest).ok()?;
        rest = behind.get((record.length.get() as usize).checked_next_multiple_of(8)?..)?;
        Some((number, record.stamp()))
    })
}

impl RecordHeader {
    /// The header of a frame given in pieces, as the words that it is made of.
    ///
    /// Words, because whoever writes a field and then reads more than the field waits until every store before it is done, and
    /// what is stored before it is the copy of a frame: a quarter of a microsecond for each record.
    pub(crate) fn words(stamp: &Stamp, frame: &[&[u8]]) -> [u64; RECORD_HEADER / 8] {
        let length: usize = frame.iter().map(|piece| piece.len()).sum(); // a group is at most 1 GiB
        let flags = if stamp.stream { FROM_STREAM } else { 0 };
        let first = length as u64 | u64::from(stamp.class) << 32 | u64::from(flags) << 40;
        let second = u64::from(stamp.source) | stamp.sequence << 32;
        let high = stamp.sequence >> 32;
        let head = [first, second, stamp.time_ns, high].map(u64::to_le);
        let head = crc32c::crc32c(&head.as_bytes()[..RECORD_HEADER - 4]);
        let sum = frame.iter().fold(head, |sum, piece| crc32c::crc32c_append(sum, piece));
        [first, second, stamp.time_ns, u64::from(sum) | high << 32]
    }

    fn checksum_with(&self, frame: &[&[u8]]) -> u32 {
        let bytes = self.as_bytes();
        // All but the checksum itself, in one piece: two calls would cost as much again for a short frame.
        let mut head = [0; RECORD_HEADER - 4];
        head[..24].copy_from_slice(&bytes[..24]);
        head[24..].copy_from_slice(&bytes[28..]);
        let head = crc32c::crc32c(&head);
        frame.iter().fold(head, |sum, piece| crc32c::crc32c_append(sum, piece))
    }

    /// What the log keeps beside the frame.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let sequence = u64::from(self.sequence_high.get()) << 32 | u64::from(self.sequence.get());
        let (class, stream) = (self.class, self.flags & FROM_STREAM != 0);
        Stamp { class, source: self.source.get(), sequence, stream, time_ns: self.time_ns.get() }
    }

    /// The record at the start of `bytes`: its header, its frame, and what follows its padding.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), &'static str> {
        let (header, rest) = Self::read_from_prefix(bytes).map_err(|_| "a record's header is cut short")?;
        let length = header.length.get() as usize;
        let padded = length.checked_next_multiple_of(8).filter(|padded| *padded <= rest.len());
        let Some(padded) = padded else { return Err("a record is longer than its group") };
        if header.checksum_with(&[&rest[..length]]) != header.checksum.get() {
            return Err("the checksum of a record does not hold");
        }
        Ok((header, &rest[..length], &rest[padded..]))
    }
}
