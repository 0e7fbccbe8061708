//! What this host is, for whoever reads a figure measured on it.

use std::fs;

use weir_appliance_control::message::Host;

/// Reads the host's names and sizes; what cannot be read stays empty rather than guessed.
#[must_use]
pub fn read() -> Host {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let found = cpuinfo.lines().find(|line| line.starts_with(name));
        found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let virtual_machine = cpuinfo
        .lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"));
    let vendor = line("/sys/class/dmi/id/sys_vendor");
    Host {
        name: line("/proc/sys/kernel/hostname"),
        kernel: line("/proc/sys/kernel/osrelease"),
        cpu: field("model name"),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: weir_dataplane_io::memory::of_machine().map_or(0, |memory| memory.total),
        virtualization: match (virtual_machine, vendor.is_empty()) {
            (true, true) => "virtual machine".to_owned(),
            (true, false) => format!("virtual machine ({vendor})"),
            (false, _) => "bare-metal".to_owned(),
        },
    }
}
