//! Segment files: their names, how one is made so that it is whole or not there, and reading groups out of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_dataplane_io::IoError;
use weir_dataplane_io::clock::realtime_ns;
use weir_dataplane_io::disk;

use crate::error::{LogError, Result, refused};
use crate::format::{BLOCK, GROUP_HEADER, GroupHeader, SegmentHeader};
use crate::{index, streams};

/// What the name of a segment file ends with.
const ENDING: &str = ".weirlog";
/// What a segment is called until its header is on the disk.
const UNFINISHED: &str = "next.weirlog.new";

/// A segment file by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of its first record.
    pub(crate) first: u64,
    /// The file.
    pub(crate) path: PathBuf,
}

/// What stands at a place of a segment.
pub(crate) enum Found {
    /// A group whose checksums hold; the buffer has it whole, or its first block where that was enough.
    Whole(GroupHeader),
    /// Zeros, or the end of the file.
    Nothing,
    /// Anything else.
    Bad(&'static str),
}

/// The segments in `folder`, oldest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<Segment>> {
    let entries = fs::read_dir(folder).map_err(|cause| refused("list of", folder, cause))?;
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| refused("list of", folder, cause))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        let digits = name.filter(|name| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            segments.push(Segment { first, path });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Removes what a writer left that died while it made a segment.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    let path = folder.join(UNFINISHED);
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(refused("removal of", &path, cause)),
        _ => Ok(()),
    }
}

/// Removes the files of which the segment they stand beside is not there: a writer that died left one, or a segment was
/// deleted by hand.
pub(crate) fn remove_orphans(folder: &Path, segments: &[Segment]) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|cause| refused("list of", folder, cause))?;
    for entry in entries {
        let path = entry.map_err(|cause| refused("list of", folder, cause))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
        let ours = name.filter(|(stem, ending)| stem.len() == 20 && [streams::ENDING, index::ENDING].contains(ending));
        if let Some(first) = ours.and_then(|(stem, _)| stem.parse().ok())
            && !segments.iter().any(|segment| segment.first == first)
        {
            fs::remove_file(&path).map_err(|cause| refused("removal of", &path, cause))?;
        }
    }
    Ok(())
}

/// The segment that begins with record `first`, whether it is there or not.
pub(crate) fn named(folder: &Path, first: u64) -> Segment {
    Segment { first, path: folder.join(format!("{first:020}{ENDING}")) }
}

/// Makes the file for a segment to come: its blocks, and a name that readers pass over.
///
/// The cause keeps the kernel's word, so that a full disk can be told from a broken one.
pub(crate) fn make(folder: &Path, bytes: u64) -> std::result::Result<Segment, IoError> {
    let path = folder.join(UNFINISHED);
    let made = File::create(&path).and_then(|file| {
        disk::preallocate(&file, bytes)?;
        file.sync_all()
    });
    if let Err(cause) = made {
        // Its blocks are given back; if even that fails, the next start removes it.
        let _ = fs::remove_file(&path);
        return Err(told(format!("segment of {bytes} bytes {}", path.display()), cause));
    }
    Ok(Segment { first: 0, path })
}

/// Makes the file that was made into the segment that begins with record `first`. Its name appears when header and blocks
/// are on the disk.
pub(crate) fn name(folder: &Path, first: u64, log_id: [u8; 16]) -> std::result::Result<Segment, IoError> {
    let unfinished = folder.join(UNFINISHED);
    let segment = named(folder, first);
    let named = File::options().write(true).open(&unfinished).and_then(|file| {
        file.write_all_at(&SegmentHeader::block(first, realtime_ns(), log_id), 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, &segment.path)
    });
    match named {
        // An earlier try came as far as the name.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && segment.path.exists() => {}
        Err(cause) => return Err(told(format!("header of {}", segment.path.display()), cause)),
        Ok(()) => {}
    }
    disk::sync_folder(folder)?;
    Ok(segment)
}

fn told(what: String, cause: io::Error) -> IoError {
    IoError::new(what, cause, "free space in the log's folder, or keep less")
}

/// The log's very first segment.
pub(crate) fn create(folder: &Path, log_id: [u8; 16], bytes: u64) -> Result<Segment> {
    make(folder, bytes)?;
    Ok(name(folder, 0, log_id)?)
}

impl Segment {
    /// The file, for reading.
    pub(crate) fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(|cause| refused("open of", &self.path, cause))
    }

    /// The header of the segment.
    pub(crate) fn header(&self, file: &File) -> Result<SegmentHeader> {
        let mut block = vec![0; BLOCK as usize];
        let read = read_at(file, &mut block, 0).map_err(|cause| refused("read of", &self.path, cause))?;
        SegmentHeader::parse(&block[..read], self.first).map_err(|why| self.damaged(0, why))
    }

    /// What stands at byte `at`; see [`Found`]. The group is read into `buffer`; of one that is not `wanted` the first
    /// block only.
    pub(crate) fn group(
        &self,
        file: &File,
        at: u64,
        log_id: &[u8; 16],
        buffer: &mut Vec<u8>,
        wanted: impl Fn(&GroupHeader) -> bool,
    ) -> Result<Found> {
        let failed = |cause| refused("read of", &self.path, cause);
        buffer.resize(BLOCK as usize, 0);
        let read = read_at(file, buffer, at).map_err(failed)?;
        buffer.truncate(read);
        if buffer.iter().all(|byte| *byte == 0) {
            return Ok(Found::Nothing);
        }
        let header = match GroupHeader::parse(buffer, log_id) {
            Ok(header) => header,
            Err(why) => return Ok(Found::Bad(why)),
        };
        let length = file.metadata().map_err(failed)?.len();
        if at.saturating_add(header.bytes()) > length {
            return Ok(Found::Bad("the group is longer than its file"));
        }
        if !wanted(&header) {
            return Ok(Found::Whole(header));
        }
        buffer.resize(header.bytes() as usize, 0); // not more than the file has
        let read = read_at(file, &mut buffer[BLOCK as usize..], at + BLOCK).map_err(failed)?;
        let payload = GROUP_HEADER..GROUP_HEADER + header.length.get() as usize;
        match buffer.get(payload) {
            Some(payload)
                if read as u64 + BLOCK == header.bytes()
                    && crc32c::crc32c(payload) == header.payload_checksum.get() =>
            {
                Ok(Found::Whole(header))
            }
            _ => Ok(Found::Bad("the checksum of the group's records does not hold")),
        }
    }

    /// First byte from `from` on that is not zero.
    pub(crate) fn first_set_byte(&self, file: &File, from: u64) -> Result<Option<u64>> {
        let mut buffer = vec![0; 1 << 20];
        let mut at = from;
        loop {
            let read = read_at(file, &mut buffer, at).map_err(|cause| refused("read of", &self.path, cause))?;
            if read == 0 {
                return Ok(None);
            }
            if let Some(place) = buffer[..read].iter().position(|byte| *byte != 0) {
                return Ok(Some(at + place as u64));
            }
            at += read as u64;
        }
    }

    pub(crate) fn damaged(&self, byte: u64, why: &'static str) -> LogError {
        LogError::Damaged { file: self.path.clone(), byte, why }
    }
}

/// Fills `buffer` from byte `at` on as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
