//! sysfs and procfs, as the interface's network namespace shows them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::{IoError, Result};

/// Where settings are read and written.
#[derive(Clone, Debug)]
pub struct View {
    sys: PathBuf,
    proc: PathBuf,
    /// Keeps a mount of its own alive, where there is one.
    _mount: Option<Arc<OwnedFd>>,
}

impl View {
    /// The calling thread's namespace. `/sys/class/net` shows the interfaces of the namespace it was mounted in, which may
    /// be another one with interfaces of the same names; so sysfs is mounted once more, attached nowhere and gone with the
    /// value. Where that is not permitted (CAP_SYS_ADMIN), `/sys` it is, and [`View::shows`] tells whether it is the right one.
    pub fn live() -> Self {
        let (sys, mount) = match own_sysfs() {
            Ok(mount) => (PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())), Some(Arc::new(mount))),
            Err(_) => (PathBuf::from("/sys"), None),
        };
        Self { sys, proc: PathBuf::from("/proc"), _mount: mount }
    }

    /// Recorded trees instead of `/sys` and `/proc`.
    pub fn recorded(sys: &Path, proc: &Path) -> Self {
        Self { sys: sys.to_owned(), proc: proc.to_owned(), _mount: None }
    }

    /// Root of sysfs.
    pub fn sys(&self) -> &Path {
        &self.sys
    }

    /// Root of procfs.
    pub fn proc(&self) -> &Path {
        &self.proc
    }

    /// Whether this sysfs shows interface `name` under number `index`, and so is of its namespace.
    pub fn shows(&self, name: &str, index: u32) -> bool {
        let text = fs::read_to_string(self.interface(name).join("ifindex"));
        text.is_ok_and(|text| text.trim().parse() == Ok(index))
    }

    /// Folder of interface `name`.
    pub(super) fn interface(&self, name: &str) -> PathBuf {
        self.sys.join("class/net").join(name)
    }

    /// The trimmed text of a file.
    pub(super) fn read(&self, path: &Path, what: &str) -> Result<String> {
        let text = fs::read_to_string(path);
        text.map(|text| text.trim().to_owned()).map_err(|cause| IoError::new(format!("reading {what}"), cause, KEEP))
    }

    /// Writes a file in one call, as sysfs and procfs want it.
    pub(super) fn write(&self, path: &Path, value: &str, what: &str) -> Result<()> {
        let open = OpenOptions::new().write(true).truncate(true).open(path);
        open.and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|cause| IoError::new(format!("setting {what} to {value}"), cause, KEEP))
    }
}

const KEEP: &str = "leave it as it is (keep), or use a driver and a kernel that have it";

/// A sysfs of the calling thread's network namespace, attached nowhere.
fn own_sysfs() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
