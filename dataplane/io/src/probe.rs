//! What this kernel and this process can do, each ability with the cure where it cannot. The doctor prints these.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::memory;
use crate::sockets::{self, Pieces};

/// How an ability stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There.
    Ok,
    /// The product works without it, less well.
    Degraded,
    /// The product does not work without it.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        })
    }
}

/// One ability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Short name.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when it is there.
    pub cure: String,
}

impl Probe {
    fn new(name: &'static str, state: State, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        let cure = if state == State::Ok { String::new() } else { cure.into() };
        Self { name, state, detail: detail.into(), cure }
    }
}

/// Tries everything, in the order in which start-up needs it. Changes nothing.
pub fn all() -> Vec<Probe> {
    let mut probes = vec![kernel(), af_xdp(), btf()];
    probes.extend(capability_probes());
    probes.extend([memlock(), hugepages(), mseal(), landlock(), seccomp(), io_uring(), streams(), bpf_file_system()]);
    probes
}

/// The kernel's version: `mseal` came with 6.10, AF_XDP multi-buffer with 6.6, `F_SEAL_FUTURE_WRITE` with 5.1.
pub fn kernel() -> Probe {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let state = match version {
        version if version >= (6, 10) => State::Ok,
        version if version >= (5, 18) => State::Degraded, // XDP multi-buffer programs and live frames need 5.18
        _ => State::Missing,
    };
    Probe::new("kernel", state, format!("Linux {release}"), "boot Linux 6.10 or newer")
}

/// AF_XDP sockets.
pub fn af_xdp() -> Probe {
    let name = "AF_XDP";
    match socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        Ok(_) => Probe::new(name, State::Ok, "sockets can be made", ""),
        Err(Errno::PERM | Errno::ACCESS) => Probe::new(
            name,
            State::Missing,
            "the kernel has them, this process may not",
            "run as root or grant CAP_NET_RAW",
        ),
        Err(cause) => Probe::new(name, State::Missing, describe(cause), "boot a kernel with CONFIG_XDP_SOCKETS=y"),
    }
}

/// Type information of the kernel, which the classifier is loaded with.
pub fn btf() -> Probe {
    let there = Path::new("/sys/kernel/btf/vmlinux").exists();
    let (state, detail) =
        if there { (State::Ok, "vmlinux types are there") } else { (State::Missing, "no vmlinux types") };
    Probe::new("BTF", state, detail, "boot a kernel with CONFIG_DEBUG_INFO_BTF=y")
}

/// The capabilities the data plane needs.
pub fn capability_probes() -> Vec<Probe> {
    let have = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    // BPF, 39, is newer than the binding's list.
    let wanted = [
        ("CAP_BPF", CapabilitySet::from_bits_retain(1 << 39), State::Missing, "the classifier cannot be loaded"),
        // PERFMON, 38, as well: the classifier subtracts packet pointers.
        ("CAP_PERFMON", CapabilitySet::from_bits_retain(1 << 38), State::Missing, "the classifier is refused"),
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, State::Missing, "the classifier cannot be attached"),
        ("CAP_NET_RAW", CapabilitySet::NET_RAW, State::Missing, "AF_XDP sockets cannot be made"),
        ("CAP_IPC_LOCK", CapabilitySet::IPC_LOCK, State::Degraded, "frame memory is limited by `ulimit -l`"),
    ];
    let probe = |(name, bit, otherwise, without): (&'static str, CapabilitySet, State, &str)| {
        if have.contains(bit) {
            Probe::new(name, State::Ok, "held", "")
        } else {
            Probe::new(name, otherwise, format!("not held: {without}"), format!("run as root or grant {name}"))
        }
    };
    wanted.into_iter().map(probe).collect()
}

/// Memory that may be locked, which frame memory counts against.
pub fn memlock() -> Probe {
    let limit = getrlimit(Resource::Memlock).current;
    let lifted = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let (state, detail) = match (limit, lifted) {
        (_, true) => (State::Ok, "no limit (CAP_IPC_LOCK)".to_owned()),
        (None, _) => (State::Ok, "no limit".to_owned()),
        (Some(bytes), _) => (State::Degraded, format!("limit {} KiB", bytes / 1024)),
    };
    Probe::new("memlock", state, detail, "grant CAP_IPC_LOCK or set `ulimit -l unlimited`")
}

