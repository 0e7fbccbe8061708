//! What is asked of a store, and what it remembers of it.

use std::collections::BTreeSet;

use super::{
    Key, LeaseId, MAX_AUTHOR_BYTES, MAX_REASON_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES, MAX_WRITES, Revision,
    StoreError,
};

/// Who changes something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    author: String,
    reason: String,
}

impl Origin {
    /// An author such as `root (uid 0)` or `token ci`, and a reason in the author's words, which may be empty.
    ///
    /// # Errors
    /// The author is empty, or one of them is too long or contains a control character.
    pub fn new(author: impl Into<String>, reason: impl Into<String>) -> Result<Self, StoreError> {
        let (author, reason) = (author.into(), reason.into());
        if author.is_empty() || author.len() > MAX_AUTHOR_BYTES || author.chars().any(char::is_control) {
            let cause = format!("an author has 1 to {MAX_AUTHOR_BYTES} bytes and no control character");
            return Err(StoreError::invalid(author, cause, "name who makes the change"));
        }
        if reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
            let cause = format!("a reason has at most {MAX_REASON_BYTES} bytes and no control character");
            return Err(StoreError::invalid(reason, cause, "write one short sentence"));
        }
        Ok(Self { author, reason })
    }

    /// A change that the store makes itself because a lease has ended.
    pub(super) fn of_lease(lease: LeaseId) -> Self {
        Self { author: "weir".to_owned(), reason: format!("lease {lease} ended") }
    }

    /// Who.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.author
    }

    /// Why; empty if nobody said.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// What must be so of a resource for a transaction to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is not there.
    Absent,
    /// It is there, whatever it is.
    Present,
    /// It was changed last by this revision.
    Revision(Revision),
}

/// An expectation of one resource, written or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The resource.
    pub key: Key,
    /// What must be so.
    pub expect: Expect,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new value.
    Put {
        /// The resource.
        key: Key,
        /// Its value.
        value: Vec<u8>,
        /// The lease with which it goes; `None` stays, also for a resource that had one.
        lease: Option<LeaseId>,
    },
    /// Gone. Refused for a resource that is not there.
    Delete {
        /// The resource.
        key: Key,
    },
}

impl Write {
    /// The resource that is written.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Bytes of its value.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// Writes that are made together, if all checks hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Who and why.
    pub origin: Origin,
    /// What must be so.
    pub checks: Vec<Check>,
    /// What is written; each resource at most once.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// An empty one, which no store takes.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self { origin, checks: Vec::new(), writes: Vec::new() }
    }

    /// With one value more.
    #[must_use]
    pub fn put(mut self, key: Key, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put { key, value: value.into(), lease: None });
        self
    }

    /// With one resource less.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete { key });
        self
    }

    /// With one check more.
    #[must_use]
    pub fn check(mut self, key: Key, expect: Expect) -> Self {
        self.checks.push(Check { key, expect });
        self
    }

    /// What every backend asks before anything else.
    ///
    /// # Errors
    /// There is nothing to write, too much, or one resource twice.
    pub fn judge(&self) -> Result<(), StoreError> {
        let (writes, checks) = (self.writes.len(), self.checks.len());
        if writes == 0 {
            return Err(StoreError::invalid("transaction", "it writes nothing", "leave it out"));
        }
        if writes > MAX_WRITES || checks > MAX_WRITES {
            let cause = format!("a transaction has at most {MAX_WRITES} writes and as many checks");
            return Err(StoreError::invalid(writes.max(checks).to_string(), cause, "make several"));
        }
        let mut keys = BTreeSet::new();
        let mut bytes = 0;
        for write in &self.writes {
            let length = write.value_bytes();
            if length > MAX_VALUE_BYTES {
                let cause = format!("{length} bytes, a value has at most {MAX_VALUE_BYTES}");
                return Err(StoreError::invalid(write.key().to_string(), cause, "write it shorter"));
            }
            if !keys.insert(write.key()) {
                let cause = "this resource is written twice in one transaction";
                return Err(StoreError::invalid(write.key().to_string(), cause, "write it once"));
            }
            bytes += length;
        }
        if bytes > MAX_TRANSACTION_BYTES {
            let cause = format!("the values of a transaction have at most {MAX_TRANSACTION_BYTES} bytes");
            return Err(StoreError::invalid(bytes.to_string(), cause, "make several"));
        }
        Ok(())
    }
}

/// A resource as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: Key,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision since which it has been there.
    pub created: Revision,
    /// The revision that changed it last.
    pub modified: Revision,
    /// How often it was written since it has been there, from 1.
    pub version: u64,
    /// The lease with which it goes.
    pub lease: Option<LeaseId>,
}

/// One resource's part of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The change. All writes of one transaction have the same.
    pub revision: Revision,
    /// Which resource.
    pub key: Key,
    /// What it was changed to; `None` if it went.
    pub after: Option<Entry>,
    /// When, in milliseconds since 1970, by the wall clock of that moment: for people, not for order.
    pub time_ms: u64,
    /// Who and why.
    pub origin: Origin,
}

impl Change {
    /// Bytes of its value.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        self.after.as_ref().map_or(0, |entry| entry.value.len() as u64)
    }
}
