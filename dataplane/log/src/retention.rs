//! What is deleted: whole segments, the oldest first, the newest never.

use std::{fs, io};

use weir_dataplane_io::IoError;

use crate::error::{Result, refused};
use crate::segment::{self, Segment};
use crate::spec::{LogSpec, WhenFull};
use crate::{index, streams};

/// What retention has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segment files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Deletes what `keep_bytes` and `keep_age` say at `now_ns`.
pub(crate) fn retire(spec: &LogSpec, now_ns: u64) -> Result<Retired> {
    let mut retired = Retired::default();
    let (keep_bytes, keep_age) = (spec.keep_bytes, spec.keep_age);
    if keep_bytes.is_none() && keep_age.is_none() {
        return Ok(retired);
    }
    let segments = segment::list(&spec.folder)?;
    let lengths = segments.iter().map(|segment| {
        fs::metadata(&segment.path).map_err(|cause| refused("length of", &segment.path, cause)).map(|data| data.len())
    });
    let lengths = lengths.collect::<Result<Vec<u64>>>()?;
    let mut total: u64 = lengths.iter().sum();
    for (pair, length) in segments.windows(2).zip(lengths) {
        let [oldest, following] = pair else { break };
        let too_many = keep_bytes.is_some_and(|most| total > most);
        // The following segment was made when this one got its last record.
        if !too_many && !keep_age.is_some_and(|age| following.older_than(age.as_nanos(), now_ns)) {
            break;
        }
        oldest.delete()?;
        total -= length;
        retired.segments += 1;
        retired.bytes += length;
    }
    Ok(retired)
}

/// Deletes the oldest segment if that is wished and helps.
pub(crate) fn made_room(spec: &LogSpec, error: &IoError) -> Result<bool> {
    let full = error.cause.kind() == io::ErrorKind::StorageFull;
    if !full || spec.when_full != WhenFull::DeleteOldest {
        return Ok(false);
    }
    let segments = segment::list(&spec.folder)?;
    let [oldest, _, ..] = segments.as_slice() else { return Ok(false) };
    tracing::warn!("the disk is full: {} is deleted", oldest.path.display());
    oldest.delete().map(|()| true)
}

impl Segment {
    fn older_than(&self, age_ns: u128, now_ns: u64) -> bool {
        let made = self.open().and_then(|file| self.header(&file)).map(|header| header.created_ns.get());
        made.is_ok_and(|made| u128::from(made) + age_ns <= u128::from(now_ns))
    }

    fn delete(&self) -> Result<()> {
        // The segment first: a file beside none is removed at the next start.
        for path in [self.path.clone(), index::path(self), streams::path(self)] {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(refused("removal of", &path, cause));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
