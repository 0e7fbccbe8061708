//! What this host is, for whoever reads a figure measured on it.

use std::fs;

use weir_appliance_control::message::Host;

/// Reads the host's names and sizes; what cannot be read stays empty rather than guessed.
#[must_use]
pub(crate) fn read() -> Host {
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

/// CPU time that process `pid` has used since it started, in nanoseconds of user and system time.
#[must_use]
pub(crate) fn process_cpu_ns(pid: u32) -> Option<u64> {
    // schedstat counts in nanoseconds; stat counts ticks of 10 ms, too coarse for an idle process.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let used = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(used.sum())
}

/// Proportional share in bytes of the mappings of process `pid` whose name contains `name`.
#[must_use]
pub(crate) fn mapping_pss(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let mut inside = false;
    let mut sum = 0;
    for line in text.lines() {
        if let Some(size) = line.strip_prefix("Pss:") {
            let kib = size.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
            sum += if inside { kib * 1024 } else { 0 };
        } else if !line.contains(':') || line.split_whitespace().next().is_some_and(|word| word.contains('-')) {
            inside = line.contains(name); // a mapping's first line begins with its address range
        }
    }
    Some(sum)
}
