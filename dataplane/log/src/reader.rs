//! Records out of segment files, while they are written or later.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{LogError, Result};
use crate::format::{BLOCK, GROUP_HEADER, GroupHeader, RECORD_HEADER, RecordHeader};
use crate::index::{self, Guide};
use crate::segment::{self, Found, Segment};
use crate::spec::Stamp;

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub number: u64,
    /// What the log keeps beside the frame.
    pub stamp: Stamp,
    /// The frame.
    pub frame: &'a [u8],
}

/// Reads a log in order; as many as one likes may read, beside the writer too.
///
/// A follower of a running writer may see records that are written but not durable yet: after a power cut they may be
/// missing. It never sees half a group.
pub struct LogReader {
    folder: PathBuf,
    log_id: [u8; 16],
    segment: Segment,
    file: File,
    /// Whether a later segment exists: then nothing in this one changes any more.
    sealed: bool,
    /// Where the next group begins, in bytes.
    at: u64,
    /// Number of the next group's first record.
    expected: u64,
    /// The current group, and what is left of it.
    buffer: Vec<u8>,
    cursor: usize,
    end: usize,
    left: u32,
    number: u64,
    from_number: u64,
    from_ns: Option<u64>,
    /// Earliest time, and the first behind the latest.
    times: Range<u64>,
    source: Option<u32>,
    /// The segment's index, once it was looked for: it is not there for the newest segment.
    guide: Option<Option<Guide>>,
    read_bytes: u64,
}

impl LogReader {
    /// Reads the log in `folder` from its oldest record on.
    ///
    /// # Errors
    /// [`LogError::NoLog`], [`LogError::Damaged`] when a header is bad, and what the kernel refuses.
    pub fn open(folder: &Path) -> Result<Self> {
        let segments = segment::list(folder)?;
        let Some(oldest) = segments.first() else { return Err(LogError::NoLog { folder: folder.to_owned() }) };
        let file = oldest.open()?;
        let log_id = oldest.header(&file)?.log_id;
        let first = oldest.first;
        Ok(Self {
            folder: folder.to_owned(),
            log_id,
            segment: oldest.clone(),
            file,
            sealed: segments.len() > 1,
            at: BLOCK,
            expected: first,
            buffer: Vec::new(),
            cursor: 0,
            end: 0,
            left: 0,
            number: first,
            from_number: 0,
            from_ns: None,
            times: 0..u64::MAX,
            source: None,
            guide: None,
            read_bytes: 0,
        })
    }

    /// Goes to record `number`; if it is not written yet, to the end, to wait for it.
    ///
    /// # Errors
    /// [`LogError::Gone`] when retention has deleted it, and as [`LogReader::open`].
    pub fn seek_number(&mut self, number: u64) -> Result<()> {
        let segments = segment::list(&self.folder)?;
        let Some(oldest) = segments.first() else { return Err(LogError::NoLog { folder: self.folder.clone() }) };
        let holds = segments.iter().rev().find(|segment| segment.first <= number);
        let Some(segment) = holds else { return Err(LogError::Gone { wanted: number, first: oldest.first }) };
        let sealed = segments.last() != Some(segment);
        self.enter(segment.clone(), sealed)?;
        (self.from_number, self.from_ns) = (number, None);
        self.guide = None;
        Ok(())
    }

