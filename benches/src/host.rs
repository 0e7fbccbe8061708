//! The host beside the figures.

use std::fs;

use weir_appliance_control::message::Host;

/// Names and sizes of this host; what cannot be read stays empty.
#[must_use]
pub fn read() -> Host {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let found = cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let flags = field("flags");
    let virtualized = flags.split_ascii_whitespace().any(|flag| flag == "hypervisor");
    Host {
        name: line("/proc/sys/kernel/hostname"),
        kernel: line("/proc/sys/kernel/osrelease"),
        cpu: field("model name"),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: weir_dataplane_io::memory::of_machine().map_or(0, |memory| memory.total),
        virtualization: if virtualized { "virtual machine" } else { "bare-metal" }.to_owned(),
    }
}
