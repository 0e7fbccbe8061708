//! What a worker gives up before it looks at its first frame.
//!
//! The order, which the worker keeps: map everything, [`seal`] every read-only mapping, close the sockets and files the
//! mappings came from, [`drop_to`] its user, [`landlock_nothing`], [`die_with_parent`], start its threads, and last
//! [`seccomp_worker`]. Sealing plus "no socket descriptor left" already closes every way to a kernel ring that was tried
//! (tests/attacks.rs); the filter is a second wall, and the only one before Linux 6.10.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, getppid, getuid, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;

/// Descriptors a worker may have open: its rings' eventfds and epoll sets, with room to spare.
const DESCRIPTORS: u64 = 256;
/// `clone` flags of a thread, as glibc and musl set them; a child process lacks `CLONE_THREAD`.
const THREAD_FLAGS: u64 = libc::CLONE_THREAD as u64 | libc::CLONE_VM as u64;

/// Whether a mapping could be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Nobody in this process can unmap, move, remap or make it writable any more.
    Sealed,
    /// `mseal` needs Linux 6.10; the system call filter alone stands.
    KernelTooOld,
}

/// Seals a mapping for the rest of the process's life (`mseal`).
///
/// # Errors
/// What mseal says; nothing in normal use.
pub fn seal(mapping: &Mapping) -> Result<Sealing> {
    let (address, length) = mapping.raw();
    // SAFETY: sealing changes what later calls may do to the range, not the range; it is mapped, since `mapping` lives.
    let result = unsafe { libc::syscall(libc::SYS_mseal, address, length.next_multiple_of(4096), 0_u64) };
    if result == 0 {
        return Ok(Sealing::Sealed);
    }
    match Errno::from_io_error(&io::Error::last_os_error()) {
        Some(Errno::NOSYS) => Ok(Sealing::KernelTooOld),
        cause => Err(IoError::new(
            format!("sealing {mapping:?}"),
            cause.unwrap_or(Errno::INVAL),
            "map it in one piece and keep it mapped until it is sealed",
        )),
    }
}

/// What [`enter_worker`] achieved beyond the filter, which always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walls {
    /// Whether every mapping was sealed.
    pub sealing: Sealing,
    /// How far files and sockets are denied by Landlock as well.
    pub confinement: Confinement,
}

/// The whole preamble of a worker without threads: seals `mappings`, becomes `user` (and the group of the same number),
/// gives up files and all system calls but the few it needs, and ends with the process `parent` if there is one. The caller
/// has closed the descriptors the mappings came from.
///
/// # Errors
/// As the single steps. A worker that gets an error must end: its walls are not closed.
pub fn enter_worker<M: Borrow<Mapping>>(mappings: &[M], user: u32, parent: Option<u32>) -> Result<Walls> {
    let mut sealing = Sealing::Sealed;
    for mapping in mappings {
        if seal(mapping.borrow())? == Sealing::KernelTooOld {
            sealing = Sealing::KernelTooOld;
        }
    }
    drop_to(user, user)?;
    let confinement = landlock_nothing()?;
    // Behind the change of user, which would cancel it, and before the filter, which does not allow it.
    parent.map_or(Ok(()), die_with_parent)?;
    seccomp_worker(Threads::Started)?;
    Ok(Walls { sealing, confinement })
}

/// Becomes `uid` and `gid` without supplementary groups, capabilities, core dumps or a way back, and lets no other
/// process of the same user look inside (not dumpable). With `uid` already the process's own, everything else is still
/// given up. To be called while the process has one thread.
///
/// # Errors
/// When more than one thread runs, or this user may not become `uid`.
pub fn drop_to(uid: u32, gid: u32) -> Result<()> {
    let what = || format!("dropping to user {uid} and group {gid}");
    let fail = |cause: Errno| IoError::new(what(), cause, "start as root, or as that user already");
    if thread_count() > 1 {
        return Err(IoError::invalid(
            what(),
            "other threads run and would keep their rights",
            "drop before they start",
        ));
    }
    if getuid().is_root() {
        for bit in 0..64 {
            // Beyond the last capability the kernel knows it says EINVAL: then all are gone.
            if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) == Err(Errno::INVAL) {
                break;
            }
        }
        set_thread_groups(&[]).map_err(fail)?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_res_gid(group, group, group).map_err(fail)?;
        set_thread_res_uid(user, user, user).map_err(fail)?;
    } else if getuid().as_raw() != uid {
        return Err(fail(Errno::PERM));
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    clear_ambient_capability_set().map_err(fail)?;
    set_capabilities(None, sets).map_err(fail)?;
    set_no_new_privs(true).map_err(fail)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail)?;
    limit(Resource::Core, 0).map_err(fail)?;
    limit(Resource::Nofile, DESCRIPTORS).map_err(fail)
}

/// Ends this process when the thread that started it ends. To be called after [`drop_to`], since a change of user
/// cancels it.
///
/// # Errors
/// When the parent is gone already: `parent` is its process number as the parent passed it on.
pub fn die_with_parent(parent: u32) -> Result<()> {
    let fail = |cause| IoError::new("asking to end with the parent", cause, "start the worker from a running parent");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(fail)?;
    match getppid() {
        Some(now) if now.as_raw_nonzero().get() as u32 == parent => Ok(()),
        _ => Err(fail(Errno::SRCH)),
    }
}

