//! The memory all frames live in: one memfd, on 2 MiB hugepages where there are any, that the owner alone may write.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{Advice, madvise};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;
use crate::numa::{self, Source};
use crate::shared::check_sealed_size;

/// A hugepage on x86-64 and on aarch64 with 4 KiB base pages.
const HUGE: usize = 2 << 20;
/// Frame sizes the kernel takes in aligned mode: a power of two, from 2048 to the page size
/// (net/xdp/xdp_umem.c, `xdp_umem_reg`: `XDP_UMEM_MIN_CHUNK_SIZE` and `PAGE_SIZE`).
const FRAME_SIZES: [u32; 2] = [2048, 4096];

/// What kind of pages to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Hugepages if there are enough, otherwise plain pages.
    #[default]
    Prefer,
    /// Hugepages or an error.
    Require,
    /// Plain pages.
    Never,
}

/// What kind of pages there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// 2 MiB hugepages.
    HugePages2M,
    /// Plain pages.
    Plain {
        /// Why no hugepages, as one sentence with the cure.
        why: String,
    },
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HugePages2M => f.write_str("2 MiB hugepages"),
            Self::Plain { why } => write!(f, "4 KiB pages ({why})"),
        }
    }
}

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct UmemOptions {
    /// Number of frames.
    pub frames: u32,
    /// Bytes of a frame: 2048 or 4096.
    pub frame_size: u32,
    /// What kind of pages to ask for.
    pub hugepages: HugePages,
    /// NUMA node to place the pages on: the network card's.
    pub node: Option<u32>,
}

/// The frames' memory, seen by its owner. Only the kernel and this mapping can write it: the file is sealed against
/// writable mappings, writing and resizing as soon as the owner has mapped it.
#[derive(Debug)]
pub struct Umem {
    mapping: Arc<Mapping>,
    file: OwnedFd,
    frames: u32,
    frame_size: u32,
    backing: Backing,
    residence: Residence,
}

/// Which NUMA node the frames were asked from, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// The network card's node; `None` when it is not known.
    pub wished: Option<u32>,
    /// The node that the pages were bound to; `None` when the kernel chose.
    pub bound: Option<u32>,
    /// What stood against a better way, as sentences; empty when the first way did.
    pub why: String,
}

impl Umem {
    /// Memory for `frames` frames of `frame_size` bytes, on hugepages if there are any.
    ///
    /// # Errors
    /// As [`Umem::create_with`].
    pub fn create(frames: u32, frame_size: u32) -> Result<Self> {
        Self::create_with(UmemOptions { frames, frame_size, hugepages: HugePages::Prefer, node: None })
    }

    /// Memory as the options say.
    ///
    /// # Errors
    /// A frame size the kernel would refuse, no frames, too few hugepages where they are required, or no memory.
    pub fn create_with(options: UmemOptions) -> Result<Self> {
        let UmemOptions { frames, frame_size, hugepages, .. } = options;
        if !FRAME_SIZES.contains(&frame_size) {
            let cause = format!("frame size {frame_size} is not 2048 or 4096, the only ones the kernel takes");
            return Err(IoError::invalid(
                "UMEM",
                cause,
                "set memory.frame_size; larger frames arrive in several pieces",
            ));
        }
        if frames == 0 {
            return Err(IoError::invalid("UMEM", "0 frames", "ask for as many frames as the rings can hold"));
        }
        let length = frames as usize * frame_size as usize;
        let (ways, mut against) = ways(length, &options);
        let mut no_hugepages = match hugepages {
            HugePages::Never => Some("switched off by memory.hugepages: never".to_owned()),
            HugePages::Prefer | HugePages::Require => None,
        };
        let mut last = None;
        for way in ways {
            match Self::map(length, way) {
                Ok((file, mapping)) => {
                    let backing = if way.huge {
                        Backing::HugePages2M
                    } else {
                        Backing::Plain { why: no_hugepages.unwrap_or_else(|| against.join("; ")) }
                    };
                    let residence = Residence { wished: options.node, bound: way.node, why: against.join("; ") };
                    return Self::seal(file, mapping, &options, backing, residence);
                }
                Err(error) => {
                    if way.huge {
                        no_hugepages = Some(error.to_string());
                    }
                    against.push(error.to_string());
                    last = Some(error);
                }
            }
        }
        // There is always a way, so there is always the error of the last one.
        Err(last.unwrap_or_else(|| IoError::invalid("UMEM", "no way to get memory was left", "report this")))
    }

    /// Creates the file and maps it with every page present.
    fn map(length: usize, way: Source) -> Result<(OwnedFd, Mapping)> {
        let huge = way.huge;
        let (length, flags) = if huge {
            (length.next_multiple_of(HUGE), MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB)
        } else {
            (length, MemfdFlags::empty())
        };
        let kind = if huge { "hugepage" } else { "plain" };
        let fail = |step: &str, cause: rustix::io::Errno| {
            let cure = if huge {
                let pages = length / HUGE;
                format!("reserve {pages} hugepages, e.g. sysctl vm.nr_hugepages={pages}, best at boot")
            } else {
                "free memory or lower memory.rx_ring".to_owned()
            };
            IoError::new(format!("{step} of {} MiB of {kind} UMEM", length.div_ceil(1 << 20)), cause, cure)
        };
        let file = memfd_create("weir-umem", flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|cause| fail("creation", cause))?;
        ftruncate(&file, length as u64).map_err(|cause| fail("sizing", cause))?;
        let mapping = Mapping::map_lazily(file.as_fd(), length, true)
            .map_err(|error| fail("mapping", error.errno().unwrap_or(rustix::io::Errno::NOMEM)))?;
        let (address, length) = mapping.raw();
        if let Some(node) = way.node {
            numa::bind(&mapping, node)?;
        }
        if !huge {
            // A wish: shared memory follows it only where transparent_hugepage/shmem_enabled allows.
            // SAFETY: MADV_HUGEPAGE changes no contents and the range is this mapping.
            let _ = unsafe { madvise(address, length, Advice::LinuxHugepage) };
        }
        // Populating now turns a page that cannot be had into an error here instead of SIGBUS at the first frame.
        // SAFETY: MADV_POPULATE_WRITE changes no contents and the range is this mapping.
        unsafe { madvise(address, length, Advice::LinuxPopulateWrite) }.map_err(|cause| fail("populating", cause))?;
        Ok((file, mapping))
    }

