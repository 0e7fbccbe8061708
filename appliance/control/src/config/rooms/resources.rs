//! What features may use of the machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::share::Share;
use crate::taker::FeatureName;

words! {
    /// What holds a feature to its memory.
    #[derive(Default)]
    MemoryLimit, "a way to limit memory" {
        /// Nothing: the plan is a plan.
        Off = "off",
        /// A limit on each worker's private writable memory (`RLIMIT_DATA`).
        #[default]
        Rlimit = "rlimit",
        /// The memory controller of control groups, where this host lets weir make groups; else as `rlimit`.
        Cgroup = "cgroup",
    }
}

words! {
    /// How a feature stands towards others that want the same core.
    PriorityClass, "a priority class" {
        /// Traffic waits for it.
        Critical = "critical",
        /// It runs when no critical one wants to.
        Batch = "batch",
    }
}

words! {
    /// An accelerator, by what it is.
    AcceleratorName, "an accelerator" {
        /// A neural processing unit.
        Npu = "npu",
        /// A graphics processor.
        Gpu = "gpu",
    }
}

/// A share of an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceleratorUse {
    /// Which.
    pub name: AcceleratorName,
    /// Of its time.
    pub share: Share,
}

/// What a feature is to have in place of what its profile says; `None` leaves it at that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureResources {
    /// Cores of the critical role, at most [`FEATURE_CORES`](crate::config::FEATURE_CORES).
    pub critical: Option<u32>,
    /// Cores of the batch role.
    pub batch: Option<u32>,
    /// Bytes of memory, whole MiB in [`FEATURE_MIB`](crate::config::FEATURE_MIB).
    pub memory: Option<u64>,
    /// Weight among features that want the same core, in [`CPU_WEIGHT`](crate::config::CPU_WEIGHT).
    pub cpu_weight: Option<u32>,
    /// Its class.
    pub class: Option<PriorityClass>,
    /// Its accelerator.
    pub accelerator: Option<AcceleratorUse>,
    /// Whether it lends idle cores and borrows others' (default: as all features).
    pub borrow: Option<bool>,
}

/// What features may use of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSpec {
    /// What holds a feature to its memory (default rlimit).
    pub memory_limit: MemoryLimit,
    /// Whether idle cores are lent (default true).
    pub borrow: bool,
    /// What is said of single features.
    pub features: BTreeMap<FeatureName, FeatureResources>,
}

impl ResourceSpec {
    /// Whether a feature takes part in borrowing.
    pub fn borrows(&self, feature: FeatureName) -> bool {
        self.features.get(&feature).and_then(|it| it.borrow).unwrap_or(self.borrow)
    }
}

impl Default for ResourceSpec {
    fn default() -> Self {
        Self { memory_limit: MemoryLimit::default(), borrow: true, features: BTreeMap::new() }
    }
}

/// In the words of the file, on one line.
impl fmt::Display for ResourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{memory_limit: \"{}\", borrow: {}", self.memory_limit, self.borrow)?;
        if !self.features.is_empty() {
            let one = |(name, it): (&FeatureName, &FeatureResources)| format!("{name}: {it}");
            write!(f, ", features: {{{}}}", self.features.iter().map(one).collect::<Vec<_>>().join(", "))?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for FeatureResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { critical, batch, memory, cpu_weight, class, accelerator, borrow } = self;
        let word = |key: &str, value: Option<String>| value.map(|value| format!("{key}: {value}"));
        let map = |parts: &[Option<String>]| {
            format!("{{{}}}", parts.iter().flatten().cloned().collect::<Vec<_>>().join(", "))
        };
        let cores =
            [word("critical", critical.map(|it| it.to_string())), word("batch", batch.map(|it| it.to_string()))];
        let device = accelerator.map(|it| format!("{{name: {}, share: {}}}", it.name, it.share));
        f.write_str(&map(&[
            word("cores", cores.iter().any(Option::is_some).then(|| map(&cores))),
            word("memory", memory.map(size)),
            word("cpu_weight", cpu_weight.map(|it| it.to_string())),
            word("class", class.map(|it| it.to_string())),
            word("accelerator", device),
            word("borrow", borrow.map(|it| it.to_string())),
        ]))
    }
}

/// Bytes as the file has them: `512MiB`, `32GiB`.
pub fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib.is_multiple_of(1024) && mib > 0 { format!("{}GiB", mib >> 10) } else { format!("{mib}MiB") }
}

/// Reads a size with its unit.
pub(in crate::config) fn read_size(text: &str) -> Result<u64, Problem> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim_start() {
        "MiB" => 0,
        "GiB" => 10,
        _ => {
            return Err(Problem::new(text, "this is not an amount of memory", "write a number and MiB or GiB: 512MiB"));
        }
    };
    let range = crate::config::FEATURE_MIB;
    let mib = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    match mib.filter(|mib| range.contains(mib)) {
        Some(mib) => Ok(mib << 20),
        None => {
            let cause = format!("a feature has {} to {} of memory", size(range.start() << 20), size(range.end() << 20));
            Err(Problem::new(text, cause, "leave it out for what its profile says"))
        }
    }
}
