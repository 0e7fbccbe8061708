//! The model: a store in memory that is plain enough to be right by reading it. Every question is answered from the
//! list of all changes; nothing is kept twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::*;

/// A store that lasts as long as the process.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    retention: Retention,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Changes behind the floor, and below it the one that made each resource what it was at the floor.
    changes: Vec<Change>,
    floor: Revision,
    newest: Revision,
    pinned: Option<Revision>,
    leases: BTreeMap<LeaseId, (Duration, Duration)>,
    last_lease: u64,
}

impl Inner {
    fn present(&self) -> BTreeMap<Key, Entry> {
        self.state(self.newest)
    }

    fn state(&self, revision: Revision) -> BTreeMap<Key, Entry> {
        let mut state = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.revision <= revision) {
            match &change.after {
                Some(entry) => drop(state.insert(change.key.clone(), entry.clone())),
                None => drop(state.remove(&change.key)),
            }
        }
        state
    }

    fn known(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.floor {
            return Err(StoreError::Compacted { asked: revision, floor: self.floor });
        }
        if revision > self.newest {
            return Err(StoreError::Future { asked: revision, newest: self.newest });
        }
        Ok(())
    }

    /// Changes and bytes behind a revision.
    fn behind(&self, revision: Revision) -> (u64, u64) {
        let behind = self.changes.iter().filter(|change| change.revision > revision);
        behind.fold((0, 0), |(count, bytes), change| (count + 1, bytes + change.value_bytes()))
    }

    fn compact(&mut self, retention: Retention) {
        let (count, bytes) = self.behind(self.floor);
        if !retention.is_exceeded(count, bytes) {
            return;
        }
        let highest = Revision(self.newest.0 - 1).min(self.pinned.unwrap_or(self.newest));
        let mut floor = self.floor;
        while floor < highest {
            let (count, bytes) = self.behind(floor);
            if retention.holds(count, bytes) {
                break;
            }
            floor.0 += 1;
        }
        let kept = self.state(floor);
        self.changes.retain(|change| {
            change.revision > floor || kept.get(&change.key).is_some_and(|entry| entry.modified == change.revision)
        });
        self.floor = floor;
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, retention: Retention) -> Self {
        Self { clock, retention, inner: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, inner: &mut Inner, transaction: &Transaction) -> Result<Revision, StoreError> {
        transaction.judge()?;
        let mut present = inner.present();
        for check in &transaction.checks {
            let found = present.get(&check.key).map(|entry| entry.modified);
            let holds = match check.expect {
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Revision(revision) => found == Some(revision),
            };
            if !holds {
                return Err(StoreError::Conflict { key: check.key.clone(), expected: check.expect, found });
            }
        }
        let revision = Revision(inner.newest.0 + 1);
        let time_ms = self.clock.wall_ms();
        let mut changes = Vec::new();
        for write in &transaction.writes {
            let after = match write {
                Write::Put { key, value, lease } => {
                    if let Some(lease) = lease.filter(|lease| !inner.leases.contains_key(lease)) {
                        return Err(StoreError::LeaseEnded { lease });
                    }
                    let (created, version) =
                        present.get(key).map_or((revision, 1), |entry| (entry.created, entry.version + 1));
                    let (key, value) = (key.clone(), value.clone());
                    Some(Entry { key, value, created, modified: revision, version, lease: *lease })
                }
                Write::Delete { key } if present.contains_key(key) => None,
                Write::Delete { key } => return Err(StoreError::Missing { key: key.clone() }),
            };
            match &after {
                Some(entry) => drop(present.insert(entry.key.clone(), entry.clone())),
                None => drop(present.remove(write.key())),
            }
            let (key, origin) = (write.key().clone(), transaction.origin.clone());
            changes.push(Change { revision, key, after, time_ms, origin });
        }
        room(present.len() as u64, present.values().map(|entry| entry.value.len() as u64).sum())?;
        let (count, bytes) = inner.behind(inner.floor);
        let more = changes.iter().map(Change::value_bytes).sum::<u64>();
        if let Some(pinned) = inner.pinned
            && self.retention.is_beyond_pin(count + changes.len() as u64, bytes + more)
        {
            return Err(StoreError::Pinned { pinned });
        }
        inner.changes.extend(changes);
        inner.newest = revision;
        inner.compact(self.retention);
        self.changed.notify_all();
        Ok(revision)
    }

    fn end(&self, inner: &mut Inner, lease: LeaseId, origin: &Origin) -> Result<Option<Revision>, StoreError> {
        let held: Vec<Key> =
            inner.present().into_values().filter(|entry| entry.lease == Some(lease)).map(|entry| entry.key).collect();
        let writes: Vec<Write> = held.into_iter().map(|key| Write::Delete { key }).collect();
        let revision = if writes.is_empty() {
            None
        } else {
            Some(self.write(inner, &Transaction { writes, ..Transaction::new(origin.clone()) })?)
        };
        inner.leases.remove(&lease);
        Ok(revision)
    }
}

