//! One box's resources in one file (`redb`: a copy-on-write B-tree with checksums, each commit on the disk before it is
//! acknowledged).
//!
//! After a failed write redb refuses everything until its file is opened anew; the next call does that. When the file
//! was opened and its checksums hold, a copy is laid beside it: that is what a damaged one is replaced by.

mod compact;
mod file;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, WriteTransaction};

use super::memory::{lasts_well, room, too_many_leases};
use super::{record, *};
pub use file::{GoodCopy, good_copy};
use tables::{CHANGES, Fault, LEASED, LEASES, META, PRESENT, Tables, number};

/// A store in a file.
pub struct DurableStore {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    retention: Retention,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// `None` after a failed write, until the next call opens it anew.
    database: Option<Database>,
    pinned: Option<Revision>,
    /// When each lease ends. How long each lasts is in the file.
    ends: BTreeMap<LeaseId, (Duration, Duration)>,
    newest: Revision,
    /// Changes since a copy was laid beside the store.
    since_copy: u32,
}

/// Changes after which a new copy is laid beside the store.
const COPY_EVERY: u32 = 256;

impl DurableStore {
    /// Opens the store at `path`, or makes an empty one. Its folder is made if need be. Every checksum is verified.
    ///
    /// # Errors
    /// Another process has it, it is damaged, or it cannot be read and written.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, retention: Retention) -> Result<Self, StoreError> {
        let database = file::open(path)?;
        let mut inner =
            Inner { database: Some(database), pinned: None, ends: BTreeMap::new(), newest: Revision(0), since_copy: 0 };
        let now = clock.monotonic();
        let leases = inner.read(path, |tables| {
            let leases = tables.leases()?.into_iter();
            Ok((leases.map(|(lease, lasts)| (lease, (lasts, now + lasts))).collect(), tables.newest()?))
        })?;
        (inner.ends, inner.newest) = leases;
        Ok(Self { path: path.to_owned(), clock, retention, inner: Mutex::new(inner), changed: Condvar::new() })
    }

    /// Lays a copy of the store beside it, as it is now: what [`good_copy`] finds.
    ///
    /// # Errors
    /// The copy cannot be written; the earlier one, if any, stays.
    pub fn copy(&self) -> Result<(), StoreError> {
        let _inner = self.lock(); // no commit meanwhile
        file::copy(&self.path)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        inner: &mut Inner,
        transaction: &Transaction,
        ends: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        transaction.judge()?;
        let leases = transaction.writes.iter().filter_map(|write| match write {
            Write::Put { lease, .. } => *lease,
            Write::Delete { .. } => None,
        });
        let ended: Vec<LeaseId> = leases.filter(|lease| !inner.ends.contains_key(lease)).collect();
        let (pinned, retention, time_ms) = (inner.pinned, self.retention, self.clock.wall_ms());
        let revision = inner.change(&self.path, |writing| {
            let revision = match apply(writing, transaction, &ended, time_ms)? {
                Ok(revision) => revision,
                Err(refused) => return Ok(Err(refused)),
            };
            if let Some(lease) = ends {
                writing.open_table(LEASES)?.remove(lease.0)?;
            }
            Ok(compact::after_change(writing, retention, pinned)?.map(|()| revision))
        })?;
        inner.newest = revision;
        inner.since_copy += 1;
        if inner.since_copy >= COPY_EVERY {
            inner.since_copy = 0;
            let _ = file::copy(&self.path); // the earlier copy stays; the change itself is on the disk
        }
        self.changed.notify_all();
        Ok(revision)
    }

    fn end(&self, inner: &mut Inner, lease: LeaseId, origin: &Origin) -> Result<Option<Revision>, StoreError> {
        let held = inner.read(&self.path, |tables| tables.held(lease))?;
        let writes: Vec<Write> = held.into_iter().map(|key| Write::Delete { key }).collect();
        let revision = if writes.is_empty() {
            inner.change(&self.path, |writing| {
                writing.open_table(LEASES)?.remove(lease.0)?;
                Ok(Ok(()))
            })?;
            None
        } else {
            let transaction = Transaction { writes, ..Transaction::new(origin.clone()) };
            Some(self.write(inner, &transaction, Some(lease))?)
        };
        inner.ends.remove(&lease);
        Ok(revision)
    }
}

