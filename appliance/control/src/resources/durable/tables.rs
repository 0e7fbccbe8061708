//! The file's tables, and what is read from them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};

use super::record;
use crate::resources::{
    Change, Check, Entry, Expect, Key, Kind, LeaseId, PAGE_BYTES, Revision, StoreError, Transaction,
};

/// Numbers by name.
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
/// Each resource as it is, by the number of its kind and its name.
pub(super) const PRESENT: TableDefinition<'static, (u8, &'static str), &'static [u8]> = TableDefinition::new("present");
/// Each change, by its revision and its place in the transaction.
pub(super) const CHANGES: TableDefinition<'static, (u64, u32), &'static [u8]> = TableDefinition::new("changes");
/// Below the floor: where the one change of each resource stands that is kept.
pub(super) const KEPT: TableDefinition<'static, (u8, &'static str), (u64, u32)> = TableDefinition::new("kept");
/// How long each lease lasts, in milliseconds.
pub(super) const LEASES: TableDefinition<'static, u64, u64> = TableDefinition::new("leases");
/// The resources of each lease.
pub(super) const LEASED: TableDefinition<'static, (u64, u8, &'static str), ()> = TableDefinition::new("leased");

/// Version of the file's layout.
pub(super) const LAYOUT: &str = "layout";
/// The newest revision.
pub(super) const NEWEST: &str = "newest";
/// The oldest revision whose state is known.
pub(super) const FLOOR: &str = "floor";
/// Changes behind the floor.
pub(super) const BEHIND: &str = "behind";
/// Bytes of their values.
pub(super) const BEHIND_BYTES: &str = "behind-bytes";
/// Resources there are.
pub(super) const RESOURCES: &str = "resources";
/// Bytes of their values.
pub(super) const PRESENT_BYTES: &str = "present-bytes";
/// The number of the lease given last.
pub(super) const LAST_LEASE: &str = "last-lease";

/// What went wrong with the file, before it has its name.
#[derive(Debug)]
pub(super) enum Fault {
    /// redb says so.
    File(redb::Error),
    /// Bytes in it are not what was written.
    Record(record::Fault),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

impl Fault {
    /// The error for callers.
    pub(super) fn named(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Record(cause) => StoreError::Damaged { path, cause: cause.to_owned(), copy: None },
            Self::File(redb::Error::Corrupted(cause)) => StoreError::Damaged { path, cause, copy: None },
            Self::File(redb::Error::Io(error)) if is_full(&error) => {
                StoreError::Full { path, cause: error.to_string() }
            }
            Self::File(redb::Error::DatabaseAlreadyOpen) => StoreError::Busy { path },
            Self::File(redb::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged { path, cause: error.to_string(), copy: None }
            }
            Self::File(error) => StoreError::Unusable { path, cause: error.to_string() },
        }
    }
}

/// Whether there is no room on the disk, in the quota, or under the limit of a file's size.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// One of the numbers.
pub(super) fn number(meta: &impl ReadableTable<&'static str, u64>, name: &'static str) -> Result<u64, Fault> {
    Ok(meta.get(name)?.map_or(0, |value| value.value()))
}

