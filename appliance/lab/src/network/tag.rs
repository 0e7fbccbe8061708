//! Names that say whose they are: `weir-lab-PID-START-SERIAL`, with the process's start so that a reused number is told
//! from its first owner.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// First word of everything a lab makes.
pub(super) const PREFIX: &str = "weir-lab-";

/// The number of the next lab of this process.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Whose lab it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pid: u32,
    start: u64,
    serial: u32,
}

impl Tag {
    /// A name nobody else has.
    pub(super) fn fresh() -> Self {
        let pid = std::process::id();
        Self { pid, start: started(pid).unwrap_or(0), serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
    }

    /// The tag in front of a namespace's or a ledger's name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix(PREFIX)?.splitn(4, '-');
        let pid = words.next()?.parse().ok()?;
        let start = words.next()?.parse().ok()?;
        let serial = words.next()?.parse().ok()?;
        Some(Self { pid, start, serial })
    }

    /// Whether the process that made it still runs.
    pub(super) fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.start)
    }

    /// Full name of the namespace `node`.
    pub(super) fn namespace(&self, node: &str) -> String {
        format!("{self}-{node}")
    }

    /// Folder for pins.
    pub(super) fn pin_root(&self) -> PathBuf {
        PathBuf::from("/sys/fs/bpf/weir").join(self.to_string())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}-{}-{}", self.pid, self.start, self.serial)
    }
}

/// When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); `None` when it is gone.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so counting starts behind its last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_unique_read_back_and_alive() {
        let (first, second) = (Tag::fresh(), Tag::fresh());
        assert_ne!(first, second);
        assert_eq!(Tag::parse(&first.namespace("the-box")), Some(first));
        assert_eq!(Tag::parse(&first.to_string()), Some(first));
        assert!(first.is_alive());
        assert!(!Tag { start: first.start + 1, ..first }.is_alive());
        assert_eq!(Tag::parse("weir-lab-x-1-1"), None);
        assert_eq!(Tag::parse("somebody-else"), None);
    }
}
