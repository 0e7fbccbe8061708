//! Sealed memfds: pages and rings that two processes share.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;

const CURE: &str = "check `ulimit -n`, the free memory and the memory limit of the cgroup";

/// Who may map the memory writable from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Only the creator, through the mapping it has: lanes, the owner's page.
    Creator,
    /// Whoever gets the descriptor: cursor pages, record rings.
    Both,
}

/// Memory with a descriptor that can be passed to another process. Its size is sealed, so that nobody can make the
/// other side fault by truncating the file.
#[derive(Debug)]
pub struct SharedMemory {
    file: OwnedFd,
    mapping: Arc<Mapping>,
}

impl SharedMemory {
    /// Creates `length` zero bytes called `name` (shown in `/proc/PID/maps`).
    ///
    /// # Errors
    /// What memfd_create, ftruncate, mmap or the seals say.
    pub fn create(name: &str, length: usize, writers: Writers) -> Result<Self> {
        let file = sized(name, length)?;
        let mapping = Arc::new(Mapping::map_shared(file.as_fd(), length, 0, true)?);
        seal(&file, name, writers)?;
        Ok(Self { file, mapping })
    }

    /// The creator's writable mapping.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The descriptor to pass on.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Memory for others: `length` zero bytes called `name` that take no room before somebody maps and writes them.
///
/// # Errors
/// What memfd_create, ftruncate or the seals say.
pub fn reserve(name: &str, length: usize) -> Result<OwnedFd> {
    let file = sized(name, length)?;
    seal(&file, name, Writers::Both)?;
    Ok(file)
}

/// Has the program that this process becomes next find the descriptor `file` open, under the same number.
///
/// # Errors
/// The descriptor is not open.
pub fn keep_over_exec(file: BorrowedFd<'_>) -> Result<()> {
    let set = rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty());
    set.map_err(|cause| IoError::new("keeping a descriptor for the next program", cause, CURE))
}

/// Opens memory that the program before this one kept under `number`, whole and sealed.
///
/// # Errors
/// It is not there, or is no such memory.
pub fn kept_over_exec(number: i32, length: usize) -> Result<OwnedFd> {
    let what = || format!("memory that was kept as descriptor {number}");
    let path = format!("/proc/self/fd/{number}");
    let file =
        rustix::fs::open(path, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let file = file.map_err(|cause| IoError::new(what(), cause, CURE))?;
    // SAFETY: it is open, as just seen, and is the memory that the program before this one left under this number; nobody in
    // this process has it. Closed, so that no child inherits it.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    check_sealed_size(file.as_fd(), length)?;
    Ok(file)
}

fn sized(name: &str, length: usize) -> Result<OwnedFd> {
    let what = |step: &str| format!("{step} of shared memory `{name}` ({length} bytes)");
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|cause| IoError::new(what("creation"), cause, CURE))?;
    ftruncate(&file, length as u64).map_err(|cause| IoError::new(what("sizing"), cause, CURE))?;
    Ok(file)
}

fn seal(file: &OwnedFd, name: &str, writers: Writers) -> Result<()> {
    let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    if writers == Writers::Creator {
        seals |= SealFlags::FUTURE_WRITE;
    }
    fcntl_add_seals(file, seals)
        .map_err(|cause| IoError::new(format!("sealing of shared memory `{name}`"), cause, CURE))
}

/// Maps memory that somebody else created and passed as `file`.
///
/// # Errors
/// When the file is shorter than `length` or its size is not sealed (its owner could then stop this process by
/// truncating it), and what mmap says.
pub fn open(file: BorrowedFd<'_>, length: usize, writable: bool) -> Result<Mapping> {
    check_sealed_size(file, length)?;
    Mapping::map_shared(file, length, 0, writable)
}

/// As [`open`], for memory of which only a part is used: pages come with their first access.
///
/// # Errors
/// As [`open`].
pub fn open_lazily(file: BorrowedFd<'_>, length: usize, writable: bool) -> Result<Mapping> {
    check_sealed_size(file, length)?;
    Mapping::map_lazily(file, length, writable)
}

/// Refuses a file that is shorter than `length` or may become so.
pub(crate) fn check_sealed_size(file: BorrowedFd<'_>, length: usize) -> Result<()> {
    const CURE: &str = "pass a memfd made by this program, whole and sealed";
    let what = || format!("shared memory of {length} bytes");
    let seals = fcntl_get_seals(file).map_err(|cause| IoError::new(what(), cause, CURE))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(IoError::invalid(what(), "the file can still be shrunk", CURE));
    }
    let size = fstat(file).map_err(|cause| IoError::new(what(), cause, CURE))?.st_size;
    if (size as u64) < length as u64 {
        return Err(IoError::invalid(what(), format!("the file has only {size} bytes"), CURE));
    }
    Ok(())
}
