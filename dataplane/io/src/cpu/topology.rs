//! Reading the cores' kinds from a sysfs tree, live or recorded.

use std::fs;
use std::path::Path;

/// What a core is good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Fast: a P-core, a big core.
    Performance,
    /// Frugal: an E-core, a LITTLE core.
    Efficient,
    /// The machine makes no difference.
    Alike,
}

/// Where the knowledge comes from; see the table of [`crate::cpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Intel's two PMU devices.
    CpuAtom,
    /// The processor itself.
    Cpuid,
    /// `cpu_capacity`.
    Capacity,
    /// `acpi_cppc/highest_perf`.
    HighestPerf,
    /// Alike cores, several threads each.
    Smt,
    /// Alike cores.
    Homogeneous,
}

impl Source {
    /// The name used in status and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuAtom => "cpu_atom",
            Self::Cpuid => "cpuid",
            Self::Capacity => "capacity",
            Self::HighestPerf => "highest_perf",
            Self::Smt => "smt",
            Self::Homogeneous => "homogeneous",
        }
    }
}

/// One CPU as the scheduler counts them (a hardware thread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// CPU number.
    pub id: u32,
    /// NUMA node.
    pub node: u32,
    /// What it is good at.
    pub kind: Kind,
    /// The lowest CPU number of the same physical core: its own, unless it is a second thread.
    pub first_thread: u32,
    /// Kept free of other work by `isolcpus=`.
    pub isolated: bool,
}

/// The machine's cores, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// All online CPUs.
    pub cores: Vec<Core>,
    /// Where the kinds come from.
    pub source: Source,
}

/// Between two neighbours in an ordered list of ratings, a step of this factor separates two kinds of cores. Rankings of
/// alike cores ("preferred core") move in steps of a few per cent.
const GAP: f64 = 1.25;

impl Topology {
    /// Reads the tree at `root` (`/sys/devices`, or a recorded one).
    pub fn read(root: &Path) -> Self {
        Self::read_with(root, &|_| None)
    }

    /// The machine this runs on: the tree, the processors' own word where the tree has none, less the CPUs this process
    /// may not use.
    pub fn live() -> Self {
        let allowed = super::allowed_cpus();
        let mut topology = Self::read_with(Path::new("/sys/devices"), &ask_processor);
        topology.cores.retain(|core| allowed.contains(&core.id));
        if topology.cores.is_empty() {
            // No sysfs: the affinity mask is all there is to know.
            let alike = |id| Core { id, node: 0, kind: Kind::Alike, first_thread: id, isolated: false };
            topology.cores = allowed.into_iter().map(alike).collect();
        }
        topology
    }

    fn read_with(root: &Path, processor: &dyn Fn(u32) -> Option<Kind>) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let list = |path: &str| text(path).map(|line| parse_list(&line)).unwrap_or_default();
        let online = list("system/cpu/online");
        let isolated = list("system/cpu/isolated");
        let nodes: Vec<(u32, Vec<u32>)> = list("system/node/online")
            .into_iter()
            .map(|node| (node, list(&format!("system/node/node{node}/cpulist"))))
            .collect();
        let mut cores: Vec<Core> = online
            .iter()
            .map(|&id| {
                let siblings = list(&format!("system/cpu/cpu{id}/topology/thread_siblings_list"));
                Core {
                    id,
                    node: nodes.iter().find(|(_, cpus)| cpus.contains(&id)).map_or(0, |(node, _)| *node),
                    kind: Kind::Alike,
                    first_thread: siblings.into_iter().min().unwrap_or(id),
                    isolated: isolated.contains(&id),
                }
            })
            .collect();
        let rating = |file: &'static str| {
            move |id: u32| text(&format!("system/cpu/cpu{id}/{file}")).and_then(|line| line.trim().parse().ok())
        };
        let (fast, frugal) = (list("cpu_core/cpus"), list("cpu_atom/cpus"));
        let by_list = |id: u32| match (fast.contains(&id), frugal.contains(&id)) {
            (true, false) => Some(Kind::Performance),
            (false, true) => Some(Kind::Efficient),
            _ => None,
        };
        let source = if assign(&mut cores, &by_list) {
            Source::CpuAtom
        } else if assign(&mut cores, processor) {
            Source::Cpuid
        } else if assign_by_rating(&mut cores, &rating("cpu_capacity")) {
            Source::Capacity
        } else if assign_by_rating(&mut cores, &rating("acpi_cppc/highest_perf")) {
            Source::HighestPerf
        } else if cores.iter().any(|core| core.first_thread != core.id) {
            Source::Smt
        } else {
            Source::Homogeneous
        };
        Self { cores, source }
    }
}

