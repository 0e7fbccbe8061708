//! How much memory this process holds, as the kernel counts it.

use std::path::Path;

use crate::error::LabError;

/// Resident memory around a run, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// When the run began.
    pub before: u64,
    /// The most the process ever held, from `VmHWM`: what it held at once in the run is not above this.
    pub highest: u64,
}

impl Footprint {
    /// Bytes that were added at most.
    #[must_use]
    pub fn grown(&self) -> u64 {
        self.highest.saturating_sub(self.before)
    }
}

/// What this process holds now, and the most it ever held, in bytes.
///
/// # Errors
/// `/proc` is not there or has another form.
pub fn resident() -> Result<(u64, u64), LabError> {
    let path = Path::new("/proc/self/status");
    let text = std::fs::read_to_string(path)
        .map_err(|source| LabError::system(path.display().to_string(), source, "mount /proc"))?;
    let field = |name| {
        of_status(&text, name)
            .ok_or_else(|| LabError::spec("VmRSS or VmHWM of /proc/self/status", "missing", "mount /proc"))
    };
    Ok((field("VmRSS")?, field("VmHWM")?))
}

/// A field of a status page, which counts in KiB.
fn of_status(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_page_is_read_in_bytes() {
        let page = "Name:\tweir\nVmHWM:\t   2048 kB\nVmRSS:\t     12 kB\nVmSwap:\tnone\n";
        assert_eq!(of_status(page, "VmRSS"), Some(12 * 1024));
        assert_eq!(of_status(page, "VmHWM"), Some(2 << 20));
        assert_eq!(of_status(page, "VmSwap"), None);
        let (now, highest) = resident().unwrap();
        assert!(now > 0 && highest >= now);
    }
}
