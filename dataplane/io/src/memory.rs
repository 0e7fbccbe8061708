//! Hugepages there are, and memory a process uses.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use weir_dataplane_ring::Memory;

use crate::error::{IoError, Result};
use crate::mapping::Mapping;

/// 2 MiB hugepages of one NUMA node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHugePages {
    /// NUMA node.
    pub node: u32,
    /// Pages reserved.
    pub total: u64,
    /// Pages nobody has mapped or reserved.
    pub free: u64,
}

/// What [`reserve`] achieved, in pages of 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Free pages wanted.
    pub wanted: u64,
    /// Free pages before.
    pub before: u64,
    /// Free pages now; less than wanted when memory is short or fragmented.
    pub free: u64,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Proportional set size in bytes: pages shared by n processes count one n-th. Without hugetlb pages.
    pub pss: u64,
    /// Hugetlb pages in bytes, shared ones counted whole.
    pub hugetlb: u64,
}

/// Memory of the machine in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineMemory {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

/// 2 MiB hugepages per NUMA node; empty where the kernel has none. `root` is `/sys` but for tests.
pub fn hugepages(root: &Path) -> Vec<NodeHugePages> {
    let mut nodes: Vec<_> = node_folders(root)
        .into_iter()
        .filter_map(|(node, folder)| {
            let read = |name| read_number(&folder.join(name));
            Some(NodeHugePages { node, total: read("nr_hugepages")?, free: read("free_hugepages")? })
        })
        .collect();
    nodes.sort_by_key(|pages| pages.node);
    nodes
}

/// Raises the number of hugepages on `node` (or all nodes together) until `wanted` are free; never lowers it.
///
/// # Errors
/// When the number cannot be written: only root may. Getting fewer than wanted is no error; see the result.
pub fn reserve(root: &Path, wanted: u64, node: Option<u32>) -> Result<Reservation> {
    let folder = match node {
        Some(node) => root.join(format!("devices/system/node/node{node}/hugepages/hugepages-2048kB")),
        None => root.join("kernel/mm/hugepages/hugepages-2048kB"),
    };
    let (number, free) = (folder.join("nr_hugepages"), folder.join("free_hugepages"));
    let fail = |cause: std::io::Error| {
        let what = format!("reserving {wanted} hugepages in {}", number.display());
        IoError::new(what, cause, "run as root, or reserve at boot (hugepages= on the kernel's command line)")
    };
    let missing = || fail(std::io::Error::from(std::io::ErrorKind::NotFound));
    let before = read_number(&free).ok_or_else(missing)?;
    if before < wanted {
        let total = read_number(&number).ok_or_else(missing)?;
        fs::write(&number, (total + wanted - before).to_string()).map_err(fail)?;
    }
    Ok(Reservation { wanted, before, free: read_number(&free).ok_or_else(missing)? })
}

/// Memory of process `pid`, from `/proc/PID/smaps_rollup`.
///
/// # Errors
/// When there is no such process or it is not ours to look at.
pub fn of_process(pid: u32) -> Result<ProcessMemory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path)
        .map_err(|cause| IoError::new(format!("reading {path}"), cause, "ask for a running process, as its user"))?;
    let sum = |names: &[&str]| text.lines().filter_map(|line| field(line, names)).sum();
    Ok(ProcessMemory { pss: sum(&["Pss:"]), hugetlb: sum(&["Shared_Hugetlb:", "Private_Hugetlb:"]) })
}

/// Limits the private writable memory of process `pid` (`RLIMIT_DATA`: its heap and private mappings; what is mapped
/// read-only or shared does not count). What goes beyond is refused to it.
///
/// # Errors
/// When there is no such process, or it is another user's and CAP_SYS_RESOURCE is missing.
pub fn limit_data(pid: u32, bytes: u64) -> Result<()> {
    let limit = Rlimit { current: Some(bytes), maximum: None };
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let outcome = match number {
        Some(number) => prlimit(Some(number), Resource::Data, limit).map(drop).map_err(std::io::Error::from),
        None => Err(std::io::Error::from_raw_os_error(libc::ESRCH)),
    };
    outcome.map_err(|cause| {
        let what = format!("limiting the memory of process {pid} to {} MiB", bytes >> 20);
        IoError::new(what, cause, "name a process that runs, with CAP_SYS_RESOURCE")
    })
}

/// Memory of the machine, from `/proc/meminfo`.
///
/// # Errors
/// When /proc is not mounted.
pub fn of_machine() -> Result<MachineMemory> {
    let text = fs::read_to_string("/proc/meminfo")
        .map_err(|cause| IoError::new("reading /proc/meminfo", cause, "mount /proc"))?;
    let one = |name: &str| text.lines().find_map(|line| field(line, &[name])).unwrap_or(0);
    Ok(MachineMemory { total: one("MemTotal:"), available: one("MemAvailable:") })
}

/// The page size behind a mapping in bytes (`KernelPageSize` of `/proc/self/smaps`): the proof that hugepages were had.
///
/// # Errors
/// When /proc is not mounted.
pub fn page_size(mapping: &Mapping) -> Result<u64> {
    let what = || "reading /proc/self/smaps";
    let text = fs::read_to_string("/proc/self/smaps").map_err(|cause| IoError::new(what(), cause, "mount /proc"))?;
    let address = mapping.base().addr().get();
    let mut inside = false;
    for line in text.lines() {
        if let Some((start, end)) = area(line) {
            inside = (start..end).contains(&address);
        } else if inside && let Some(size) = field(line, &["KernelPageSize:"]) {
            return Ok(size);
        }
    }
    Err(IoError::invalid(what(), format!("no area holds {mapping:?}"), "report this"))
}

/// `START-END ...` of a line that opens an area.
fn area(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// The bytes of a `NAME   N kB` line that has one of `names`.
fn field(line: &str, names: &[&str]) -> Option<u64> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    if !names.contains(&name) {
        return None;
    }
    words.next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn node_folders(root: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(root.join("devices/system/node")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            Some((node, entry.path().join("hugepages/hugepages-2048kB")))
        })
        .collect()
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_seen() {
        let own = of_process(std::process::id()).unwrap();
        let machine = of_machine().unwrap();
        assert!(own.pss > 0 && own.pss < machine.total);
        assert!(machine.available <= machine.total);
    }

    #[test]
    fn an_anonymous_mapping_has_small_pages() {
        let mapping = Mapping::anonymous(1 << 16).unwrap();
        assert_eq!(page_size(&mapping).unwrap(), 4096);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        assert!(of_process(u32::MAX).unwrap_err().to_string().contains("4294967295"));
    }
}