    /// Goes to the oldest record of time `time_ns` (CLOCK_REALTIME) or later; all behind it follow, whatever their times.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn seek_time(&mut self, time_ns: u64) -> Result<()> {
        let segments = segment::list(&self.folder)?;
        let Some(oldest) = segments.first() else { return Err(LogError::NoLog { folder: self.folder.clone() }) };
        self.enter(oldest.clone(), segments.len() > 1)?;
        (self.from_number, self.from_ns) = (0, Some(time_ns));
        Ok(())
    }

    /// From now on gives records of these times only (CLOCK_REALTIME in nanoseconds), wherever they stand: the clock may
    /// have been set back between them.
    pub fn only_times(&mut self, times: Range<u64>) {
        self.times = times;
    }

    /// From now on gives records of this source only; `None` for all.
    pub fn only_source(&mut self, source: Option<u32>) {
        self.source = source;
    }

    /// The next record, or `None` where the log ends now: asked again later, it goes on when more was written.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where bytes are not what was written and whole segments follow, [`LogError::Gone`] when
    /// retention was faster, and what the kernel refuses. The reader stays where it is.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>> {
        let (number, stamp, start, length) = loop {
            if self.left == 0 {
                if !self.next_group()? {
                    return Ok(None);
                }
                continue;
            }
            let parsed = RecordHeader::parse(&self.buffer[self.cursor..self.end]);
            let (header, frame, rest) = parsed.map_err(|why| self.segment.damaged(self.at, why))?;
            let (number, start, stamp) = (self.number, self.cursor + RECORD_HEADER, header.stamp());
            let length = frame.len();
            self.cursor = self.end - rest.len();
            self.number += 1;
            self.left -= 1;
            if number < self.from_number || self.from_ns.is_some_and(|from| stamp.time_ns < from) {
                continue;
            }
            self.from_ns = None;
            let of_time = self.times.contains(&stamp.time_ns) || self.times == (0..u64::MAX);
            if of_time && self.source.is_none_or(|source| source == stamp.source) {
                break (number, stamp, start, length);
            }
        };
        Ok(Some(Record { number, stamp, frame: &self.buffer[start..start + length] }))
    }

    /// Number of the record from which on nothing was looked at yet.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.number
    }

    /// Bytes read so far, of segments and of their indexes.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    fn enter(&mut self, segment: Segment, sealed: bool) -> Result<()> {
        let file = segment.open()?;
        let header = segment.header(&file)?;
        if header.log_id != self.log_id {
            return Err(segment.damaged(0, "the segment belongs to another log"));
        }
        (self.file, self.sealed, self.at) = (file, sealed, BLOCK);
        (self.expected, self.number, self.left) = (segment.first, segment.first, 0);
        self.guide = None;
        self.segment = segment;
        Ok(())
    }

    /// Reads the next group that may hold what is wanted. False where the log ends now.
    fn next_group(&mut self) -> Result<bool> {
        let mut looked_again = false;
        loop {
            let (from, position) = (self.at, self.expected);
            self.jump();
            let why = match self.group_here()? {
                Found::Whole(header) if header.first.get() == self.expected => {
                    self.at += header.bytes();
                    self.number = self.expected;
                    self.expected = header.end();
                    if self.may_skip(&header) {
                        self.number = self.expected;
                        continue;
                    }
                    (self.cursor, self.left) = (GROUP_HEADER, header.count.get());
                    self.end = GROUP_HEADER + header.length.get() as usize;
                    return Ok(true);
                }
                Found::Whole(_) => "the numbers of the records do not follow",
                Found::Nothing => "no group begins here, but later records exist",
                Found::Bad(why) => why,
            };
            let led = self.at > from;
            let at_end = matches!(&self.guide, Some(Some(guide)) if (self.at, self.expected) == guide.end());
            if led && !at_end {
                self.pass_over(position, why);
                continue;
            }
            let segments = segment::list(&self.folder)?;
            let later = segments.iter().find(|segment| segment.first > self.segment.first);
            let Some(later) = later else { return Ok(false) };
            if later.first == self.expected {
                self.enter(later.clone(), segments.last() != Some(later))?;
                looked_again = false;
            } else if led {
                self.pass_over(position, "the segment ends elsewhere");
            } else if !looked_again {
                // The last groups here may have been written between the two looks: they are all durable before a later
                // segment exists, so the second look sees them.
                (looked_again, self.sealed) = (true, true);
            } else if !self.segment.path.exists() {
                return Err(LogError::Gone { wanted: self.expected, first: later.first });
            } else {
                return Err(self.segment.damaged(self.at, why));
            }
        }
    }

    fn group_here(&mut self) -> Result<Found> {
        let mut buffer = std::mem::take(&mut self.buffer);
        // What is not wanted is skipped by its header where nothing changes any more; at the end of the log the whole
        // group must hold before anybody goes behind it.
        let wanted = |header: &GroupHeader| !self.sealed || !self.may_skip(header);
        let found = self.segment.group(&self.file, self.at, &self.log_id, &mut buffer, wanted);
        self.buffer = buffer;
        self.read_bytes += self.buffer.len() as u64;
        found
    }

    fn may_skip(&self, header: &GroupHeader) -> bool {
        self.is_outside(header.end(), header.earliest_ns.get(), header.latest_ns.get())
    }

    /// Whether nothing is wanted of records up to `end` whose times lie between these two.
    fn is_outside(&self, end: u64, earliest_ns: u64, latest_ns: u64) -> bool {
        end <= self.from_number
            || self.from_ns.is_some_and(|from| latest_ns < from)
            || latest_ns < self.times.start
            || (earliest_ns >= self.times.end && self.times.end != u64::MAX)
    }

    /// Goes to the next place of a closed segment that may hold what is wanted, by the segment's index.
    fn jump(&mut self) {
        let all = (self.times == (0..u64::MAX)) && self.from_ns.is_none() && self.source.is_none();
        if !self.sealed || (all && self.from_number <= self.expected) {
            return;
        }
        if self.guide.is_none() {
            let guide = Guide::read(&self.segment, &self.file, &self.log_id);
            self.read_bytes += guide.as_ref().map_or(0, Guide::length);
            let path = self.segment.path.display();
            let told = |why: &String| tracing::info!("every group of {path} is looked at; of its index: {why}");
            self.guide = Some(guide.inspect_err(told).ok());
        }
        let Some(Some(guide)) = &self.guide else { return };
        let may_hold = |set: &[u8]| self.source.is_none_or(|source| index::may_hold(set, source));
        let header = &guide.header;
        let outside = self.is_outside(header.end.get(), header.earliest_ns.get(), header.latest_ns.get());
        let (at, record) = if outside || !may_hold(&header.sources) {
            guide.end()
        } else {
            guide.next(self.at, |line, end| {
                !self.is_outside(end, line.earliest_ns.get(), line.latest_ns.get()) && may_hold(&line.sources)
            })
        };
        if at > self.at {
            (self.at, self.expected, self.number) = (at, record, record);
        }
    }

    /// Goes through the whole segment without its index; records before `position` were given or not wanted.
    fn pass_over(&mut self, position: u64, why: &str) {
        tracing::warn!("every group of {} is looked at: its index is not true: {why}", self.segment.path.display());
        self.from_number = self.from_number.max(position);
        (self.guide, self.at, self.expected) = (Some(None), BLOCK, self.segment.first);
    }
}
