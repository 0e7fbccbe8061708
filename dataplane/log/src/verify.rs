//! Every byte of a log looked at: what is whole, what is torn, what is damaged and where.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{LogError, Result, refused};
use crate::format::{BLOCK, GROUP_HEADER, GroupHeader, RecordHeader};
use crate::index::{self, Index};
use crate::segment::{self, Found, Segment};
use crate::streams::{self, Streams};

/// A place in a log where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The segment file.
    pub file: PathBuf,
    /// Byte of the file at which the bad header, group or padding starts.
    pub byte: u64,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: {}", self.file.display(), self.byte, self.why)
    }
}

/// What [`verify()`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segment files.
    pub segments: u64,
    /// Whole groups.
    pub groups: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes of the whole records' frames.
    pub bytes: u64,
    /// Number of the first whole record.
    pub first: Option<u64>,
    /// Number of the last whole record.
    pub last: Option<u64>,
    /// The end of the newest segment, if it is not zero and no whole group stands behind it: a group that was being
    /// written when its writer died, or is being written now. Opening the log for writing cuts it off.
    pub torn: Option<Spot>,
    /// Everything else that is not as it was written.
    pub damage: Vec<Spot>,
    /// Files beside segments that are missing or do not hold. They save reading and hold no records; a writer writes them
    /// again when it opens the log, or is about to where it runs.
    pub beside: Vec<Spot>,
}

impl Verified {
    /// True when every byte of every segment is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.torn.is_none() && self.damage.is_empty()
    }
}

/// Reads all of the log in `folder` and checks every byte. Of a log that is being written, the newest group may seem torn.
///
/// # Errors
/// [`LogError::NoLog`] and what the kernel refuses; damage is no error but part of the answer.
pub fn verify(folder: &Path) -> Result<Verified> {
    let segments = segment::list(folder)?;
    if segments.is_empty() {
        return Err(LogError::NoLog { folder: folder.to_owned() });
    }
    let mut pass = Pass {
        found: Verified::default(),
        log_id: None,
        expected: None,
        buffer: Vec::new(),
        index: Index::new(0),
        streams: None,
    };
    for (index, segment) in segments.iter().enumerate() {
        pass.found.segments += 1;
        pass.segment(segment, index + 1 == segments.len())?;
    }
    Ok(pass.found)
}

struct Pass {
    found: Verified,
    log_id: Option<[u8; 16]>,
    /// Number that the next group must begin with, once one is known.
    expected: Option<u64>,
    buffer: Vec<u8>,
    /// Of the segment that is read.
    index: Index,
    /// Before the group that is read; unknown while nothing says what was before the oldest segment.
    streams: Option<Streams>,
}

impl Pass {
    fn segment(&mut self, segment: &Segment, newest: bool) -> Result<()> {
        let file = segment.open()?;
        match (segment.header(&file), self.log_id) {
            (Ok(header), None) => self.log_id = Some(header.log_id),
            (Ok(header), Some(known)) if header.log_id != known => {
                self.damage(segment, 0, "the segment belongs to another log");
            }
            (Ok(_), Some(_)) => {}
            (Err(LogError::Damaged { byte, why, .. }), _) => self.damage(segment, byte, why),
            (Err(other), _) => return Err(other),
        }
        if self.expected.is_some_and(|expected| expected != segment.first) {
            self.damage(segment, 0, "records are missing in front of this segment, or are in it twice");
        }
        self.expected = Some(segment.first);
        // Without a header that says which log it is, no group can be told from a stranger's.
        let Some(log_id) = self.log_id else { return Ok(()) };
        self.places(segment, &log_id, newest);
        self.index = Index::new(segment.first);
        let before = self.found.damage.len();
        self.groups(segment, &file, &log_id, newest)?;
        if !newest && self.found.damage.len() == before {
            self.index(segment, log_id);
        }
        Ok(())
    }

