//! The file: made, opened, verified, copied.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase};

use super::tables::{CHANGES, Fault, KEPT, LAYOUT, LEASED, LEASES, META, PRESENT, Tables, number};
use crate::resources::{Revision, StoreError};

/// Version of the file's layout: tables and their keys.
const LAYOUT_VERSION: u64 = 1;
/// Memory for pages of the file. The store of a large configuration has a few MiB.
const CACHE_BYTES: usize = 4 << 20;

/// A copy of a store, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodCopy {
    /// Where it is.
    pub path: PathBuf,
    /// Its newest revision.
    pub revision: Revision,
}

/// The copy beside the store at `path`, if there is one and its checksums hold.
#[must_use]
pub fn good_copy(path: &Path) -> Option<GoodCopy> {
    let copy = beside(path, ".last-good");
    if !copy.exists() {
        return None;
    }
    let database = verified(&copy).ok()?;
    let revision =
        database.begin_read().map_err(Fault::from).and_then(|reading| Tables::of(&reading)?.newest()).ok()?;
    Some(GoodCopy { path: copy, revision })
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// Opens or makes a store, verifies it, and lays a copy beside it.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let failed = |error: io::Error| StoreError::Unusable { path: path.to_owned(), cause: error.to_string() };
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let database = verified(path).map_err(|error| offering_copy(path, error))?;
    // Without a copy the store works as well; it is the disk that has no room for a second one.
    let _ = copy(path);
    Ok(database)
}

/// Opens a store that was open before, after a failed write.
pub(super) fn reopen(path: &Path) -> Result<Database, StoreError> {
    if !path.exists() {
        return Err(gone(path));
    }
    opened(path).map_err(|fault| offering_copy(path, fault.named(path)))
}

/// Somebody took the file away.
pub(super) fn gone(path: &Path) -> StoreError {
    StoreError::Unusable { path: path.to_owned(), cause: "the file is gone".to_owned() }
}

fn offering_copy(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { path: damaged, cause, copy: None } => {
            let copy = good_copy(path).map(|copy| (copy.path, copy.revision));
            StoreError::Damaged { path: damaged, cause, copy }
        }
        other => other,
    }
}

fn verified(path: &Path) -> Result<Database, StoreError> {
    let damaged = |cause: String| StoreError::Damaged { path: path.to_owned(), cause, copy: None };
    // redb checks what it reads, but some of its checks are assertions: on a damaged file they must not end the process.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut database = opened(path)?;
        let whole = database.check_integrity()?;
        // Every record is read once: what does not read is found now, not when it is needed.
        let reading = database.begin_read()?;
        let tables = Tables::of(&reading)?;
        let newest = tables.newest()?;
        let _ = tables.at(newest)?;
        drop((tables, reading));
        Ok::<_, Fault>((database, whole))
    }));
    match outcome {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((_, false))) => Err(damaged("its checksums do not hold".to_owned())),
        Ok(Err(fault)) => Err(fault.named(path)),
        Err(_) => Err(damaged("it is not a store, or parts of it are missing".to_owned())),
    }
}

fn opened(path: &Path) -> Result<Database, Fault> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let layout = {
        let reading = database.begin_read()?;
        match reading.open_table(META) {
            Ok(meta) => number(&meta, LAYOUT)?,
            Err(redb::TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        }
    };
    match layout {
        LAYOUT_VERSION => Ok(database),
        0 => {
            let writing = database.begin_write()?;
            writing.open_table(META)?.insert(LAYOUT, LAYOUT_VERSION)?;
            writing.open_table(PRESENT)?;
            writing.open_table(CHANGES)?;
            writing.open_table(KEPT)?;
            writing.open_table(LEASES)?;
            writing.open_table(LEASED)?;
            writing.commit()?;
            Ok(database)
        }
        _ => Err(Fault::Record("its layout is of a later version of weir")),
    }
}

/// Lays a copy beside the store. Nobody may write the store meanwhile.
pub(super) fn copy(path: &Path) -> Result<(), StoreError> {
    let (copy, new) = (beside(path, ".last-good"), beside(path, ".last-good.new"));
    let failed = |error: io::Error| Fault::File(redb::Error::Io(error)).named(path);
    // A copy of what the disk has spoilt meanwhile must not replace a good one, so it is verified first.
    let copied = fs::copy(path, &new)
        .and_then(|_| File::open(&new)?.sync_all())
        .map_err(failed)
        .and_then(|()| verified(&new).map(drop))
        .and_then(|()| fs::rename(&new, &copy).map_err(failed));
    copied.inspect_err(|_| {
        let _ = fs::remove_file(&new); // what is not whole is not kept
    })
}
