//! Files that must hold what was written to them: opened past the page cache where the file system allows it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::{IoError, Result};

/// How the bytes of a file reach the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// O_DIRECT: from the caller's memory, past the page cache.
    Direct,
    /// Through the page cache.
    Buffered {
        /// Why not directly.
        why: String,
    },
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => write!(f, "writes go past the page cache (O_DIRECT)"),
            Self::Buffered { why } => write!(f, "writes go through the page cache, because {why}"),
        }
    }
}

/// Opens an existing file for writes of whole 4096-byte blocks, past the page cache where the file system takes that.
///
/// # Errors
/// What open says when it refuses the buffered way too.
pub fn open_for_blocks(path: &Path) -> Result<(File, Access)> {
    let direct = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path);
    let why = match direct {
        Ok(file) => return Ok((file, Access::Direct)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => "the file system takes no O_DIRECT".to_owned(),
        Err(error) => format!("open with O_DIRECT said: {error}"),
    };
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let file = opened.map_err(|cause| refused("open for writing of", path, cause))?;
    Ok((file, Access::Buffered { why }))
}

/// Gives `file` its blocks up to `bytes` now, zeros where nothing was written, so that no later write inside them finds
/// the disk full.
///
/// # Errors
/// `ENOSPC` when the disk is full, and whatever else the file system says.
pub fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // The file system has no such call: the length at least is right, and a full disk shows itself later.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        result => result.map_err(io::Error::from),
    }
}

/// Makes the names in `folder` durable: files made, renamed or removed there.
///
/// # Errors
/// What open or fsync says.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|cause| refused("fsync of", folder, cause))
}

fn refused(what: &str, path: &Path, cause: io::Error) -> IoError {
    IoError::new(format!("{what} {}", path.display()), cause, "check that it exists, its owner, mode and the disk")
}