/// What was changed since the last copy is copied when the store is closed in good order.
impl Drop for DurableStore {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let was_used = inner.since_copy > 0 && inner.database.take().is_some(); // closed before it is copied
        if was_used {
            let _ = file::copy(&self.path); // the earlier copy stays
        }
    }
}

impl Inner {
    fn database(&mut self, path: &Path) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            self.database = Some(file::reopen(path)?);
        }
        self.database.as_ref().ok_or_else(|| file::gone(path))
    }

    fn read<T>(&mut self, path: &Path, ask: impl FnOnce(&Tables) -> Result<T, Fault>) -> Result<T, StoreError> {
        let database = self.database(path)?;
        let answer = database
            .begin_read()
            .map_err(Fault::from)
            .and_then(|reading| Tables::of(&reading))
            .and_then(|tables| ask(&tables));
        answer.map_err(|fault| self.failed(path, fault))
    }

    /// Makes a change of the file, or none: what is refused or fails is not committed.
    fn change<T>(
        &mut self,
        path: &Path,
        make: impl FnOnce(&WriteTransaction) -> Result<Result<T, StoreError>, Fault>,
    ) -> Result<T, StoreError> {
        let database = self.database(path)?;
        let made = database.begin_write().map_err(Fault::from).and_then(|writing| match make(&writing)? {
            Ok(made) => writing.commit().map(|()| Ok(made)).map_err(Fault::from),
            Err(refused) => writing.abort().map(|()| Err(refused)).map_err(Fault::from),
        });
        made.map_err(|fault| self.failed(path, fault))?
    }

    /// After a failure of the file it is opened anew by the next call: redb does nothing more with it.
    fn failed(&mut self, path: &Path, fault: Fault) -> StoreError {
        self.database = None;
        fault.named(path)
    }
}

/// Checks and writes; the new revision, or why not.
fn apply(
    writing: &WriteTransaction,
    transaction: &Transaction,
    ended: &[LeaseId],
    time_ms: u64,
) -> Result<Result<Revision, StoreError>, Fault> {
    let mut meta = writing.open_table(META)?;
    let mut present = writing.open_table(PRESENT)?;
    let mut changes = writing.open_table(CHANGES)?;
    let mut leased = writing.open_table(LEASED)?;
    if let Err(refused) = tables::check(&present, transaction)? {
        return Ok(Err(refused));
    }
    let revision = Revision(number(&meta, tables::NEWEST)? + 1);
    let mut resources = number(&meta, tables::RESOURCES)?;
    let mut bytes = number(&meta, tables::PRESENT_BYTES)?;
    let mut added = 0;
    for (place, write) in transaction.writes.iter().enumerate() {
        let key = write.key();
        let before = tables::entry(&present, key)?;
        let after = match (write, &before) {
            (Write::Put { lease: Some(lease), .. }, _) if ended.contains(lease) => {
                return Ok(Err(StoreError::LeaseEnded { lease: *lease }));
            }
            (Write::Put { value, lease, .. }, before) => {
                let (created, version) =
                    before.as_ref().map_or((revision, 1), |entry| (entry.created, entry.version + 1));
                let (key, value) = (key.clone(), value.clone());
                Some(Entry { key, value, created, modified: revision, version, lease: *lease })
            }
            (Write::Delete { .. }, Some(_)) => None,
            (Write::Delete { .. }, None) => return Ok(Err(StoreError::Missing { key: key.clone() })),
        };
        let at = (key.kind() as u8, key.name());
        if let Some(lease) = before.as_ref().and_then(|entry| entry.lease) {
            leased.remove((lease.0, at.0, at.1))?;
        }
        match &after {
            Some(entry) => {
                present.insert(at, record::write_entry(entry).as_slice())?;
                if let Some(lease) = entry.lease {
                    leased.insert((lease.0, at.0, at.1), ())?;
                }
            }
            None => drop(present.remove(at)?),
        }
        resources = resources + u64::from(after.is_some()) - u64::from(before.is_some());
        let length = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len() as u64);
        bytes = bytes + length(&after) - length(&before);
        added += length(&after);
        let change = Change { revision, key: key.clone(), after, time_ms, origin: transaction.origin.clone() };
        changes.insert((revision.0, place as u32), record::write_change(&change).as_slice())?; // at most MAX_WRITES
    }
    if let Err(refused) = room(resources, bytes) {
        return Ok(Err(refused));
    }
    let behind = (
        number(&meta, tables::BEHIND)? + transaction.writes.len() as u64,
        number(&meta, tables::BEHIND_BYTES)? + added,
    );
    for (name, value) in [
        (tables::NEWEST, revision.0),
        (tables::RESOURCES, resources),
        (tables::PRESENT_BYTES, bytes),
        (tables::BEHIND, behind.0),
        (tables::BEHIND_BYTES, behind.1),
    ] {
        meta.insert(name, value)?;
    }
    Ok(Ok(revision))
}