/// Gives each core its kind if all are known and both kinds occur; else changes nothing.
fn assign(cores: &mut [Core], kind_of: &dyn Fn(u32) -> Option<Kind>) -> bool {
    let Some(kinds) = cores.iter().map(|core| kind_of(core.id)).collect::<Option<Vec<_>>>() else { return false };
    if !kinds.contains(&Kind::Performance) || !kinds.contains(&Kind::Efficient) {
        return false;
    }
    for (core, kind) in cores.iter_mut().zip(kinds) {
        core.kind = kind;
    }
    true
}

/// Splits the cores at the widest step between ratings, if it is a [`GAP`].
fn assign_by_rating(cores: &mut [Core], rating: &dyn Fn(u32) -> Option<u32>) -> bool {
    let Some(ratings) = cores.iter().map(|core| rating(core.id)).collect::<Option<Vec<u32>>>() else { return false };
    let mut steps = ratings.clone();
    steps.sort_unstable();
    steps.dedup();
    let ratio = |pair: &[u32]| f64::from(pair[1]) / f64::from(pair[0].max(1));
    let widest = steps.windows(2).max_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let Some(fast_from) = widest.filter(|pair| ratio(pair) >= GAP).map(|pair| pair[1]) else { return false };
    for (core, rating) in cores.iter_mut().zip(ratings) {
        core.kind = if rating >= fast_from { Kind::Performance } else { Kind::Efficient };
    }
    true
}

/// The numbers of a kernel CPU list such as `0-3,8,10-11`. What is no number is left out.
pub fn parse_list(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            // A CPU number beyond the kernel's limit of 8192 is nonsense; it must not make a list of billions.
            numbers.extend(first..=last.min(first.saturating_add(8192)));
        }
    }
    numbers
}

/// A CPU list as the kernel writes it: `0-3,8`. The inverse of [`parse_list`] for ascending numbers.
pub fn format_list(cpus: &[u32]) -> String {
    let runs = cpus.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let text = runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    text.collect::<Vec<_>>().join(",")
}

/// What CPU `id` says of itself. Moves a thread of its own there, so the caller's affinity stays.
#[cfg(target_arch = "x86_64")]
fn ask_processor(id: u32) -> Option<Kind> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    let ask = move || {
        super::pin(id).ok()?;
        if __cpuid(0).eax >= 0x1a {
            // Leaf 0x1A, EAX bits 31..24: 0x40 is a Core, 0x20 an Atom; 0 on machines of one kind (Intel SDM, CPUID).
            match __cpuid_count(0x1a, 0).eax >> 24 {
                0x40 => return Some(Kind::Performance),
                0x20 => return Some(Kind::Efficient),
                _ => {}
            }
        }
        if __cpuid(0x8000_0000).eax >= 0x8000_0026 {
            let answer = __cpuid_count(0x8000_0026, 0);
            // EAX bit 30: cores differ; EBX bits 31..28: 0 performance, 1 efficiency (AMD APM vol. 3, E.4.24).
            if answer.eax & 1 << 30 != 0 {
                return match answer.ebx >> 28 {
                    0 => Some(Kind::Performance),
                    1 => Some(Kind::Efficient),
                    _ => None,
                };
            }
        }
        None
    };
    std::thread::Builder::new().spawn(ask).ok()?.join().ok()?
}

#[cfg(not(target_arch = "x86_64"))]
fn ask_processor(_: u32) -> Option<Kind> {
    None
}
