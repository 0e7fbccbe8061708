//! What can go wrong in a lab, in one line with the cure.

use weir_dataplane_io::IoError;

/// Why a lab could not be made, or a load not be run.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A command of iproute2 failed.
    #[error("`{command}` failed: {said}; the lab needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and iproute2")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to its error stream.
        said: String,
    },
    /// A call of the operating system failed.
    #[error("{what}: {source}; {cure}")]
    System {
        /// What was attempted.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
        /// What to do.
        cure: &'static str,
    },
    /// A kernel call of the data plane failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// An eBPF program of the lab was refused.
    #[error(transparent)]
    Load(#[from] weir_ebpf_loader::LoadError),
    /// A ring could not be laid out.
    #[error(transparent)]
    Ring(#[from] weir_dataplane_ring::RingError),
    /// The specification contradicts itself.
    #[error("{what} is {value}; {cure}")]
    Spec {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: String,
        /// What to give instead.
        cure: &'static str,
    },
    /// The appliance under test does not do what the lab waits for.
    #[error("the appliance: {what}: {state}; its last messages: {log}")]
    Appliance {
        /// What was awaited.
        what: String,
        /// What is the case.
        state: String,
        /// The end of its log.
        log: String,
    },
    /// A thread of the lab panicked.
    #[error("the {what} thread of the lab panicked; run again with RUST_BACKTRACE=1 and report it")]
    Panicked {
        /// Which thread.
        what: &'static str,
    },
}

impl LabError {
    /// A failed call of the operating system.
    pub(crate) fn system(what: impl Into<String>, source: std::io::Error, cure: &'static str) -> Self {
        Self::System { what: what.into(), source, cure }
    }

    /// A contradiction in a specification.
    pub(crate) fn spec(what: &'static str, value: impl ToString, cure: &'static str) -> Self {
        Self::Spec { what, value: value.to_string(), cure }
    }
}
