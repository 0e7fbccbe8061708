//! Opening a log for writing: one writer at a time, a torn tail cut off, numbering continued.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use weir_dataplane_io::disk::{self, Access};
use weir_dataplane_io::uring::Way;

use crate::error::{LogError, Result, refused};
use crate::format::BLOCK;
use crate::index::{self, Index};
use crate::segment::{self, Found, Segment};
use crate::spec::LogSpec;
use crate::streams::{self, Streams, StreamsFrom};

/// What opening a log for writing found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files there are.
    pub segments: usize,
    /// Number that the next record gets.
    pub next: u64,
    /// What was cut off, if the last writer died in the middle of a group.
    pub cut: Option<Cut>,
    /// For each stream source the highest sequence that is durable in the log; at most
    /// [`STREAMS_MOST`](crate::format::STREAMS_MOST) sources, those that were written last.
    pub streams: BTreeMap<u32, u64>,
    /// Sources that are not in `streams` because there were more.
    pub streams_forgotten: u64,
    /// Where `streams` comes from.
    pub streams_from: StreamsFrom,
    /// How writes are done.
    pub way: Way,
    /// How they reach the disk.
    pub access: Access,
}

/// The end of a segment that was no whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment file.
    pub file: PathBuf,
    /// Byte at which the log now ends.
    pub byte: u64,
    /// Why the group there was not whole.
    pub why: &'static str,
    /// Groups behind it whose own checksums hold. They were never acknowledged if the writer died with that many in
    /// flight; more than that are records that a damaged disk has cost.
    pub whole_groups: u64,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "next record {} in {} segments; {}; {}", self.next, self.segments, self.way, self.access)?;
        if let StreamsFrom::Scan { .. } = self.streams_from {
            write!(f, "; {}", self.streams_from)?;
        }
        match &self.cut {
            Some(Cut { file, byte, why, whole_groups }) => {
                write!(f, "; cut {} at byte {byte}: {why}, {whole_groups} whole groups behind it", file.display())
            }
            None => Ok(()),
        }
    }
}

/// The segment that is written.
pub(crate) struct Current {
    pub(crate) file: Arc<File>,
    pub(crate) access: Access,
    /// Where the next group goes, in bytes.
    pub(crate) at: u64,
}

/// What a writer begins with.
pub(crate) struct Opened {
    /// Locked for as long as it is open.
    pub(crate) lock: File,
    pub(crate) log_id: [u8; 16],
    pub(crate) current: Current,
    pub(crate) segments: usize,
    pub(crate) next: u64,
    pub(crate) cut: Option<Cut>,
    pub(crate) streams: Streams,
    pub(crate) streams_from: StreamsFrom,
    /// Of the newest segment.
    pub(crate) index: Index,
    /// The segments before it.
    pub(crate) closed: Vec<Segment>,
}

/// Locks the folder and finds the end of the log.
pub(crate) fn open(spec: &LogSpec) -> Result<Opened> {
    fs::create_dir_all(&spec.folder).map_err(|cause| refused("folder", &spec.folder, cause))?;
    let lock = lock(spec)?;
    segment::remove_unfinished(&spec.folder)?;
    let segments = segment::list(&spec.folder)?;
    segment::remove_orphans(&spec.folder, &segments)?;
    let Some(newest) = segments.last() else {
        let log_id = random_id()?;
        let newest = segment::create(&spec.folder, log_id, spec.segment_bytes)?;
        let current = Current::open(&newest, BLOCK)?;
        let (streams, streams_from) = (Streams::default(), StreamsFrom::Begun);
        return Ok(Opened {
            lock,
            log_id,
            current,
            segments: 1,
            next: 0,
            cut: None,
            streams,
            streams_from,
            index: Index::new(0),
            closed: Vec::new(),
        });
    };
    // It speaks of a closed segment; this one goes on.
    index::remove(newest)?;
    let mut current = Current::open(newest, BLOCK)?;
    let file = newest.open()?;
    let log_id = newest.header(&file)?.log_id;
    let (mut streams, streams_from) = streams::before_newest(&segments, &log_id)?;
    let (mut next, mut index) = (newest.first, Index::new(newest.first));
    let mut buffer = Vec::new();
    let why = loop {
        match newest.group(&file, current.at, &log_id, &mut buffer, |header| header.first.get() == next)? {
            Found::Whole(header) if header.first.get() == next => {
                streams.see_group(&header, &buffer);
                index.see_group(current.at, &header, &buffer);
                next = header.end();
                current.at += header.bytes();
            }
            Found::Whole(_) => break "the numbers of the records do not follow",
            Found::Nothing => break "bytes that belong to no group",
            Found::Bad(why) => break why,
        }
    };
    let cut = cut(newest, &file, &current, &log_id, why)?;
    settle(newest, &current, spec.segment_bytes)?;
    streams.trim();
    let (count, closed) = (segments.len(), segments[..segments.len() - 1].to_vec());
    Ok(Opened { lock, log_id, current, segments: count, next, cut, streams, streams_from, index, closed })
}

/// What was found is made durable, so that it can be called so: a killed writer may have left it in the page cache only.
fn settle(newest: &Segment, current: &Current, bytes: u64) -> Result<()> {
    let length = current.file.metadata().map_err(|cause| refused("length of", &newest.path, cause))?.len();
    if length < bytes
        && let Err(error) = disk::preallocate(&current.file, bytes)
    {
        // Without it a write may find the disk full later, and says so then.
        tracing::warn!("{} did not get its blocks in advance: {error}", newest.path.display());
    }
    current.file.sync_all().map_err(|cause| refused("fsync of", &newest.path, cause))
}

/// Whatever stands behind the last whole group is taken away, so that it can never come back as a record.
fn cut(newest: &Segment, file: &File, current: &Current, log_id: &[u8; 16], why: &'static str) -> Result<Option<Cut>> {
    let Some(first) = newest.first_set_byte(file, current.at)? else { return Ok(None) };
    let (mut whole_groups, mut at, mut buffer) = (0, first / BLOCK * BLOCK, Vec::new());
    let length = file.metadata().map_err(|cause| refused("length of", &newest.path, cause))?.len();
    while at < length {
        match newest.group(file, at, log_id, &mut buffer, |_| true)? {
            Found::Whole(header) => (whole_groups, at) = (whole_groups + 1, at + header.bytes()),
            _ => at += BLOCK,
        }
    }
    let shortened = current.file.set_len(current.at).and_then(|()| current.file.sync_all());
    shortened.map_err(|cause| refused("cut of", &newest.path, cause))?;
    Ok(Some(Cut { file: newest.path.clone(), byte: current.at, why, whole_groups }))
}

impl Current {
    /// Opens a segment for writing from byte `at` on.
    ///
    /// A killed writer's last write may still be on its way to the disk; the kernel keeps its file open, and so locked,
    /// until that has ended. So the lock is waited for: nothing changes behind our back afterwards.
    pub(crate) fn open(segment: &Segment, at: u64) -> Result<Self> {
        let (file, access) = disk::open_for_blocks(&segment.path)?;
        file.lock().map_err(|cause| refused("lock of", &segment.path, cause))?;
        Ok(Self { file: Arc::new(file), access, at })
    }
}

fn lock(spec: &LogSpec) -> Result<File> {
    let path = spec.folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|cause| refused("lock", &path, cause))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { folder: spec.folder.clone() }),
        Err(TryLockError::Error(cause)) => Err(refused("lock", &path, cause)),
    }
}

fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    let path = std::path::Path::new("/dev/urandom");
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut id));
    read.map_err(|cause| refused("random bytes of", path, cause))?;
    Ok(id)
}
