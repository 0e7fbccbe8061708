//! Folders of tests, gone when the test ends, and frames that say which record they are.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

pub(crate) mod disk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use weir_dataplane_log::{LogReader, LogSpec, Stamp};

/// A folder that is removed with the value.
pub(crate) struct Folder(PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// A folder on the disk that builds go to.
    pub(crate) fn on_disk() -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// A folder in memory where there is one: for tests of bytes, not of disks.
    pub(crate) fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::on_disk() }
    }

    fn below(place: &Path) -> Self {
        let name = format!("weir-log-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = place.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A log of small segments and groups in this folder.
    pub(crate) fn spec(&self) -> LogSpec {
        LogSpec { segment_bytes: 32 << 10, group_bytes: 8 << 10, ..LogSpec::new(&self.0) }
    }

    /// The segment files, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        self.ending("weirlog")
    }

    /// The files with this ending, by their names.
    pub(crate) fn ending(&self, ending: &str) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
        paths.sort();
        paths
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The stamp of record `number`.
pub(crate) fn stamp(number: u64) -> Stamp {
    Stamp {
        class: (number % 3) as u8,
        source: (number % 5) as u32,
        // Two of five sources send streams, whose numbers take more than 32 bits.
        sequence: (number / 5) + if number % 5 > 2 { 1 << 40 } else { 0 },
        stream: number % 5 > 2,
        time_ns: number * 10,
    }
}

/// The places of the stream sources in a log of records 0 to `end`.
pub(crate) fn places(end: u64) -> BTreeMap<u32, u64> {
    let last = (end.saturating_sub(5)..end).map(stamp).filter(|stamp| stamp.stream);
    last.map(|stamp| (stamp.source, stamp.sequence)).collect()
}

/// The frame of record `number`, of `length` bytes.
pub(crate) fn frame(number: u64, length: usize) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length as u64).map(|at| (mixed.wrapping_add(at).wrapping_mul(at | 1) >> 13) as u8).collect()
}

/// A record without borrowing.
pub(crate) type Owned = (u64, Stamp, Vec<u8>);

/// All that `reader` gives now.
pub(crate) fn rest(reader: &mut LogReader) -> Vec<Owned> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        records.push((record.number, record.stamp, record.frame.to_vec()));
    }
    records
}
