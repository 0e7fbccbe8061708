//! A limit on everything that a store holds. A backend over a network must be set up to take these: etcd, for one, with
//! `--max-request-bytes` and `--max-txn-ops` of at least these sizes.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest name of a resource in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest value in bytes: the settings of the longest configuration file.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Writes of one transaction: every agent, rule and flag of the largest configuration, twice.
pub const MAX_WRITES: usize = 16_384;
/// Bytes of all values of one transaction.
pub const MAX_TRANSACTION_BYTES: usize = 4 << 20;
/// Resources of all kinds together.
pub const MAX_RESOURCES: u64 = 65_536;
/// Bytes of all present values together.
pub const MAX_PRESENT_BYTES: u64 = 64 << 20;
/// Longest author in bytes.
pub const MAX_AUTHOR_BYTES: usize = 128;
/// Longest reason in bytes.
pub const MAX_REASON_BYTES: usize = 512;
/// Leases at the same time.
pub const MAX_LEASES: usize = 4096;
/// How long a lease may last without renewal.
pub const LEASE_LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// Bytes of values after which a page of changes ends with its revision.
pub const PAGE_BYTES: usize = 1 << 20;
/// How many times its limit a pinned history may have before changes are refused.
pub const PINNED_TIMES: u64 = 4;

/// How much history is kept. When there is a quarter more than this, the oldest go until it is this again; for every
/// resource the change that made it what it is stays always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Changes.
    pub changes: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { changes: 10_000, bytes: 32 << 20 }
    }
}

impl Retention {
    /// Whether so much is a quarter more than is kept.
    #[must_use]
    pub fn is_exceeded(&self, changes: u64, bytes: u64) -> bool {
        changes > self.changes + self.changes / 4 || bytes > self.bytes + self.bytes / 4
    }

    /// Whether so much is no more than is kept.
    #[must_use]
    pub fn holds(&self, changes: u64, bytes: u64) -> bool {
        changes <= self.changes && bytes <= self.bytes
    }

    /// Whether so much is more than even a pinned history may have.
    #[must_use]
    pub fn is_beyond_pin(&self, changes: u64, bytes: u64) -> bool {
        changes > self.changes.saturating_mul(PINNED_TIMES) || bytes > self.bytes.saturating_mul(PINNED_TIMES)
    }
}
