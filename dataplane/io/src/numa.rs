//! NUMA: which nodes there are, which one a card or a page is on, and where memory is to come from.
//!
//! A card writes frames into memory, and the processors beside the card see them in their cache; from another node each
//! first look at a frame crosses the machine. So frames go to the card's node, and what was got is asked of the kernel page
//! by page ([`node_of_page`]) instead of being believed.
//!
//! What reads sysfs takes its root as a parameter: `/sys`, a recorded tree, or the view of another network namespace
//! ([`crate::nic::View`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use weir_dataplane_ring::Memory;

use crate::cpu::parse_list;
use crate::error::{IoError, Result};
use crate::mapping::Mapping;
use crate::memory::hugepages;

/// Nodes that a mask holds: `MAX_NUMNODES` of distribution kernels is at most 1024 (CONFIG_NODES_SHIFT=10).
const MAX_NODES: u32 = 1024;
/// Pages asked about at most in one [`spread`]; of a larger mapping every n-th page is asked.
const MOST_SAMPLES: usize = 256;
/// How far above `class/net/X/device` a bus device may be that knows the node: a virtio device stands below its PCI device.
const PARENTS: usize = 3;

/// One NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Its CPUs; empty for a node that is memory only.
    pub cpus: Vec<u32>,
    /// Bytes that ordinary pages can be had from: free ones and page cache that nobody used lately.
    pub free: u64,
    /// 2 MiB hugepages reserved.
    pub huge_total: u64,
    /// 2 MiB hugepages that nobody has.
    pub huge_free: u64,
    /// Distance to each node by number, 10 for itself; empty where the firmware does not say.
    pub distances: Vec<u32>,
}

/// The nodes with memory or CPUs, by number; empty where the kernel knows no nodes. `root` is `/sys` but for tests.
pub fn nodes(root: &Path) -> Vec<Node> {
    let folder = root.join("devices/system/node");
    let Ok(online) = fs::read_to_string(folder.join("online")) else { return Vec::new() };
    let huge = hugepages(root);
    let node = |id: u32| {
        let text = |name: &str| fs::read_to_string(folder.join(format!("node{id}/{name}"))).unwrap_or_default();
        let pages = huge.iter().find(|pages| pages.node == id);
        Node {
            id,
            cpus: parse_list(&text("cpulist")),
            free: meminfo(&text("meminfo"), &["MemFree:", "Inactive(file):"]),
            huge_total: pages.map_or(0, |pages| pages.total),
            huge_free: pages.map_or(0, |pages| pages.free),
            distances: text("distance").split_whitespace().filter_map(|number| number.parse().ok()).collect(),
        }
    };
    parse_list(&online).into_iter().map(node).collect()
}

/// Sum in bytes of the named lines of a node's `meminfo` (`Node 0 MemFree:  123 kB`).
fn meminfo(text: &str, names: &[&str]) -> u64 {
    let kib = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        names.contains(&words.next()?).then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(kib).sum::<u64>().saturating_mul(1024)
}

/// The node of the card behind interface `name`; `None` for virtual interfaces and where the firmware does not say (-1).
/// `root` is the sysfs of the interface's network namespace.
pub fn node_of_interface(root: &Path, name: &str) -> Option<u32> {
    let mut device = root.join("class/net").join(name).join("device");
    for _ in 0..=PARENTS {
        if let Ok(text) = fs::read_to_string(device.join("numa_node")) {
            return text.trim().parse().ok(); // -1 fails to parse
        }
        device.push("..");
    }
    None
}

/// The nodes in the order in which memory for something on `home` is to be looked for: `home`, then by distance, then by number.
pub fn nearest_first(nodes: &[Node], home: u32) -> Vec<u32> {
    let distances = nodes.iter().find(|node| node.id == home).map(|node| node.distances.as_slice()).unwrap_or_default();
    // The kernel writes one distance per node that is online, in their order.
    let place = |id: u32| nodes.iter().position(|node| node.id == id);
    let far = |id: u32| place(id).and_then(|place| distances.get(place)).copied().unwrap_or(u32::MAX);
    let mut order: Vec<u32> = nodes.iter().map(|node| node.id).collect();
    order.sort_by_key(|id| (*id != home, far(*id), *id));
    order
}

/// A way to get memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Pages of this node only; `None`: the kernel chooses.
    pub node: Option<u32>,
    /// 2 MiB hugepages.
    pub huge: bool,
}

/// The ways to get `bytes` for something on `home`, best first, and a sentence for each that is known beforehand not to do.
///
/// The node comes before the size of the pages: memory of another node costs every frame, small pages cost a walk of page
/// tables that lie in the near cache. With `require_huge` only hugepages do, and then those of the nearest node that has
/// enough. Ordinary pages are asked for only where there are enough, since a node bound to and empty ends in the kernel
/// killing processes for it. The last way is always one without a node, so the list is never empty.
pub fn sources(nodes: &[Node], home: u32, bytes: u64, huge: bool, require_huge: bool) -> (Vec<Source>, Vec<String>) {
    const HUGE: u64 = 2 << 20;
    let pages = bytes.div_ceil(HUGE);
    let (mut ways, mut passed_over) = (Vec::new(), Vec::new());
    if !nodes.iter().any(|node| node.id == home) {
        passed_over.push(format!("the kernel knows no memory node {home}"));
    }
    for id in nearest_first(nodes, home) {
        let Some(node) = nodes.iter().find(|node| node.id == id) else { continue };
        if huge && node.huge_free >= pages {
            ways.push(Source { node: Some(id), huge: true });
        } else if huge {
            let (free, more) = (node.huge_free, pages - node.huge_free);
            let number = format!("/sys/devices/system/node/node{id}/hugepages/hugepages-2048kB/nr_hugepages");
            passed_over.push(format!("node {id} has {free} of {pages} hugepages free; raise {number} by {more}"));
        }
        if !require_huge && node.free >= bytes {
            ways.push(Source { node: Some(id), huge: false });
        } else if !require_huge {
            passed_over.push(format!("node {id} has {} of {} MiB free", node.free >> 20, bytes.div_ceil(1 << 20)));
        }
    }
    if huge {
        ways.push(Source { node: None, huge: true });
    }
    if !require_huge {
        ways.push(Source { node: None, huge: false });
    }
    (ways, passed_over)
}

