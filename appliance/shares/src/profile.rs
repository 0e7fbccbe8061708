//! What a feature gets where nobody says otherwise.
//!
//! The numbers are the requirement R-02 of docs/spec.md for a machine of 8 performance and at least 10 efficient cores:
//!
//! | feature | critical | batch | memory | accelerators | class |
//! |---|---|---|---|---|---|
//! | streaming | 3 | 6 | 32 GiB | | critical |
//! | nas | 2 | 0 | 4 GiB | half of the NPU; the GPU with 40 GiB | batch |
//! | twin | 2 | 4 | 64 GiB | | critical |
//! | fusion | 1 | 0 | 16 GiB | half of the NPU | critical |
//! | any other | 0 | 1 | 1 GiB | | critical |
//!
//! R-02 names no memory of the host for the search (nas); 4 GiB is ours. The class is ours too: what traffic waits for is
//! critical, what only learns from it is batch.

use std::fmt;

const GIB: u64 = 1 << 30;
/// All of an accelerator, in basis points.
pub const WHOLE: u32 = 10_000;
/// The weight that neither favours nor hinders (cgroup v2's `cpu.weight`).
pub const NEUTRAL_WEIGHT: u32 = 100;

/// How a feature stands towards others that want the same core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Traffic waits for it: by its weight among others.
    Critical,
    /// It may be late: it runs when no critical one wants to.
    Batch,
}

impl Class {
    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Batch => "batch",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a feature is meant to have on the machine of R-02.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Cores of the critical role.
    pub critical: u32,
    /// Cores of the batch role.
    pub batch: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Its class.
    pub class: Class,
    /// Names of accelerators, the share of each in basis points, and bytes of its memory.
    pub accelerators: &'static [(&'static str, u32, u64)],
}

impl Profile {
    /// The profile of a feature by its name.
    pub fn of(feature: &str) -> Self {
        let (critical, batch, memory, class, accelerators): (_, _, _, _, &'static [_]) = match feature {
            "streaming" => (3, 6, 32 * GIB, Class::Critical, &[]),
            "nas" => (2, 0, 4 * GIB, Class::Batch, &[("npu", WHOLE / 2, 0), ("gpu", WHOLE, 40 * GIB)]),
            "twin" => (2, 4, 64 * GIB, Class::Critical, &[]),
            "fusion" => (1, 0, 16 * GIB, Class::Critical, &[("npu", WHOLE / 2, 0)]),
            _ => (0, 1, GIB, Class::Critical, &[]),
        };
        Self { critical, batch, memory, class, accelerators }
    }
}
