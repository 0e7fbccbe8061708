//! How far each stream source has come: kept in memory, and beside each segment in a file of its own.
//!
//! A source that connects again is told from here what it may forget. So the file holds every source's place in front of
//! its segment, whatever retention has deleted since, and opening a log reads one such file and one segment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use weir_dataplane_io::IoError;
use zerocopy::IntoBytes;

use crate::error::{Result, refused};
use crate::format::{BLOCK, GroupHeader, STREAMS_MAGIC, STREAMS_MOST, StreamLine, StreamsHeader, VERSION, records};
use crate::segment::{Found, Segment};
use crate::spec::Stamp;

/// What the name of such a file ends with; it begins as its segment's does.
pub(crate) const ENDING: &str = "streams";
/// Sources in memory before the oldest are dropped down to [`STREAMS_MOST`]: dropping then costs little for each.
const ROOM: usize = 2 * STREAMS_MOST;

/// Where the places of stream sources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamsFrom {
    /// The log begins here.
    Begun,
    /// The file beside the newest segment.
    File,
    /// Segments were read through, since that file was not to be had.
    Scan {
        /// Segments read beside the newest.
        segments: usize,
        /// What is wrong with the newest segment's file.
        why: String,
        /// False if records before those segments were deleted: sources that have sent nothing since are unknown.
        complete: bool,
    },
}

impl fmt::Display for StreamsFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun => write!(f, "the log begins here"),
            Self::File => write!(f, "places of stream sources from the file beside the newest segment"),
            Self::Scan { segments, why, complete } => {
                write!(f, "places of stream sources from {segments} more segments, because {why}")?;
                let unknown = "; sources that sent only what retention has deleted are unknown and begin anew";
                if *complete { Ok(()) } else { f.write_str(unknown) }
            }
        }
    }
}

/// A record of a stream source, as a group remembers it until the log's order is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    source: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    sequence: u64,
    record: u64,
}

/// The places of all stream sources before some record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    places: HashMap<u32, Place>,
    forgotten: u64,
}

/// Notes record `number` among the steps of its group; those of one source in a row are one.
pub(crate) fn note(steps: &mut Vec<Step>, stamp: &Stamp, number: u64) {
    let place = Place { sequence: stamp.sequence, record: number };
    match steps.last_mut().filter(|step| step.source == stamp.source) {
        Some(step) => step.place = step.place.and(place),
        None => steps.push(Step { source: stamp.source, place }),
    }
}

impl Place {
    /// A record that is sent again, or overtaken on its way, takes nothing back.
    fn and(self, later: Self) -> Self {
        Self { sequence: self.sequence.max(later.sequence), record: self.record.max(later.record) }
    }
}

impl Streams {
    pub(crate) fn apply(&mut self, steps: &[Step]) {
        for Step { source, place } in steps {
            let known = self.places.entry(*source).or_insert(*place);
            *known = known.and(*place);
        }
        if self.places.len() > ROOM {
            self.trim();
        }
    }

    /// Forgets the sources whose last record is the oldest, down to [`STREAMS_MOST`].
    pub(crate) fn trim(&mut self) {
        let beyond = self.places.len().saturating_sub(STREAMS_MOST);
        if beyond == 0 {
            return;
        }
        let mut records: Vec<u64> = self.places.values().map(|place| place.record).collect();
        let (_, least, _) = records.select_nth_unstable(beyond);
        let least = *least; // no two sources have the same last record
        self.places.retain(|_, place| place.record >= least);
        if self.forgotten == 0 {
            tracing::warn!(
                "more than {STREAMS_MOST} sources stream into the log: those silent longest are forgotten and counted; \
                 one that comes back is taken for new"
            );
        }
        self.forgotten += beyond as u64;
    }