    /// Closes the file to every writer but the mapping that exists.
    fn seal(
        file: OwnedFd,
        mapping: Mapping,
        options: &UmemOptions,
        backing: Backing,
        residence: Residence,
    ) -> Result<Self> {
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)
            .map_err(|cause| IoError::new("sealing the UMEM", cause, "run on Linux 5.1 or newer"))?;
        let (frames, frame_size) = (options.frames, options.frame_size);
        Ok(Self { mapping: Arc::new(mapping), file, frames, frame_size, backing, residence })
    }

    /// What kind of pages there are, and why.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// What kind of pages there are, in two words.
    pub fn backing_word(&self) -> &'static str {
        if self.backing == Backing::HugePages2M { "2 MiB pages" } else { "4 KiB pages" }
    }

    /// Which NUMA node the pages were asked from, and why not a better one.
    pub fn residence(&self) -> &Residence {
        &self.residence
    }

    /// Pages by the NUMA node that they are on now, as the kernel says; of a large UMEM every n-th page is asked.
    ///
    /// # Errors
    /// `ENOSYS` on a kernel without NUMA.
    pub fn pages_by_node(&self) -> Result<BTreeMap<Option<u32>, u32>> {
        let page = if self.backing == Backing::HugePages2M { HUGE } else { 4096 };
        numa::spread(&self.mapping, page)
    }

    /// The descriptor that takers map read-only.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The owner's mapping.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u32 {
        self.frame_size
    }

    /// Bytes of all frames together: what a taker maps.
    pub fn length(&self) -> usize {
        self.frames as usize * self.frame_size as usize
    }

    /// The frame's first address: `address` without its place inside the frame.
    #[inline]
    pub fn frame_of(&self, address: u64) -> u64 {
        address & !u64::from(self.frame_size - 1)
    }

    /// The bytes a descriptor names, or `None` when they are not all inside. Stable until the frame is given back.
    #[inline]
    pub fn bytes(&self, address: u64, length: u32) -> Option<&[u8]> {
        self.mapping.slice(usize::try_from(address).ok()?, length as usize)
    }

    /// The same bytes to be changed where they are: of a frame that is the caller's alone, neither lent nor read by a taker.
    #[inline]
    pub fn cells(&self, address: u64, length: u32) -> Option<&[Cell<u8>]> {
        self.mapping.cells(usize::try_from(address).ok()?, length as usize)
    }

    /// Writes a frame that is the caller's to fill; false when it would not fit inside the memory.
    #[inline]
    pub fn write(&self, address: u64, bytes: &[u8]) -> bool {
        usize::try_from(address).is_ok_and(|offset| self.mapping.store(offset, bytes))
    }
}

/// The ways to get the memory, best first, and what stands against better ones. Without a node the kernel chooses.
fn ways(length: usize, options: &UmemOptions) -> (Vec<Source>, Vec<String>) {
    let (huge, require) = (options.hugepages != HugePages::Never, options.hugepages == HugePages::Require);
    let nodes = options.node.map(|_| numa::nodes(Path::new("/sys"))).unwrap_or_default();
    match options.node {
        Some(home) => numa::sources(&nodes, home, length as u64, huge, require),
        None => {
            let ways = [(true, huge), (false, !require)];
            let wanted = ways.into_iter().filter(|(_, wanted)| *wanted);
            (wanted.map(|(huge, _)| Source { node: None, huge }).collect(), Vec::new())
        }
    }
}

/// The frames' memory as a taker sees it: read-only, and never writable again.
#[derive(Debug)]
pub struct UmemView {
    mapping: Arc<Mapping>,
}

impl UmemView {
    /// Maps `length` bytes of the UMEM that was passed as `file`.
    ///
    /// # Errors
    /// When the file is shorter, not sealed, or cannot be mapped.
    pub fn map(file: BorrowedFd<'_>, length: usize) -> Result<Self> {
        check_sealed_size(file, length)?;
        Ok(Self { mapping: Arc::new(Mapping::map_shared(file, round_up(file, length), 0, false)?) })
    }

    /// The owner's memory as a view, for takers that are threads of the owner.
    pub fn of(umem: &Umem) -> Self {
        Self { mapping: Arc::clone(&umem.mapping) }
    }

    /// The bytes a descriptor names, or `None` when they are not all inside. They stay as they are until the taker
    /// publishes a cursor beyond the descriptor.
    #[inline]
    pub fn bytes(&self, address: u64, length: u32) -> Option<&[u8]> {
        self.mapping.slice(usize::try_from(address).ok()?, length as usize)
    }

    /// The mapping, to be sealed.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

/// `length` rounded to the file's page size: a hugetlb file is mapped in whole hugepages.
fn round_up(file: BorrowedFd<'_>, length: usize) -> usize {
    // st_blksize of a hugetlb file is its page size, of other memfds 4096.
    let block = rustix::fs::fstat(file).map_or(4096, |stat| stat.st_blksize as usize);
    length.next_multiple_of(block.max(4096))
}