/// Has the pages of `mapping` come from `node` and no other (`mbind`, `MPOL_BIND`). To be called before they are touched:
/// what is there already stays where it is.
///
/// # Errors
/// `EINVAL` for a node without memory, `ENOSYS` on a kernel without NUMA.
pub fn bind(mapping: &Mapping, node: u32) -> Result<()> {
    let what = || format!("placing memory on NUMA node {node}");
    if node >= MAX_NODES {
        return Err(IoError::invalid(what(), format!("nodes are numbered from 0 to {}", MAX_NODES - 1), NODE_CURE));
    }
    let mut mask = [0_u64; MAX_NODES as usize / 64];
    mask[node as usize / 64] = 1 << (node % 64);
    let (address, length) = mapping.raw();
    // The kernel counts one bit more than it uses.
    let bits = MAX_NODES as usize + 1;
    // SAFETY: mbind reads `mask`, which has the bits that it is told of, and changes where pages of this mapping come from,
    // not what they contain. Worst case of a wrong node: an error, or slow memory.
    let result =
        unsafe { libc::syscall(libc::SYS_mbind, address, length, libc::MPOL_BIND, mask.as_ptr(), bits, 0_u32) };
    if result == 0 { Ok(()) } else { Err(IoError::new(what(), std::io::Error::last_os_error(), NODE_CURE)) }
}

const NODE_CURE: &str = "leave the node out, or name one that has memory (/sys/devices/system/node/has_memory)";

/// The node of the page at `address` of this process, or `None` when no page is there. Nothing is touched or moved.
///
/// # Errors
/// `ENOSYS` on a kernel without NUMA.
pub fn node_of_page(address: usize) -> Result<Option<u32>> {
    Ok(nodes_of_pages(&[address])?.first().copied().flatten())
}

/// Pages of `mapping` by node; `None` counts those that are not there. At most 256 pages are asked, evenly over the
/// mapping, `page` bytes or a multiple apart.
///
/// # Errors
/// `ENOSYS` on a kernel without NUMA.
pub fn spread(mapping: &Mapping, page: usize) -> Result<BTreeMap<Option<u32>, u32>> {
    let (base, page) = (mapping.base().addr().get(), page.max(1));
    let count = mapping.len().div_ceil(page);
    let step = count.div_ceil(MOST_SAMPLES).max(1);
    let addresses: Vec<usize> = (0..count).step_by(step).map(|index| base + index * page).collect();
    let mut found = BTreeMap::new();
    for node in nodes_of_pages(&addresses)? {
        *found.entry(node).or_default() += 1;
    }
    Ok(found)
}

/// The node of each page (`move_pages` without a target asks and moves nothing).
fn nodes_of_pages(addresses: &[usize]) -> Result<Vec<Option<u32>>> {
    let mut states = vec![-libc::ENOENT; addresses.len()];
    let nowhere = std::ptr::null::<i32>();
    // SAFETY: the kernel reads `addresses.len()` addresses, which it looks up without touching them, and writes as many
    // states; both arrays have that length. Process 0 is this one.
    let result = unsafe {
        libc::syscall(libc::SYS_move_pages, 0, addresses.len(), addresses.as_ptr(), nowhere, states.as_mut_ptr(), 0_i32)
    };
    if result < 0 {
        let what = format!("asking for the NUMA node of {} pages", addresses.len());
        return Err(IoError::new(what, std::io::Error::last_os_error(), "run on a kernel with CONFIG_NUMA"));
    }
    Ok(states.into_iter().map(|state| u32::try_from(state).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_on_a_node_once_it_is_touched() {
        let Some(home) = nodes(Path::new("/sys")).first().map(|node| node.id) else {
            return println!("weir-skip: a_page_is_on_a_node_once_it_is_touched: this kernel knows no NUMA nodes");
        };
        let mapping = Mapping::anonymous(4 * 4096).unwrap();
        bind(&mapping, home).unwrap();
        let address = mapping.base().addr().get();
        assert_eq!(node_of_page(address).unwrap(), None, "not touched yet");
        assert!(mapping.store(0, b"x") && mapping.store(8192, b"x"));
        assert_eq!(node_of_page(address).unwrap(), Some(home));
        assert_eq!(spread(&mapping, 4096).unwrap(), BTreeMap::from([(None, 2), (Some(home), 2)]));
    }

    #[test]
    fn a_node_that_is_not_there_is_refused_with_its_number() {
        let mapping = Mapping::anonymous(4096).unwrap();
        for node in [1023, 1024, u32::MAX] {
            let error = bind(&mapping, node).unwrap_err().to_string();
            assert!(error.contains(&node.to_string()) && error.contains("has_memory"), "{error}");
        }
    }

    #[test]
    fn many_pages_are_sampled() {
        let mapping = Mapping::anonymous(4096 * 10_000).unwrap();
        let asked: u32 = spread(&mapping, 4096).unwrap().values().sum();
        assert_eq!(asked, 250, "every fortieth");
    }
}
