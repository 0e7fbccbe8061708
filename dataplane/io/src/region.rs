//! One piece of shared memory of any length, on 2 MiB pages where there are any and on one NUMA node if asked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;
use crate::numa;
use crate::shared::check_sealed_size;
use crate::umem::{Backing, HugePages};

/// A hugepage on x86-64 and on aarch64 with 4 KiB base pages.
const HUGE: usize = 2 << 20;

/// Writable memory with a descriptor that another process can map. Its size is sealed.
#[derive(Debug)]
pub struct Region {
    file: OwnedFd,
    mapping: Arc<Mapping>,
    backing: Backing,
}

impl Region {
    /// Creates `length` zero bytes called `name`, every page present, on `node` if one is given. What is smaller than a
    /// hugepage takes one only where they are required.
    ///
    /// # Errors
    /// Too few hugepages where they are required, a node that is not there, or no memory.
    pub fn create(name: &str, length: usize, hugepages: HugePages, node: Option<u32>) -> Result<Self> {
        let why = match hugepages {
            HugePages::Never => "hugepages are switched off".to_owned(),
            HugePages::Prefer if length < HUGE => format!("{length} bytes are less than one hugepage"),
            HugePages::Prefer | HugePages::Require => match Self::map(name, length, node, true) {
                Ok((file, mapping)) => return Self::seal(file, mapping, Backing::HugePages2M),
                Err(error) if hugepages == HugePages::Require => return Err(error),
                Err(error) => error.to_string(),
            },
        };
        let (file, mapping) = Self::map(name, length, node, false)?;
        Self::seal(file, mapping, Backing::Plain { why })
    }

    /// Maps, readable and writable, the region that another process created and passed as `file`.
    ///
    /// # Errors
    /// When its size is not sealed, and what mmap says.
    pub fn open(file: OwnedFd) -> Result<Self> {
        let stat = fstat(&file)
            .map_err(|cause| IoError::new("looking at a shared region", cause, "pass the descriptor of one"))?;
        let length = usize::try_from(stat.st_size).unwrap_or(0);
        check_sealed_size(file.as_fd(), length)?;
        let mapping = Arc::new(Mapping::map_shared(file.as_fd(), length, 0, true)?);
        // st_blksize of a hugetlb file is its page size, of other memfds 4096.
        let huge = stat.st_blksize as usize == HUGE;
        let why = || "its creator found no hugepages".to_owned();
        let backing = if huge { Backing::HugePages2M } else { Backing::Plain { why: why() } };
        Ok(Self { file, mapping, backing })
    }

    fn map(name: &str, length: usize, node: Option<u32>, huge: bool) -> Result<(OwnedFd, Mapping)> {
        let (length, flags) = if huge {
            (length.next_multiple_of(HUGE), MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB)
        } else {
            (length, MemfdFlags::empty())
        };
        let kind = if huge { "hugepage" } else { "plain" };
        let fail = |step: &str, cause: Errno| {
            let pages = length / HUGE;
            let cure = if huge {
                format!("reserve {pages} hugepages, e.g. sysctl vm.nr_hugepages={pages}, best at boot")
            } else {
                "free memory, or ask for less".to_owned()
            };
            IoError::new(format!("{step} of {} MiB of {kind} memory", length.div_ceil(1 << 20)), cause, cure)
        };
        let file = memfd_create(name, flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|cause| fail("creation", cause))?;
        ftruncate(&file, length as u64).map_err(|cause| fail("sizing", cause))?;
        let mapping = Mapping::map_lazily(file.as_fd(), length, true)
            .map_err(|error| fail("mapping", error.errno().unwrap_or(Errno::NOMEM)))?;
        if let Some(node) = node {
            numa::bind(&mapping, node)?;
        }
        let (address, length) = mapping.raw();
        // Populating now turns a page that cannot be had into an error here instead of SIGBUS at its first use.
        // SAFETY: MADV_POPULATE_WRITE changes no contents and the range is this mapping.
        unsafe { madvise(address, length, Advice::LinuxPopulateWrite) }.map_err(|cause| fail("populating", cause))?;
        Ok((file, mapping))
    }

    fn seal(file: OwnedFd, mapping: Mapping, backing: Backing) -> Result<Self> {
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(|cause| IoError::new("sealing a shared region", cause, "run on Linux 3.17 or newer"))?;
        Ok(Self { file, mapping: Arc::new(mapping), backing })
    }

    /// What kind of pages there are, and why.
    #[must_use]
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The memory.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The descriptor to pass on.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use weir_dataplane_ring::Memory;

    use super::*;
    use crate::memory::page_size;

    #[test]
    fn two_mappings_are_one_memory_on_the_node_asked_for() {
        let region = Region::create("weir-test", 100_000, HugePages::Never, Some(0)).unwrap();
        assert_eq!(page_size(region.mapping()).unwrap(), 4096);
        assert!(region.backing().to_string().contains("switched off"));
        assert_eq!(numa::node_of_page(region.mapping().base().addr().get() + 99_999).unwrap(), Some(0));
        let small = Region::create("weir-test", HUGE - 1, HugePages::Prefer, None).unwrap();
        assert!(small.backing().to_string().contains("less than one hugepage"));
        let again = Region::open(region.file().try_clone_to_owned().unwrap()).unwrap();
        assert!(region.mapping().store(4096, b"shared"));
        assert_eq!(again.mapping().slice(4096, 6), Some(&b"shared"[..]));
        assert_eq!(again.mapping().len(), 100_000);
    }

    #[test]
    fn hugepages_that_are_not_there_are_missed_aloud() {
        // 1 TiB cannot be reserved here; the refusal costs nothing.
        let error = Region::create("weir-test", 1 << 40, HugePages::Require, None).unwrap_err().to_string();
        assert!(error.contains("vm.nr_hugepages=524288"), "{error}");
        let error = Region::create("weir-test", 4096, HugePages::Never, Some(63)).unwrap_err().to_string();
        assert!(error.contains("node 63"), "{error}");
        assert!(Region::open(std::fs::File::open("/dev/zero").unwrap().into()).is_err());
    }
}
