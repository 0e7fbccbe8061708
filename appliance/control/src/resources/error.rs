//! Why a store refuses.

use std::path::{Path, PathBuf};

use super::{Expect, Key, LeaseId, Revision};
use crate::problem::Problem;

/// Why a store refuses. Whatever it is, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A value is beyond what a store takes.
    #[error(transparent)]
    Invalid(#[from] Problem),
    /// A check does not hold.
    #[error("{key}: {}, {} was expected; read it again, then decide", found_words(*found), expect_words(*expected))]
    Conflict {
        /// The resource.
        key: Key,
        /// What was expected of it.
        expected: Expect,
        /// The revision that changed it last; `None` if it is not there.
        found: Option<Revision>,
    },
    /// A resource that is not there cannot be deleted.
    #[error("{key}: there is no such resource; see what there is")]
    Missing {
        /// The resource.
        key: Key,
    },
    /// The history begins later.
    #[error("revision {asked}: the history begins with revision {floor}; name a later one")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest that is known.
        floor: Revision,
    },
    /// The history ends earlier.
    #[error("revision {asked}: the newest is {newest}; name an earlier one")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        newest: Revision,
    },
    /// The lease has ended, or never was.
    #[error("lease {lease}: it has ended; take a new one")]
    LeaseEnded {
        /// The lease.
        lease: LeaseId,
    },
    /// The history may not be cut because an old state is still needed, and it is as long as it may be.
    #[error("revision {pinned}: the history since then is kept and is full; confirm or revert the pending change")]
    Pinned {
        /// The oldest revision that is needed.
        pinned: Revision,
    },
    /// The disk is full.
    #[error("{}: the disk has no room: {cause}; free some, the store goes on by itself", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// Another process has the file.
    #[error("{}: another weir has this store open; stop that one, or give this one a file of its own (--state)", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error("{}: the store is damaged: {cause}; {}", path.display(), cure_of(path, copy.as_ref()))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
        /// The newest good copy, and its revision.
        copy: Option<(PathBuf, Revision)>,
    },
    /// The file cannot be used.
    #[error("{}: the store cannot be used: {cause}; check the disk and who owns the folder", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
}

impl StoreError {
    pub(crate) fn invalid(value: impl Into<String>, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Invalid(Problem::new(value, cause, cure))
    }
}

fn found_words(found: Option<Revision>) -> String {
    found.map_or_else(|| "it is not there".to_owned(), |revision| format!("it was changed by revision {revision}"))
}

fn expect_words(expected: Expect) -> String {
    match expected {
        Expect::Absent => "no such resource".to_owned(),
        Expect::Present => "that it is there".to_owned(),
        Expect::Revision(revision) => format!("revision {revision}"),
    }
}

fn cure_of(path: &Path, copy: Option<&(PathBuf, Revision)>) -> String {
    match copy {
        Some((copy, revision)) => format!(
            "put the newest good copy, of revision {revision}, in its place: mv {} {}",
            copy.display(),
            path.display()
        ),
        None => "there is no good copy: move it away, and weir starts from its configuration file".to_owned(),
    }
}