    pub(crate) fn sequences(&self) -> BTreeMap<u32, u64> {
        self.places.iter().map(|(source, place)| (*source, place.sequence)).collect()
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The bytes of the file beside the segment that begins with record `first`.
    pub(crate) fn bytes(&mut self, first: u64, log_id: [u8; 16]) -> Vec<u8> {
        self.trim();
        let line = |(source, place): (&u32, &Place)| StreamLine {
            source: (*source).into(),
            reserved: 0.into(),
            sequence: place.sequence.into(),
            record: place.record.into(),
        };
        let mut lines: Vec<StreamLine> = self.places.iter().map(line).collect();
        lines.sort_unstable_by_key(|line| line.source.get());
        let mut header = StreamsHeader {
            magic: STREAMS_MAGIC,
            version: VERSION.into(),
            count: (lines.len() as u32).into(), // trimmed to STREAMS_MOST
            first: first.into(),
            log_id,
            forgotten: self.forgotten.into(),
            reserved: [0; 12],
            checksum: 0.into(),
        };
        header.checksum = header.checksum_with(lines.as_bytes()).into();
        [header.as_bytes(), lines.as_bytes()].concat()
    }

    /// What the file beside a segment says, if it holds.
    pub(crate) fn read(segment: &Segment, log_id: &[u8; 16]) -> std::result::Result<Self, String> {
        let path = path(segment);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err("there is none".into()),
            Err(cause) => return Err(format!("{} cannot be read: {cause}", path.display())),
        };
        let (header, lines) = StreamsHeader::parse(&bytes, segment.first, log_id)
            .map_err(|why| format!("{} is damaged: {why}", path.display()))?;
        let place =
            |line: &StreamLine| (line.source.get(), Place { sequence: line.sequence.get(), record: line.record.get() });
        Ok(Self { places: lines.iter().map(place).collect(), forgotten: header.forgotten.get() })
    }

    /// Adds the records of a group that was read whole into `buffer`.
    pub(crate) fn see_group(&mut self, header: &GroupHeader, buffer: &[u8]) {
        let mut steps = Vec::new();
        records(header, buffer)
            .filter(|(_, stamp)| stamp.stream)
            .for_each(|(number, stamp)| note(&mut steps, &stamp, number));
        self.apply(&steps);
    }

    /// Adds every whole group of a segment that nobody writes any more.
    fn see_segment(&mut self, segment: &Segment, log_id: &[u8; 16]) -> Result<()> {
        let file = segment.open()?;
        let length = file.metadata().map_err(|cause| refused("length of", &segment.path, cause))?.len();
        let (mut at, mut buffer) = (BLOCK, Vec::new());
        while at < length {
            match segment.group(&file, at, log_id, &mut buffer, |_| true)? {
                Found::Whole(header) => {
                    self.see_group(&header, &buffer);
                    at += header.bytes();
                }
                _ => at += BLOCK,
            }
        }
        Ok(())
    }
}

/// The places in front of the last of `segments`, and where they come from.
pub(crate) fn before_newest(segments: &[Segment], log_id: &[u8; 16]) -> Result<(Streams, StreamsFrom)> {
    let Some((newest, closed)) = segments.split_last() else { return Ok((Streams::default(), StreamsFrom::Begun)) };
    if newest.first == 0 {
        return Ok((Streams::default(), StreamsFrom::Begun));
    }
    let why = match Streams::read(newest, log_id) {
        Ok(streams) => return Ok((streams, StreamsFrom::File)),
        Err(why) => why,
    };
    // The file of an older segment saves reading what is before that one, and knows what was deleted.
    let older = closed.iter().enumerate().rev().find_map(|(at, old)| Some((at, Streams::read(old, log_id).ok()?)));
    let complete = older.is_some() || closed.first().is_some_and(|oldest| oldest.first == 0);
    let (from, mut streams) = older.unwrap_or_default();
    for segment in &closed[from..] {
        streams.see_segment(segment, log_id)?;
    }
    let found = StreamsFrom::Scan { segments: closed.len() - from, why, complete };
    tracing::warn!("{found}");
    if let Err(error) = write(newest, &streams.bytes(newest.first, *log_id)) {
        tracing::warn!("the next start reads them again: {error}");
    }
    Ok((streams, found))
}

pub(crate) fn path(segment: &Segment) -> PathBuf {
    segment.path.with_extension(ENDING)
}

/// Writes the file beside `segment` and waits for the disk; its name is durable with the segment's.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn write(segment: &Segment, bytes: &[u8]) -> std::result::Result<(), IoError> {
    let path = path(segment);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|cause| {
        let what = format!("{} bytes of {}", bytes.len(), path.display());
        IoError::new(what, cause, "free space in the log's folder, or keep less")
    })
}