impl ResourceStore for DurableStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.lock().read(&self.path, Tables::newest)
    }

    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.lock().read(&self.path, |tables| tables::entry(&tables.present, key))
    }

    fn list(&self, kind: Kind) -> Result<(Revision, Vec<Entry>), StoreError> {
        self.lock().read(&self.path, |tables| Ok((tables.newest()?, tables.list(kind)?)))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        self.write(&mut self.lock(), transaction, None)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.lock().read(&self.path, |tables| tables.page(after, limit))?
    }

    fn history(&self, key: Option<&Key>, before: Option<Revision>, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.lock().read(&self.path, |tables| tables.history(key, before, limit))
    }

    fn at(&self, revision: Revision) -> Result<Vec<Entry>, StoreError> {
        self.lock().read(&self.path, |tables| tables.at(revision))?
    }

    fn floor(&self) -> Result<Revision, StoreError> {
        self.lock().read(&self.path, |tables| number(&tables.meta, tables::FLOOR).map(Revision))
    }

    fn pin(&self, revision: Option<Revision>) {
        self.lock().pinned = revision;
    }

    fn wait(&self, after: Revision, longest: Duration) -> Result<Revision, StoreError> {
        let end = Instant::now() + longest;
        let mut inner = self.lock();
        while inner.newest <= after {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if after > inner.newest {
            return Err(StoreError::Future { asked: after, newest: inner.newest });
        }
        Ok(inner.newest)
    }

    fn grant(&self, lasts: Duration) -> Result<LeaseId, StoreError> {
        lasts_well(lasts)?;
        let mut inner = self.lock();
        if inner.ends.len() >= MAX_LEASES {
            return Err(too_many_leases());
        }
        let lease = inner.change(&self.path, |writing| {
            let mut meta = writing.open_table(META)?;
            let lease = number(&meta, tables::LAST_LEASE)? + 1;
            meta.insert(tables::LAST_LEASE, lease)?;
            writing.open_table(LEASES)?.insert(lease, lasts.as_millis() as u64)?; // LEASE_LASTS is hours
            Ok(Ok(LeaseId(lease)))
        })?;
        inner.ends.insert(lease, (lasts, self.clock.monotonic() + lasts));
        Ok(lease)
    }

    fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        match self.lock().ends.get_mut(&lease) {
            Some((lasts, end)) if *end > now => {
                *end = now + *lasts;
                Ok(())
            }
            _ => Err(StoreError::LeaseEnded { lease }),
        }
    }

    fn revoke(&self, lease: LeaseId, origin: &Origin) -> Result<Option<Revision>, StoreError> {
        let mut inner = self.lock();
        if !inner.ends.contains_key(&lease) {
            return Err(StoreError::LeaseEnded { lease });
        }
        self.end(&mut inner, lease, origin)
    }

    fn expire(&self) -> Result<usize, StoreError> {
        let now = self.clock.monotonic();
        let mut inner = self.lock();
        let due: Vec<LeaseId> =
            inner.ends.iter().filter(|(_, (_, end))| *end <= now).map(|(lease, _)| *lease).collect();
        for lease in &due {
            self.end(&mut inner, *lease, &Origin::of_lease(*lease))?;
        }
        Ok(due.len())
    }
}
