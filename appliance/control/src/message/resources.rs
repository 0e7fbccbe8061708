//! What features have of the machine, and what holds them to it: `weir resources --json`. Fields are only added.

use serde::{Deserialize, Serialize};

/// The plan in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesReport {
    /// What there is.
    pub machine: ResourceMachine,
    /// What each controller of the kernel is here.
    pub controllers: Vec<ControllerStatus>,
    /// One for each feature that is enabled, by name.
    pub features: Vec<FeatureShare>,
    /// How far features are kept from each other, as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub isolation: String,
    /// Cores that no feature has; the data plane's own is not among them.
    pub free: Vec<u32>,
    /// Control periods since the dataplane started; a period is one second.
    pub period: u64,
    /// Cores that are lent now.
    pub leases: Vec<LeaseStatus>,
    /// The latest loans and returns, the latest last.
    pub trace: Vec<LeaseEvent>,
}

/// What a machine has, by roles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceMachine {
    /// CPUs of the critical role; the first is the data plane's own.
    pub critical: Vec<u32>,
    /// CPUs of the batch role.
    pub batch: Vec<u32>,
    /// Why these.
    pub why: String,
    /// Bytes of memory that features may have together.
    pub memory_bytes: u64,
    /// How that number comes about.
    pub memory_why: String,
    /// Accelerators, by name.
    pub accelerators: Vec<String>,
}

/// What stands behind a line of the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcer {
    /// A control group of version 2.
    #[serde(rename = "cgroup v2")]
    CgroupV2,
    /// A control group of version 1.
    #[serde(rename = "cgroup v1")]
    CgroupV1,
    /// The CPUs that a thread is allowed.
    #[serde(rename = "affinity")]
    Affinity,
    /// A limit of the process.
    #[serde(rename = "rlimit")]
    Rlimit,
    /// The scheduler's policy for idle work.
    #[serde(rename = "idle policy")]
    IdlePolicy,
    /// Nothing: the plan is a plan.
    #[default]
    #[serde(rename = "nothing")]
    Nothing,
}

impl Enforcer {
    /// The words in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::Affinity => "affinity",
            Self::Rlimit => "rlimit",
            Self::IdlePolicy => "idle policy",
            Self::Nothing => "nothing",
        }
    }
}

/// A controller of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerStatus {
    /// `cpu`, `cpuset`, `memory`.
    pub controller: String,
    /// What is used of it.
    pub by: Enforcer,
    /// The folder of weir's groups, if it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why no group is made, if none is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a feature has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeatureShare {
    /// Its name.
    pub name: String,
    /// Its worker's process, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// CPUs of the critical role.
    pub critical: Vec<u32>,
    /// CPUs of the batch role.
    pub batch: Vec<u32>,
    /// Others have some of these CPUs too.
    pub shared: bool,
    /// The CPU that its thread is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u32>,
    /// CPUs it may run on because they are lent to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub borrowed: Vec<u32>,
    /// Whether it takes part in borrowing.
    pub borrows: bool,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Its weight among features that want the same core.
    pub cpu_weight: u32,
    /// `critical` or `batch`.
    pub class: String,
    /// Shares of accelerators: `npu 50%`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accelerators: Vec<String>,
    /// What of this is less than its profile says; empty where nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What holds it to each of these.
    pub lines: Vec<ResourceLine>,
}

/// One resource of a feature, and what stands behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceLine {
    /// `cores`, `memory`, `weight`, `class`, `accelerator`.
    pub what: String,
    /// How much: `CPU 0`, `2 GiB`.
    pub value: String,
    /// What stands behind it.
    pub by: Enforcer,
    /// Why it is not more than that; empty where the kernel's group does it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A core that is lent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseStatus {
    /// The core.
    pub cpu: u32,
    /// Whose it is; absent where it is nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who has it.
    pub to: String,
    /// The period in which it was lent.
    pub since: u64,
}

/// A loan or a return.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseEvent {
    /// The period.
    pub period: u64,
    /// The loan.
    #[serde(flatten)]
    pub lease: LeaseStatus,
    /// Why it went back; absent where it was lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<String>,
}