/// 2 MiB hugepages.
pub fn hugepages() -> Probe {
    let nodes = memory::hugepages(Path::new("/sys"));
    let (total, free) = nodes.iter().fold((0, 0), |sum, node| (sum.0 + node.total, sum.1 + node.free));
    let state = if free > 0 { State::Ok } else { State::Degraded };
    let detail = format!("{free} of {total} pages of 2 MiB are free on {} NUMA nodes", nodes.len());
    Probe::new("hugepages", state, detail, "reserve some: sysctl vm.nr_hugepages=64, best at boot")
}

/// Sealing of mappings.
pub fn mseal() -> Probe {
    // SAFETY: sealing zero bytes at address 0 is answered with success and changes nothing.
    let there = unsafe { libc::syscall(libc::SYS_mseal, 0_usize, 0_usize, 0_u64) } == 0;
    let (state, detail) = match there {
        true => (State::Ok, "mappings can be sealed".to_owned()),
        false => (State::Degraded, format!("{}: the system call filter is the only wall", io::Error::last_os_error())),
    };
    Probe::new("mseal", state, detail, "boot Linux 6.10 or newer")
}

/// Landlock, by the number of its interface: 4 brought TCP, 6 signals and abstract sockets.
pub fn landlock() -> Probe {
    /// `LANDLOCK_CREATE_RULESET_VERSION` (include/uapi/linux/landlock.h).
    const ASK_VERSION: u32 = 1;
    // SAFETY: with this flag and no attribute the call answers with a number and creates nothing.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, ASK_VERSION) };
    let state = if abi >= 6 { State::Ok } else { State::Degraded };
    let detail = if abi > 0 { format!("interface {abi}") } else { io::Error::last_os_error().to_string() };
    Probe::new("Landlock", state, detail, "boot Linux 6.12 or newer with `landlock` in lsm=")
}

/// System call filters.
pub fn seccomp() -> Probe {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads the four bytes of `action` and answers whether the kernel knows it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, std::ptr::from_ref(&action)) };
    let (state, detail) = match result {
        0 => (State::Ok, "filters can be installed".to_owned()),
        _ => (State::Missing, io::Error::last_os_error().to_string()),
    };
    Probe::new("seccomp", state, detail, "boot a kernel with CONFIG_SECCOMP_FILTER=y")
}

/// io_uring, for sources and sinks that are not AF_XDP.
pub fn io_uring() -> Probe {
    // SAFETY: with a null parameter block the kernel creates nothing: EFAULT says that it would have looked.
    unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, std::ptr::null::<u8>()) };
    let cause = io::Error::last_os_error();
    let (state, detail) = match Errno::from_io_error(&cause) {
        Some(Errno::FAULT | Errno::INVAL) => (State::Ok, "rings can be made".to_owned()),
        _ => (State::Degraded, cause.to_string()),
    };
    Probe::new("io_uring", state, detail, "set sysctl kernel.io_uring_disabled=0")
}

/// io_uring for streams: multishot receive into buffers that are filled piece by piece.
pub fn streams() -> Probe {
    let (state, detail) = match sockets::stream_ability() {
        Ok(pieces @ Pieces::Shared) => (State::Ok, pieces.to_string()),
        Ok(pieces @ Pieces::Whole) => (State::Degraded, pieces.to_string()),
        Err(why) => (State::Degraded, format!("streams are served by epoll, because {why}")),
    };
    Probe::new("stream sockets", state, detail, "boot Linux 6.12 or newer and set sysctl kernel.io_uring_disabled=0")
}

/// The file system in which the classifier is pinned, so that forwarding survives the processes.
pub fn bpf_file_system() -> Probe {
    let path = "/sys/fs/bpf";
    let (state, detail) = if crate::bpffs::is_mounted(std::path::Path::new(path)) {
        (State::Ok, format!("{path} is mounted"))
    } else {
        (State::Degraded, format!("{path} is not a BPF file system; `weir up` mounts it"))
    };
    Probe::new("bpffs", state, detail, "mount -t bpf bpf /sys/fs/bpf")
}

fn describe(cause: Errno) -> String {
    io::Error::from(cause).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_has_a_detail_and_what_is_not_ok_a_cure() {
        let probes = all();
        assert!(probes.len() >= 14);
        for probe in probes {
            assert!(!probe.detail.is_empty(), "{probe:?}");
            assert_eq!(probe.cure.is_empty(), probe.state == State::Ok, "{probe:?}");
        }
    }
}
