//! The resources of a box by kind and name, each change of them with its author, reason and revision.
//!
//! ```text
//!  Transaction{origin, checks, writes} ──► commit ──► Revision      one counter for all kinds
//!                                             │
//!                  present state ◄────────────┼────────────► history ──► changes, wait ──► Watch
//! ```
//!
//! [`ResourceStore`] is what a backend is: [`DurableStore`] keeps one box's resources in one file, [`MemoryStore`] is the
//! model that tests hold against it. `tests/conformance` is the suite that every backend passes.

mod change;
mod clock;
mod durable;
mod error;
mod key;
mod limits;
mod memory;
mod record;
mod watch;

pub use change::{Change, Check, Entry, Expect, Origin, Transaction, Write};
pub use clock::{Clock, ManualClock, SystemClock};
pub use durable::{DurableStore, GoodCopy, good_copy};
pub use error::StoreError;
pub use key::{Key, Kind};
pub use limits::*;
pub use memory::MemoryStore;
pub use watch::{Event, Watch};

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Number of a change, over all kinds: 1 is the first. 0 is the empty store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Revision {
    type Err = crate::problem::Problem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::name::number(text, "a revision").map(|number: u32| Self(u64::from(number)))
    }
}

/// Number of a lease. Never given twice by one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A store of resources. Every call is atomic and sees a state between two changes; a change that was acknowledged is
/// durable. Calls may block on a disk or a network, so no thread that moves frames makes one.
pub trait ResourceStore: Send + Sync {
    /// The newest change.
    ///
    /// # Errors
    /// The store cannot be read.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// One resource, if it is there.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// The resources of a kind by name, and the revision at which they are so.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(&self, kind: Kind) -> Result<(Revision, Vec<Entry>), StoreError>;

    /// Makes all writes of a transaction, or none, as one revision.
    ///
    /// # Errors
    /// A check does not hold, something is beyond a limit, or the store cannot be written: nothing has changed then.
    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError>;

    /// The changes behind revision `after`, oldest first: whole revisions, at least one if there is any, and no more than
    /// about `limit` changes and [`PAGE_BYTES`] bytes.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history begins later, [`StoreError::Future`] when it ends earlier.
    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// The newest changes before revision `before` (the newest of all for `None`), newest first, of one resource or of
    /// all, as far as the history reaches.
    ///
    /// # Errors
    /// The store cannot be read.
    fn history(&self, key: Option<&Key>, before: Option<Revision>, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// The resources as they were at a revision, by key.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] or [`StoreError::Future`] when that is not known.
    fn at(&self, revision: Revision) -> Result<Vec<Entry>, StoreError>;

    /// The oldest revision whose state is still known.
    ///
    /// # Errors
    /// The store cannot be read.
    fn floor(&self) -> Result<Revision, StoreError>;

    /// Keeps the state at `revision` known, whatever the limits of the history say, until it is called again; `None`
    /// ends it. Not durable: the owner calls it again after a start. A history that grows to [`PINNED_TIMES`] its limit
    /// refuses changes rather than grow on.
    fn pin(&self, revision: Option<Revision>);

    /// Waits until there is a change behind `after`, at most `longest`; gives the newest revision.
    ///
    /// # Errors
    /// The store cannot be read.
    fn wait(&self, after: Revision, longest: Duration) -> Result<Revision, StoreError>;

    /// A lease: keys written under it go when nobody renews it for `lasts`. After a start of the store every lease has
    /// its whole time again, since nobody could renew it meanwhile.
    ///
    /// # Errors
    /// The time is beyond [`LEASE_LASTS`], there are too many leases, or the store cannot be written.
    fn grant(&self, lasts: Duration) -> Result<LeaseId, StoreError>;

    /// Gives a lease its whole time again.
    ///
    /// # Errors
    /// It has ended.
    fn renew(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease now; its keys go as one change. The revision of that change, if it had keys.
    ///
    /// # Errors
    /// It has ended, or the store cannot be written.
    fn revoke(&self, lease: LeaseId, origin: &Origin) -> Result<Option<Revision>, StoreError>;

    /// Ends the leases whose time is over. The owner calls it about once a second; reads never do.
    ///
    /// # Errors
    /// The store cannot be written; the leases are tried again at the next call.
    fn expire(&self) -> Result<usize, StoreError>;
}

/// Puts the resources of these kinds back to what they were at a revision, as one new change; the revision of it, or
/// `None` where nothing differs.
///
/// # Errors
/// As [`ResourceStore::at`] and [`ResourceStore::commit`]; [`StoreError::Conflict`] when somebody changed one of them
/// meanwhile.
pub fn restore(
    store: &dyn ResourceStore,
    kinds: &[Kind],
    revision: Revision,
    origin: Origin,
) -> Result<Option<Revision>, StoreError> {
    let then = store.at(revision)?;
    let wanted: Vec<(Key, Vec<u8>)> = then
        .into_iter()
        .filter(|entry| kinds.contains(&entry.key.kind()))
        .map(|entry| (entry.key, entry.value))
        .collect();
    let mut present = Vec::new();
    for kind in kinds {
        present.extend(store.list(*kind)?.1);
    }
    let transaction = difference(&present, &wanted, origin);
    if transaction.writes.is_empty() { Ok(None) } else { store.commit(&transaction).map(Some) }
}

/// The transaction that turns `present` into `wanted`, with a check that nobody changed what it touches.
#[must_use]
pub fn difference(present: &[Entry], wanted: &[(Key, Vec<u8>)], origin: Origin) -> Transaction {
    let mut transaction = Transaction::new(origin);
    let now: std::collections::BTreeMap<&Key, &Entry> = present.iter().map(|entry| (&entry.key, entry)).collect();
    for (key, value) in wanted {
        let entry = now.get(key);
        if entry.is_some_and(|entry| entry.value == *value) {
            continue;
        }
        let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.modified));
        transaction.checks.push(Check { key: key.clone(), expect });
        transaction.writes.push(Write::Put { key: key.clone(), value: value.clone(), lease: None });
    }
    let kept: std::collections::BTreeSet<&Key> = wanted.iter().map(|(key, _)| key).collect();
    for entry in present.iter().filter(|entry| !kept.contains(&entry.key)) {
        transaction.checks.push(Check { key: entry.key.clone(), expect: Expect::Revision(entry.modified) });
        transaction.writes.push(Write::Delete { key: entry.key.clone() });
    }
    transaction
}
