//! Folders of tests, gone when the test ends, and frames that say which record they are.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

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
        let paths = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "weirlog")).collect();
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
    let (class, source, time_ns) = ((number % 3) as u8, (number % 5) as u32, number * 10);
    Stamp { class, source, sequence: number / 5, time_ns, stream: false }
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
