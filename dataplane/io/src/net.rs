//! Network interfaces and namespaces.
//!
//! Everything is asked through sockets, because they answer for the calling thread's namespace; `/sys/class/net` answers
//! for the namespace in which it was mounted.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{IoError, Result};
use crate::nic::ethtool;

/// An interface of the calling thread's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Set up by the administrator.
    pub up: bool,
    /// Has a carrier.
    pub running: bool,
    /// Receive queues in use, at least 1.
    pub rx_queues: u32,
    /// Driver, empty where the kernel does not say.
    pub driver: String,
}

/// What is known about interface `name`.
///
/// # Errors
/// `ENODEV` when this namespace has no such interface.
pub fn link(name: &str) -> Result<Link> {
    let fail = |cause| IoError::new(format!("asking about interface `{name}`"), cause, "name one that `ip link` lists");
    let socket = control_socket().map_err(fail)?;
    let index = netdevice::name_to_index(&socket, name).map_err(fail)?;
    let flags = request(&socket, name, libc::SIOCGIFFLAGS, Field::Flags).map_err(fail)?;
    let flags = u16::from_ne_bytes([flags[0], flags[1]]);
    let mtu = request(&socket, name, libc::SIOCGIFMTU, Field::Mtu).map_err(fail)?;
    // A sockaddr: two bytes of family, then the address.
    let address = request(&socket, name, libc::SIOCGIFHWADDR, Field::Address).map_err(fail)?;
    let mac = [address[2], address[3], address[4], address[5], address[6], address[7]];
    Ok(Link {
        name: name.to_owned(),
        index,
        mtu: u32::from_ne_bytes([mtu[0], mtu[1], mtu[2], mtu[3]]),
        mac,
        up: i32::from(flags) & libc::IFF_UP != 0,
        running: i32::from(flags) & libc::IFF_RUNNING != 0,
        // Drivers without channels have one queue.
        rx_queues: ethtool::channels(name).map_or(1, |channels| channels.receive_queues().max(1)),
        driver: ethtool::driver(name).unwrap_or_default(),
    })
}

/// The index of interface `name`.
///
/// # Errors
/// `ENODEV` when this namespace has no such interface.
pub fn interface_index(name: &str) -> Result<u32> {
    control_socket()
        .and_then(|socket| netdevice::name_to_index(socket, name))
        .map_err(|cause| IoError::new(format!("interface `{name}`"), cause, "name one that `ip link` lists"))
}

/// The name of interface number `index`.
///
/// # Errors
/// `ENXIO` or `ENODEV` when this namespace has no such interface.
pub fn interface_name(index: u32) -> Result<String> {
    control_socket()
        .and_then(|socket| netdevice::index_to_name(socket, index))
        .map_err(|cause| IoError::new(format!("interface number {index}"), cause, "see `ip link`"))
}

pub(crate) fn control_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Which member of `ifreq`'s union a request fills; all start at the same byte, so they differ by name only.
#[derive(Clone, Copy)]
enum Field {
    Flags,
    Mtu,
    Address,
}

/// An `ifreq` with the interface's name in it.
pub(crate) fn ifreq(name: &str) -> rustix::io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain integers, arrays and a union of them with one pointer; zero is valid for all.
    let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays for the terminating zero.
    if name.is_empty() || name.len() >= wanted.ifr_name.len() {
        return Err(Errno::NODEV);
    }
    for (to, from) in wanted.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char; // bytes of a name, whatever the sign of char is
    }
    Ok(wanted)
}

/// One `SIOCGIF…` question; gives the first 8 bytes of the answer.
fn request(socket: &OwnedFd, name: &str, question: libc::c_ulong, field: Field) -> rustix::io::Result<[u8; 8]> {
    let mut wanted = ifreq(name)?;
    // SAFETY: these questions read the name and write at most a sockaddr into the union of `wanted`.
    if unsafe { libc::ioctl(socket.as_raw_fd(), question as _, std::ptr::from_mut(&mut wanted)) } != 0 {
        return Err(last_error());
    }
    let mut bytes = [0; 8];
    match field {
        // SAFETY: the kernel wrote this member; any integer is valid.
        Field::Flags => bytes[..2].copy_from_slice(&unsafe { wanted.ifr_ifru.ifru_flags }.to_ne_bytes()),
        // SAFETY: as above.
        Field::Mtu => bytes[..4].copy_from_slice(&unsafe { wanted.ifr_ifru.ifru_mtu }.to_ne_bytes()),
        Field::Address => {
            // SAFETY: the kernel wrote this member; any bytes are valid.
            let address = unsafe { wanted.ifr_ifru.ifru_hwaddr };
            for (to, from) in bytes.iter_mut().skip(2).zip(address.sa_data) {
                *to = from as u8; // bytes of an address, whatever the sign of char is
            }
        }
    }
    Ok(bytes)
}

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// The calling thread's own.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The one that `ip netns add NAME` made.
    ///
    /// # Errors
    /// `ENOENT` when there is none of this name.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(&Path::new("/run/netns").join(name))
    }

    /// The one behind `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|cause| {
            IoError::new(format!("opening network namespace {}", path.display()), cause, "see `ip netns list`")
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Moves the calling thread (no other) into it.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|cause| {
            IoError::new(format!("entering network namespace {}", self.path.display()), cause, "run as root")
        })
    }
}

pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Sets an option of four bytes, where no safe call knows it.
///
/// # Errors
/// What setsockopt says.
pub(crate) fn set_option(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: u32,
) -> std::io::Result<()> {
    let (fd, size) = (socket.as_fd().as_raw_fd(), size_of::<u32>() as libc::socklen_t);
    // SAFETY: the kernel reads four bytes of `value`, which this function owns for the whole call; it writes nothing. A
    // wrong level or option is refused by the kernel, at worst another property of this one socket is set.
    match unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(&value).cast(), size) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described() {
        let lo = link("lo").unwrap();
        assert_eq!(lo.index, interface_index("lo").unwrap());
        assert_eq!(interface_name(lo.index).unwrap(), "lo");
        assert_eq!((lo.mac, lo.rx_queues), ([0; 6], 1));
        assert!(lo.mtu >= 1500);
    }

    #[test]
    fn a_missing_interface_is_named_with_a_cure() {
        let error = link("weir-none").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NODEV));
        assert!(error.to_string().contains("`weir-none`") && error.to_string().contains("ip link"), "{error}");
        assert!(link("a-name-that-is-too-long-for-linux").is_err());
    }

    #[test]
    fn the_own_namespace_can_be_entered_by_root() {
        let own = Namespace::current().unwrap();
        match own.enter() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.errno(), Some(Errno::PERM)),
        }
    }
}