/// How far the kernel went along with [`landlock_nothing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Every right this program knows of is denied.
    Full,
    /// The kernel's Landlock is older; what it knows is denied.
    Partial,
    /// The kernel has no Landlock, or it is switched off (`lsm=` on the kernel's command line).
    Unavailable,
}

/// Denies the calling thread and what it starts every file, TCP port, abstract socket and signal to the outside.
///
/// # Errors
/// When the kernel has Landlock but refuses the rule set.
pub fn landlock_nothing() -> Result<Confinement> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
    let restrict = || -> std::result::Result<RulesetStatus, landlock::RulesetError> {
        let abi = ABI::V6;
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?;
        Ok(rules.restrict_self()?.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::FullyEnforced) => Ok(Confinement::Full),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Confinement::Partial),
        Ok(RulesetStatus::NotEnforced) => Ok(Confinement::Unavailable),
        Err(cause) => Err(IoError::invalid("restricting files by Landlock", cause.to_string(), "see `weir doctor`")),
    }
}

/// Whether the worker starts threads after the filter is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// All threads run already: making memory writable is refused altogether.
    Started,
    /// Threads may still start. Their stacks need mprotect, so it stays possible for whatever is not sealed: right only
    /// where every ring was [`Sealing::Sealed`].
    MayStart,
}

/// Allows all threads of this process the few calls a worker needs and refuses the rest with `EPERM`: memory without
/// files behind it, waiting, reading and writing what is open, threads, clocks, signals to itself.
///
/// # Errors
/// When the kernel has no seccomp filters, or another thread has a filter of its own.
pub fn seccomp_worker(threads: Threads) -> Result<()> {
    let fail = |cause: String| {
        IoError::invalid("installing the system call filter", cause, "run on a kernel with CONFIG_SECCOMP_FILTER")
    };
    // Two filters, because one has a single answer for what it does not allow: `clone3` hides its flags in memory that
    // a filter cannot read, so it is "not there" (ENOSYS) and the C library falls back to `clone`. The stricter answer
    // of the two counts; between two refusals, that of the filter installed last that gives it.
    let absent = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    let answer = SeccompAction::Errno(libc::ENOSYS as u32);
    let hide = compile(absent, SeccompAction::Allow, answer).map_err(&fail)?;
    let list = allowed(threads).map_err(|cause| fail(cause.to_string()))?;
    let allow = compile(list, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow).map_err(&fail)?;
    for filter in [hide, allow] {
        apply_filter_all_threads(&filter).map_err(|cause| fail(cause.to_string()))?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> std::result::Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|cause: seccompiler::BackendError| cause.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, arch).map_err(|cause| cause.to_string())?;
    filter.try_into().map_err(|cause: seccompiler::BackendError| cause.to_string())
}

/// The allow-list, each call with who needs it. The compiled filter also checks the architecture and, matching whole
/// numbers, refuses the x32 variants.
fn allowed(threads: Threads) -> std::result::Result<Rules, seccompiler::BackendError> {
    // The low word of argument `index`, masked, equals `value`.
    let low = |index, mask: u64, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let rule = SeccompRule::new;
    let (write, exec) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let forbidden = if threads == Threads::Started { write | exec } else { exec };
    let own = u64::from(std::process::id());
    let mut rules = Rules::new();
    for call in UNCONDITIONAL {
        rules.insert(*call, vec![]);
    }
    rules.extend([
        // The allocator: memory with no file behind it (descriptor -1) and no code in it.
        (libc::SYS_mmap, vec![rule(vec![low(4, 0xffff_ffff, 0xffff_ffff)?, low(2, exec, 0)?])?]),
        (libc::SYS_mprotect, vec![rule(vec![low(2, forbidden, 0)?])?]),
        // Threads, but no child process: it would keep a ring mapped after its parent was killed.
        (libc::SYS_clone, vec![rule(vec![low(0, THREAD_FLAGS, THREAD_FLAGS)?])?]),
        // abort(): a signal to a thread of this very process.
        (libc::SYS_tgkill, vec![rule(vec![low(0, 0xffff_ffff, own)?])?]),
        // The name of a new thread, and nothing else of prctl.
        (libc::SYS_prctl, vec![rule(vec![low(0, 0xffff_ffff, libc::PR_SET_NAME as u64)?])?]),
    ]);
    Ok(rules)
}

/// Calls allowed whatever their arguments are.
const UNCONDITIONAL: &[i64] = &[
    // Hidden by the first filter, so that it answers ENOSYS instead of EPERM.
    libc::SYS_clone3,
    // Waiting for frames and waking the owner.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    // Eventfds, the control socket and standard error, all opened by the parent.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    // The allocator giving memory back; what is sealed refuses by itself.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // Threads: locks, joining, starting and ending.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Clocks and sleeping; clock_gettime only where the vDSO cannot answer (thread CPU time).
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    // Signal handlers of the runtime and the return from them.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    // Seeds of hash maps.
    libc::SYS_getrandom,
];

/// Lowers a limit for good; a limit that is lower already stays.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let present = rustix::process::getrlimit(resource);
    let lower = |value: Option<u64>| Some(value.map_or(most, |value| value.min(most)));
    setrlimit(resource, Rlimit { current: lower(present.current), maximum: lower(present.maximum) })
}

/// Threads of this process; 1 when /proc is not there.
fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