    /// Compares the file of stream sources beside a segment with what was read of the segments before it.
    fn places(&mut self, segment: &Segment, log_id: &[u8; 16], newest: bool) {
        if segment.first == 0 {
            self.streams = Some(Streams::default());
            return;
        }
        let why = match (Streams::read(segment, log_id), &self.streams) {
            (Err(_), _) => "it is missing or does not hold",
            (Ok(found), Some(known)) if found.forgotten() == 0 && found.sequences() != known.sequences() => {
                "the segments before it say otherwise"
            }
            (Ok(found), _) => {
                self.streams = Some(found);
                return;
            }
        };
        // Those of older segments only help out where the newest one's does not hold.
        if newest {
            self.found.beside.push(Spot { file: streams::path(segment), byte: 0, why });
        }
    }

    /// Compares the index beside a sound segment with what it must be.
    fn index(&mut self, segment: &Segment, log_id: [u8; 16]) {
        let file = index::path(segment);
        let why = match std::fs::read(&file) {
            Ok(bytes) if bytes == self.index.bytes(log_id) => return,
            Ok(_) => "it is not what the segment says",
            Err(_) => "it is missing or cannot be read",
        };
        self.found.beside.push(Spot { file, byte: 0, why });
    }

    fn groups(&mut self, segment: &Segment, file: &File, log_id: &[u8; 16], newest: bool) -> Result<()> {
        let mut at = BLOCK;
        loop {
            let why = match segment.group(file, at, log_id, &mut self.buffer, |_| true)? {
                Found::Whole(header) => {
                    self.group(segment, at, &header);
                    at += header.bytes();
                    continue;
                }
                Found::Nothing => "bytes that belong to no group",
                Found::Bad(why) => why,
            };
            let Some(first) = segment.first_set_byte(file, at)? else { return Ok(()) };
            match self.next_whole(segment, file, log_id, at + BLOCK)? {
                Some(next) => {
                    self.damage(segment, at, why);
                    at = next;
                }
                None if newest => {
                    self.found.torn = Some(Spot { file: segment.path.clone(), byte: first, why });
                    return Ok(());
                }
                None => {
                    self.damage(segment, first, why);
                    return Ok(());
                }
            }
        }
    }

    fn group(&mut self, segment: &Segment, at: u64, header: &GroupHeader) {
        if self.expected != Some(header.first.get()) {
            self.damage(segment, at, "the numbers of the records do not follow");
        }
        self.expected = Some(header.end());
        self.index.see_group(at, header, &self.buffer);
        if let Some(streams) = &mut self.streams {
            streams.see_group(header, &self.buffer);
        }
        let end = GROUP_HEADER + header.length.get() as usize;
        if self.buffer[end..].iter().any(|byte| *byte != 0) {
            self.damage(segment, at, "the padding behind the group is not zero");
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[GROUP_HEADER..end];
        for _ in 0..header.count.get() {
            match RecordHeader::parse(rest) {
                Ok((_, frame, behind)) => {
                    self.found.records += 1;
                    self.found.bytes += frame.len() as u64;
                    rest = behind;
                }
                Err(why) => {
                    self.damage(segment, at, why);
                    rest = &[];
                    break;
                }
            }
        }
        if !rest.is_empty() {
            self.damage(segment, at, "the group is longer than its records");
        }
        self.buffer = buffer;
        self.found.groups += 1;
        self.found.first.get_or_insert(header.first.get());
        self.found.last = Some(header.end() - 1); // a header with no records is not taken for one
    }

    /// The next place from `at` on at which a whole group stands.
    fn next_whole(&mut self, segment: &Segment, file: &File, log_id: &[u8; 16], from: u64) -> Result<Option<u64>> {
        let length = file.metadata().map_err(|cause| refused("length of", &segment.path, cause))?.len();
        for at in (from..length).step_by(BLOCK as usize) {
            if let Found::Whole(_) = segment.group(file, at, log_id, &mut self.buffer, |_| true)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn damage(&mut self, segment: &Segment, byte: u64, why: &'static str) {
        self.found.damage.push(Spot { file: segment.path.clone(), byte, why });
    }
}