/// One resource.
pub(super) fn entry(
    present: &impl ReadableTable<(u8, &'static str), &'static [u8]>,
    key: &Key,
) -> Result<Option<Entry>, Fault> {
    let found = present.get((key.kind() as u8, key.name()))?;
    found.map(|found| record::read_entry(key.clone(), found.value()).map_err(Fault::Record)).transpose()
}

/// Whether all checks of a transaction hold.
pub(super) fn check(
    present: &impl ReadableTable<(u8, &'static str), &'static [u8]>,
    transaction: &Transaction,
) -> Result<Result<(), StoreError>, Fault> {
    for Check { key, expect } in &transaction.checks {
        let found = entry(present, key)?.map(|entry| entry.modified);
        let holds = match *expect {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if !holds {
            return Ok(Err(StoreError::Conflict { key: key.clone(), expected: *expect, found }));
        }
    }
    Ok(Ok(()))
}

/// Everything, as it was at one moment.
pub(super) struct Tables {
    pub(super) meta: ReadOnlyTable<&'static str, u64>,
    pub(super) present: ReadOnlyTable<(u8, &'static str), &'static [u8]>,
    changes: ReadOnlyTable<(u64, u32), &'static [u8]>,
    leases: ReadOnlyTable<u64, u64>,
    leased: ReadOnlyTable<(u64, u8, &'static str), ()>,
}

impl Tables {
    pub(super) fn of(reading: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self {
            meta: reading.open_table(META)?,
            present: reading.open_table(PRESENT)?,
            changes: reading.open_table(CHANGES)?,
            leases: reading.open_table(LEASES)?,
            leased: reading.open_table(LEASED)?,
        })
    }

    pub(super) fn newest(&self) -> Result<Revision, Fault> {
        number(&self.meta, NEWEST).map(Revision)
    }

    pub(super) fn list(&self, kind: Kind) -> Result<Vec<Entry>, Fault> {
        let number = kind as u8;
        let mut entries = Vec::new();
        for item in self.present.range((number, "")..(number + 1, ""))? {
            let (at, bytes) = item?;
            let key = record::key(at.value().0, at.value().1).map_err(Fault::Record)?;
            entries.push(record::read_entry(key, bytes.value()).map_err(Fault::Record)?);
        }
        Ok(entries)
    }

    /// How long each lease lasts.
    pub(super) fn leases(&self) -> Result<Vec<(LeaseId, Duration)>, Fault> {
        let mut leases = Vec::new();
        for item in self.leases.iter()? {
            let (lease, lasts) = item?;
            leases.push((LeaseId(lease.value()), Duration::from_millis(lasts.value())));
        }
        Ok(leases)
    }

    /// The resources of a lease.
    pub(super) fn held(&self, lease: LeaseId) -> Result<Vec<Key>, Fault> {
        let mut keys = Vec::new();
        for item in self.leased.range((lease.0, 0, "")..(lease.0 + 1, 0, ""))? {
            let (at, _) = item?;
            keys.push(record::key(at.value().1, at.value().2).map_err(Fault::Record)?);
        }
        Ok(keys)
    }

    fn known(&self, asked: Revision) -> Result<Result<(), StoreError>, Fault> {
        let floor = Revision(number(&self.meta, FLOOR)?);
        let newest = self.newest()?;
        Ok(match () {
            () if asked < floor => Err(StoreError::Compacted { asked, floor }),
            () if asked > newest => Err(StoreError::Future { asked, newest }),
            () => Ok(()),
        })
    }

    pub(super) fn page(&self, after: Revision, limit: usize) -> Result<Result<Vec<Change>, StoreError>, Fault> {
        if let Err(refused) = self.known(after)? {
            return Ok(Err(refused));
        }
        let mut page: Vec<Change> = Vec::new();
        let mut bytes = 0;
        for item in self.changes.range((after.0 + 1, 0)..)? {
            let (at, value) = item?;
            let revision = Revision(at.value().0);
            let whole = page.last().is_none_or(|last| last.revision != revision);
            if whole && !page.is_empty() && (page.len() >= limit || bytes >= PAGE_BYTES) {
                break;
            }
            let change = record::read_change(revision, value.value()).map_err(Fault::Record)?;
            bytes += change.value_bytes() as usize; // at most MAX_VALUE_BYTES
            page.push(change);
        }
        Ok(Ok(page))
    }

    pub(super) fn history(
        &self,
        key: Option<&Key>,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<Change>, Fault> {
        let end = before.map_or(u64::MAX, |before| before.0);
        let mut found = Vec::new();
        for item in self.changes.range(..(end, 0))?.rev() {
            if found.len() >= limit {
                break;
            }
            let (at, value) = item?;
            let change = record::read_change(Revision(at.value().0), value.value()).map_err(Fault::Record)?;
            if key.is_none_or(|key| change.key == *key) {
                found.push(change);
            }
        }
        Ok(found)
    }

    pub(super) fn at(&self, revision: Revision) -> Result<Result<Vec<Entry>, StoreError>, Fault> {
        if let Err(refused) = self.known(revision)? {
            return Ok(Err(refused));
        }
        let mut state = BTreeMap::new();
        for item in self.changes.range(..(revision.0 + 1, 0))? {
            let (at, value) = item?;
            let change = record::read_change(Revision(at.value().0), value.value()).map_err(Fault::Record)?;
            match change.after {
                Some(entry) => drop(state.insert(change.key, entry)),
                None => drop(state.remove(&change.key)),
            }
        }
        Ok(Ok(state.into_values().collect()))
    }
}
