//! What the machine is, as its kernel shows it: processor, caches, cards, power counters. Read from a tree whose root tests
//! choose; what is not there is empty or `None`, never guessed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cpu::parse_list;

/// The processor, by the first CPU's entry of `/proc/cpuinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// What it is called.
    pub model: String,
    /// Who made it.
    pub vendor: String,
    /// Family, model and stepping numbers, where there are some.
    pub numbers: Option<(u32, u32, u32)>,
    /// CPUs that the file lists.
    pub cpus: u32,
    /// Whether it has each of [`FEATURES`], by the kernel's name.
    pub features: BTreeMap<&'static str, bool>,
}

/// What the product could use of a processor, by the names of `/proc/cpuinfo`.
pub const FEATURES: [&str; 11] = [
    "sse4_2",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
];

/// One cache, as one CPU has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Its level.
    pub level: u32,
    /// `Data`, `Instruction`, `Unified`.
    pub kind: String,
    /// Bytes.
    pub bytes: u64,
    /// CPUs that share it.
    pub cpus: Vec<u32>,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Its interface.
    pub name: String,
    /// Its driver; `None` for interfaces without a device.
    pub driver: Option<String>,
    /// Receive queues.
    pub queues: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its NUMA node, where the firmware says.
    pub node: Option<u32>,
    /// Index of the interface.
    pub index: u32,
}

/// A power counter (RAPL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerCounter {
    /// What it counts: `package-0`, `dram`.
    pub name: String,
    /// Microjoules now; `None` where this process may not read it.
    pub microjoules: Option<u64>,
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The processor.
pub fn processor(root: &Path) -> Processor {
    let all = text(&root.join("proc/cpuinfo")).unwrap_or_default();
    let first: BTreeMap<&str, &str> = all
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let word = |key: &str| first.get(key).copied().unwrap_or_default();
    let numbers =
        || Some((word("cpu family").parse().ok()?, word("model").parse().ok()?, word("stepping").parse().ok()?));
    // "Features" is what Arm calls its flags.
    let flags: Vec<&str> = word("flags").split_whitespace().chain(word("Features").split_whitespace()).collect();
    Processor {
        model: word("model name").to_owned(),
        vendor: word("vendor_id").to_owned(),
        numbers: numbers(),
        cpus: all.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor")).count()
            as u32,
        features: FEATURES.iter().map(|feature| (*feature, flags.contains(feature))).collect(),
    }
}

/// The caches of the first CPU, by level.
pub fn caches(root: &Path) -> Vec<Cache> {
    let folder = root.join("sys/devices/system/cpu/cpu0/cache");
    let one = |name: &String| {
        let at = folder.join(name);
        let size = text(&at.join("size"))?;
        let (digits, shift) = match size.strip_suffix('K') {
            Some(kib) => (kib, 10),
            None => (size.strip_suffix('M')?, 20),
        };
        Some(Cache {
            level: number(&at.join("level"))?,
            kind: text(&at.join("type"))?,
            bytes: digits.parse::<u64>().ok()? << shift,
            cpus: parse_list(&text(&at.join("shared_cpu_list")).unwrap_or_default()),
        })
    };
    let mut found: Vec<Cache> =
        names(&folder).iter().filter(|name| name.starts_with("index")).filter_map(one).collect();
    found.sort_by(|one, other| (one.level, &one.kind).cmp(&(other.level, &other.kind)));
    found
}

/// The interfaces that have a device, by name. `root` is of the interface's network namespace.
pub fn cards(root: &Path) -> Vec<Card> {
    let folder = root.join("sys/class/net");
    let one = |name: String| {
        let at = folder.join(&name);
        let driver = fs::read_link(at.join("device/driver")).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        if !at.join("device").exists() {
            return None;
        }
        Some(Card {
            driver,
            queues: names(&at.join("queues")).iter().filter(|queue| queue.starts_with("rx-")).count() as u32,
            mtu: number(&at.join("mtu")).unwrap_or(0),
            node: number(&at.join("device/numa_node")), // -1 fails to parse
            index: number(&at.join("ifindex")).unwrap_or(0),
            name,
        })
    };
    names(&folder).into_iter().filter_map(one).collect()
}

/// The power counters, by name; empty where the machine shows none.
pub fn power(root: &Path) -> Vec<PowerCounter> {
    let folder = root.join("sys/class/powercap");
    // `intel-rapl:0` is a package and `intel-rapl:0:1` a part of it; AMD's are named alike.
    let zones = names(&folder).into_iter().filter(|name| name.contains(':'));
    let one = |zone: String| {
        let at = folder.join(zone);
        Some(PowerCounter { name: text(&at.join("name"))?, microjoules: number(&at.join("energy_uj")) })
    };
    zones.filter_map(one).collect()
}