/// Whether so many resources of so many bytes fit a store.
pub(super) fn room(resources: u64, bytes: u64) -> Result<(), StoreError> {
    if resources > MAX_RESOURCES || bytes > MAX_PRESENT_BYTES {
        let cause = format!("a store holds at most {MAX_RESOURCES} resources of {MAX_PRESENT_BYTES} bytes together");
        return Err(StoreError::invalid(format!("{resources} resources, {bytes} bytes"), cause, "remove some"));
    }
    Ok(())
}

/// Whether a lease may last so long.
pub(super) fn lasts_well(lasts: Duration) -> Result<(), StoreError> {
    if LEASE_LASTS.contains(&lasts) {
        return Ok(());
    }
    let cause = format!("a lease lasts {:?} to {:?}", LEASE_LASTS.start(), LEASE_LASTS.end());
    Err(StoreError::invalid(format!("{lasts:?}"), cause, "name a time between these"))
}

/// One lease more than there may be.
pub(super) fn too_many_leases() -> StoreError {
    StoreError::invalid(MAX_LEASES.to_string(), "so many leases are held", "let some end, or renew those there are")
}

impl ResourceStore for MemoryStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.lock().newest)
    }

    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.lock().present().remove(key))
    }

    fn list(&self, kind: Kind) -> Result<(Revision, Vec<Entry>), StoreError> {
        let inner = self.lock();
        Ok((inner.newest, inner.present().into_values().filter(|entry| entry.key.kind() == kind).collect()))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        self.write(&mut self.lock(), transaction)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
        let inner = self.lock();
        inner.known(after)?;
        let mut page: Vec<Change> = Vec::new();
        let mut bytes = 0;
        for change in inner.changes.iter().filter(|change| change.revision > after) {
            let whole = page.last().is_none_or(|last| last.revision != change.revision);
            if whole && !page.is_empty() && (page.len() >= limit || bytes >= PAGE_BYTES) {
                break;
            }
            bytes += change.value_bytes() as usize; // at most MAX_VALUE_BYTES
            page.push(change.clone());
        }
        Ok(page)
    }

    fn history(&self, key: Option<&Key>, before: Option<Revision>, limit: usize) -> Result<Vec<Change>, StoreError> {
        let inner = self.lock();
        let asked = |change: &&Change| {
            key.is_none_or(|key| change.key == *key) && before.is_none_or(|before| change.revision < before)
        };
        Ok(inner.changes.iter().rev().filter(asked).take(limit).cloned().collect())
    }

    fn at(&self, revision: Revision) -> Result<Vec<Entry>, StoreError> {
        let inner = self.lock();
        inner.known(revision)?;
        Ok(inner.state(revision).into_values().collect())
    }

    fn floor(&self) -> Result<Revision, StoreError> {
        Ok(self.lock().floor)
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
        if inner.leases.len() >= MAX_LEASES {
            return Err(too_many_leases());
        }
        inner.last_lease += 1;
        let lease = LeaseId(inner.last_lease);
        inner.leases.insert(lease, (lasts, self.clock.monotonic() + lasts));
        Ok(lease)
    }

    fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        let mut inner = self.lock();
        match inner.leases.get_mut(&lease) {
            Some((lasts, end)) if *end > now => {
                *end = now + *lasts;
                Ok(())
            }
            _ => Err(StoreError::LeaseEnded { lease }),
        }
    }

    fn revoke(&self, lease: LeaseId, origin: &Origin) -> Result<Option<Revision>, StoreError> {
        let mut inner = self.lock();
        if !inner.leases.contains_key(&lease) {
            return Err(StoreError::LeaseEnded { lease });
        }
        self.end(&mut inner, lease, origin)
    }

    fn expire(&self) -> Result<usize, StoreError> {
        let now = self.clock.monotonic();
        let mut inner = self.lock();
        let due: Vec<LeaseId> =
            inner.leases.iter().filter(|(_, (_, end))| *end <= now).map(|(lease, _)| *lease).collect();
        for lease in &due {
            self.end(&mut inner, *lease, &Origin::of_lease(*lease))?;
        }
        Ok(due.len())
    }
}
