//! What is there to be shared out.

/// An accelerator of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// What it is called in asks: `npu`, `gpu`.
    pub name: String,
    /// Bytes of its own memory; 0 where it has none or nobody says.
    pub memory: u64,
}

/// A machine, by roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPUs of the critical role, best first. The first is where the data plane's own thread runs.
    pub critical: Vec<u32>,
    /// CPUs of the batch role, best first. The same as the critical ones where a machine has too few for both roles.
    pub batch: Vec<u32>,
    /// Bytes of memory that features may have together.
    pub memory: u64,
    /// Its accelerators, each name once.
    pub accelerators: Vec<Accelerator>,
}

impl Machine {
    /// Whether both roles are on the same CPUs.
    pub(crate) fn roles_share(&self) -> bool {
        self.batch.iter().all(|cpu| self.critical.contains(cpu))
    }
}
