//! The BPF file system, in which pins outlive their process.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{IoError, Result};

/// `BPF_FS_MAGIC` (linux/magic.h).
const MAGIC: u64 = 0xcafe_4a11;

/// True when `path` is on a BPF file system.
pub fn is_mounted(path: &Path) -> bool {
    // The type is a positive number on every architecture, so the cast changes nothing.
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == MAGIC)
}

/// Mounts a BPF file system at `path` unless there is one: true when this call mounted it.
///
/// # Errors
/// The folder is missing (a kernel without BPF) or CAP_SYS_ADMIN is.
pub fn ensure(path: &Path) -> Result<bool> {
    if is_mounted(path) {
        return Ok(false);
    }
    mount("bpf", path, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None).map_err(|cause| {
        let what = format!("mounting the BPF file system at {}", path.display());
        IoError::new(what, cause, format!("as root: mount -t bpf bpf {}", path.display()))
    })?;
    Ok(true)
}

/// Takes back what [`ensure`] mounted; one that somebody else uses meanwhile stays.
pub fn release(path: &Path) {
    let _ = unmount(path, UnmountFlags::empty());
}
