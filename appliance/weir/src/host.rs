//! What the processes of the box use, as the kernel counts it.

use std::fs;

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

/// The name of a user, from the host's own table; at most 64 letters of it.
#[must_use]
pub(crate) fn user(uid: u32) -> Option<String> {
    let table = fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    let line = table.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    Some(line.split(':').next()?.chars().filter(|letter| !letter.is_control()).take(64).collect())
}
