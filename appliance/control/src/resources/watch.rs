//! Following the changes of a store.
//!
//! A watcher holds one number, the last revision it has seen; its queue is the store's history, which is bounded. One
//! that is slower than the history is long is told to read everything anew. So no watcher costs memory, none can hold
//! anybody up, and one that was away for a while goes on where it was.

use std::time::Duration;

use super::{Change, Kind, ResourceStore, Revision, StoreError};

/// Changes read at once.
const PAGE: usize = 256;

/// What a watcher hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Changes, oldest first: whole revisions, in order, none left out.
    Changes(Vec<Change>),
    /// Some changes are no longer known: read what there is, then go on. The watcher goes on behind this revision, so
    /// what is read must be read after this event.
    Resync(Revision),
    /// Nothing happened.
    Quiet,
}

/// A watcher of one kind, or of all.
#[derive(Debug)]
pub struct Watch<'store, S: ResourceStore + ?Sized> {
    store: &'store S,
    kind: Option<Kind>,
    seen: Revision,
}

impl<'store, S: ResourceStore + ?Sized> Watch<'store, S> {
    /// A watcher that hears of every change behind `after`.
    pub fn new(store: &'store S, kind: Option<Kind>, after: Revision) -> Self {
        Self { store, kind, seen: after }
    }

    /// The last revision it has heard of.
    #[must_use]
    pub fn seen(&self) -> Revision {
        self.seen
    }

    /// The next event; [`Event::Quiet`] if nothing of its kind happens for `longest`, or only other kinds change.
    ///
    /// # Errors
    /// The store cannot be read, or `after` is a revision that it has not reached.
    pub fn next(&mut self, longest: Duration) -> Result<Event, StoreError> {
        if self.store.wait(self.seen, longest)? == self.seen {
            return Ok(Event::Quiet);
        }
        let page = match self.store.changes(self.seen, PAGE) {
            Err(StoreError::Compacted { .. }) => {
                self.seen = self.store.revision()?;
                return Ok(Event::Resync(self.seen));
            }
            page => page?,
        };
        self.seen = page.last().map_or(self.seen, |last| last.revision);
        let wanted: Vec<Change> =
            page.into_iter().filter(|change| self.kind.is_none_or(|kind| kind == change.key.kind())).collect();
        Ok(if wanted.is_empty() { Event::Quiet } else { Event::Changes(wanted) })
    }
}
