//! Cores: what kinds there are, who gets which, and pinning.
//!
//! "Critical" and "batch" are roles. Where the machine has performance and efficient cores, they map to those; where all
//! cores are alike, the first few are critical. The source of the knowledge is part of the answer, so that nobody takes
//! a guess for a fact:
//!
//! | source | read from | machines |
//! |---|---|---|
//! | `cpu_atom` | `cpu_core/cpus`, `cpu_atom/cpus` | Intel hybrids |
//! | `cpuid` | leaf 0x1A, leaf 0x80000026 (live machine only) | the same inside virtual machines; AMD hybrids |
//! | `capacity` | `cpuN/cpu_capacity` | Arm big.LITTLE |
//! | `highest_perf` | `cpuN/acpi_cppc/highest_perf` | others with a clear gap |
//! | `smt` | `thread_siblings_list` | alike cores, two threads each |
//! | `homogeneous` | | alike cores |

mod plan;
mod topology;

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub use plan::{CorePlan, CoreWish, Pick, roles};
pub use topology::{Core, Kind, Source, Topology, format_list, parse_list};

use crate::error::{IoError, Result};

/// Pins the calling thread to one CPU.
///
/// # Errors
/// When the CPU is offline or outside the process's cpuset.
pub fn pin(cpu: u32) -> Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu as usize }) {
        return Ok(());
    }
    // The crate says no more than "no"; the kernel does.
    let cause = std::io::Error::last_os_error();
    let allowed = allowed_cpus();
    Err(IoError::new(format!("pinning to CPU {cpu}"), cause, format!("name one of the allowed CPUs {allowed:?}")))
}

/// Restricts the calling thread to several CPUs.
///
/// # Errors
/// When none of them is online and inside the process's cpuset.
pub fn pin_to_any(cpus: &[u32]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| (**cpu as usize) < CpuSet::MAX_CPU) {
        set.set(*cpu as usize);
    }
    sched_setaffinity(None, &set).map_err(|cause| {
        let allowed = allowed_cpus();
        IoError::new(format!("pinning to CPUs {cpus:?}"), cause, format!("name some of the allowed CPUs {allowed:?}"))
    })
}

/// Restricts every thread of process `pid` to several CPUs. Threads that it starts meanwhile inherit that of their maker.
///
/// # Errors
/// When there is no such process, it is not ours to place, or none of the CPUs is allowed to it.
pub fn pin_process(pid: u32, cpus: &[u32]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| (**cpu as usize) < CpuSet::MAX_CPU) {
        set.set(*cpu as usize);
    }
    for_each_thread(pid, &format!("placing process {pid} on CPUs {cpus:?}"), |thread| {
        sched_setaffinity(Some(thread), &set).map_err(std::io::Error::from)
    })
}

/// Makes every thread of process `pid` run only when nobody else wants its core (`SCHED_IDLE`), or as others do.
///
/// # Errors
/// When there is no such process or it is not ours to change.
pub fn idle_process(pid: u32, idle: bool) -> Result<()> {
    let policy = if idle { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
    let parameters = libc::sched_param { sched_priority: 0 };
    for_each_thread(pid, &format!("giving process {pid} another scheduling policy"), |thread| {
        // SAFETY: the call reads `parameters`, which live here; a wrong thread is answered with an error.
        let result = unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), policy, &raw const parameters) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    })
}

/// Gives every ordinary thread of process `pid` turns of this length (100 us to 100 ms) in place of the kernel's own, some
/// milliseconds: the shorter its turn, the sooner one that wakes gets the core from whoever has it (EEVDF, Linux 6.12; before
/// that nothing changes). Zero is the kernel's own again. Threads of another policy are left as they are.
///
/// # Errors
/// When there is no such process or it is not ours to change.
pub fn turns_of_process(pid: u32, turn: Duration) -> Result<()> {
    for_each_thread(pid, &format!("giving process {pid} turns of {turn:?}"), |thread| {
        let (number, size) = (thread.as_raw_nonzero().get(), size_of::<libc::sched_attr>() as u32); // some 48 bytes
        // SAFETY: integers all, for which zero is a value.
        let mut known: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes at most `size` bytes to `known`, which lives here; a wrong thread is answered with an error.
        let result = unsafe { libc::syscall(libc::SYS_sched_getattr, number, &raw mut known, size, 0) };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
        if ![libc::SCHED_OTHER, libc::SCHED_BATCH].map(|policy| policy as u32).contains(&known.sched_policy) {
            return Ok(());
        }
        known.sched_runtime = turn.as_nanos() as u64; // 100 ms at most
        // SAFETY: the call reads `known.size` bytes of `known`, which the kernel has set to no more than there are.
        let result = unsafe { libc::syscall(libc::SYS_sched_setattr, number, &raw const known, 0) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    })
}

fn for_each_thread(
    pid: u32,
    what: &str,
    act: impl Fn(rustix::thread::Pid) -> std::result::Result<(), std::io::Error>,
) -> Result<()> {
    let fail = |cause| IoError::new(what, cause, "name a process that runs, with CAP_SYS_NICE and CPUs of its cpuset");
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(fail)?;
    let numbers = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for thread in numbers.filter_map(rustix::thread::Pid::from_raw) {
        match act(thread) {
            // A thread that has ended meanwhile needs no place.
            Err(cause) if cause.raw_os_error() == Some(libc::ESRCH) => {}
            outcome => outcome.map_err(fail)?,
        }
    }
    Ok(())
}

/// CPUs the calling thread may run on: what the cpuset and earlier pinning left.
pub fn allowed_cpus() -> Vec<u32> {
    match sched_getaffinity(None) {
        // At most 1024 CPUs, so the cast cuts nothing.
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect(),
        Err(_) => vec![0],
    }
}

/// Makes the calling thread `SCHED_FIFO` at `priority` (1 to 99), or an ordinary one again with 0. Threads it starts are
/// ordinary. To be called **before** the thread is pinned beside a spinning FIFO thread, else it waits up to a second
/// for its first turn.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE.
pub fn fifo(priority: u8) -> Result<()> {
    let policy = if priority == 0 { libc::SCHED_OTHER } else { libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK };
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the call reads `parameters`; thread 0 is the calling one.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0 {
        return Ok(());
    }
    let what = format!("setting real-time priority {priority}");
    Err(IoError::new(what, std::io::Error::last_os_error(), "grant CAP_SYS_NICE, or leave the priority out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_where_it_may_be() {
        std::thread::spawn(|| {
            let last = *allowed_cpus().last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed_cpus(), [last]);
            pin_to_any(&[last]).unwrap();
            let error = pin(1000).unwrap_err().to_string();
            assert!(error.contains("1000") && error.contains("allowed CPUs"), "{error}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn fifo_is_had_or_refused_with_a_cure() {
        std::thread::spawn(|| match fifo(1) {
            Ok(()) => fifo(0).unwrap(),
            Err(error) => assert!(error.to_string().contains("CAP_SYS_NICE")),
        })
        .join()
        .unwrap();
    }
}
