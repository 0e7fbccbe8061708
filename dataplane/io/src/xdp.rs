//! AF_XDP: sockets on one UMEM, their rings, and what they report.
//!
//! Per queue there is one **primary** socket, which registers the UMEM and has the fill and completion rings, one
//! **class** socket per further class, which has nothing but an RX ring and shares the rest (`XDP_SHARED_UMEM`), and where
//! frames are sent one **transmit** socket with nothing but a TX ring. Another queue or interface may share the UMEM with
//! fill and completion rings of its own.
//!
//! Each ring's mapping pins its socket: a queue is free again only when every ring of it is unmapped, in every process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
    set_xdp_umem_reg, xdp_mmap_offsets, xdp_options, xdp_statistics,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpMmapOffsets, XdpOptionsFlags, XdpRingOffset,
    XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use weir_dataplane_ring::{CompletionRing, FillRing, LaneRing, Memory, RingOffsets, RxOwner, RxReader, TxRing};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;
use crate::net::set_option;
use crate::umem::Umem;

/// How long a bind is retried while the queue is busy. A closed socket gives its queue back some time later: 4 to 20 ms
/// were measured on an idle machine, 480 ms on a loaded one.
const BUSY_DEADLINE: Duration = Duration::from_millis(1500);
/// Frames that one kick sends at most in copy mode, and the option that says so (include/uapi/linux/if_xdp.h, Linux 6.18).
/// The kernel's own choice is 32, one system call for each.
const SENT_AT_ONCE: u32 = 256;
const SOL_XDP: libc::c_int = 283;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Pause between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// Ring sizes in entries, powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Fill ring: at least the number of frames in circulation; twice that is comfortable.
    pub fill: u32,
    /// Completion ring: at least `tx`.
    pub completion: u32,
    /// RX ring; 0 for a socket that only sends.
    pub rx: u32,
    /// TX ring; 0 for a socket that only receives.
    pub tx: u32,
}

/// What to ask the driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindWish {
    /// Zero-copy, and copy where the driver cannot.
    ZeroCopyElseCopy,
    /// Copy.
    Copy,
}

/// What the driver gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// The card writes frames straight into the UMEM.
    ZeroCopy,
    /// The kernel copies each frame into the UMEM.
    Copy,
}

/// One hardware queue of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Interface index.
    pub interface: u32,
    /// Queue number, from 0.
    pub queue: u32,
}

/// What a socket has dropped, and why (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpStatistics {
    /// Frames dropped for other reasons than a full ring.
    pub rx_dropped: u64,
    /// Descriptors in the fill ring that named no frame.
    pub rx_invalid: u64,
    /// Descriptors in the TX ring that named no frame.
    pub tx_invalid: u64,
    /// Frames dropped because the RX ring was full: the class is slow.
    pub rx_ring_full: u64,
    /// Times the fill ring had no frame: the pool is slow, or too few frames circulate.
    pub fill_ring_empty: u64,
    /// Times the TX ring had nothing to send.
    pub tx_ring_empty: u64,
}

/// An AF_XDP socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    fn new() -> Result<Self> {
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(|cause| {
            IoError::new("creating an AF_XDP socket", cause, "needs CAP_NET_RAW and a kernel with CONFIG_XDP_SOCKETS")
        })?;
        Ok(Self { fd })
    }

    /// What the socket has dropped so far.
    ///
    /// # Errors
    /// What getsockopt says; nothing in normal use.
    pub fn statistics(&self) -> Result<XdpStatistics> {
        let raw = xdp_statistics(&self.fd)
            .map_err(|cause| IoError::new("reading AF_XDP statistics", cause, "run on Linux 5.9 or newer"))?;
        Ok(XdpStatistics {
            rx_dropped: raw.rx_dropped,
            rx_invalid: raw.rx_invalid_descs,
            tx_invalid: raw.tx_invalid_descs,
            rx_ring_full: raw.rx_ring_full.unwrap_or(0),
            fill_ring_empty: raw.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty: raw.tx_ring_empty_descs.unwrap_or(0),
        })
    }

    /// Makes the kernel look at the TX ring. In copy mode it sends a limited number of frames per call, 32 or
    /// [`SENT_AT_ONCE`], so call until the ring is empty.
    /// False when the kernel was busy and wants another try.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, and what else sendto says.
    pub fn kick(&self) -> Result<bool> {
        match send(&self.fd, &[], SendFlags::DONTWAIT) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Ok(false),
            Err(cause) => Err(IoError::new("sending from the TX ring", cause, "see that the interface is up")),
        }
    }

    /// Makes a zero-copy driver that ran dry look at the fill ring ([`FillRing::needs_wakeup`]).
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, and what else recvfrom says.
    pub fn kick_receive(&self) -> Result<()> {
        match recv(&self.fd, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Ok(()),
            Err(cause) => Err(IoError::new("waking the fill ring", cause, "see that the interface is up")),
        }
    }

    /// What the driver gave: `XDP_OPTIONS` of the bound socket, which is the kernel's own word.
    ///
    /// # Errors
    /// What getsockopt says; nothing in normal use.
    pub fn mode(&self) -> Result<BindMode> {
        let flags = xdp_options(&self.fd)
            .map_err(|cause| IoError::new("reading AF_XDP options", cause, "run on Linux 5.3 or newer"))?;
        let zero_copy = flags.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        Ok(if zero_copy { BindMode::ZeroCopy } else { BindMode::Copy })
    }

    fn offsets(&self) -> Result<XdpMmapOffsets> {
        xdp_mmap_offsets(&self.fd)
            .map_err(|cause| IoError::new("asking for ring offsets", cause, "run on Linux 5.4 or newer"))
    }

    fn set_up(&self, umem: Option<&Umem>, sizes: &Sizes) -> Result<()> {
        let sized = |what: &str, size: u32, result: rustix::io::Result<()>| {
            result.map_err(|cause| {
                let what = format!("AF_XDP {what} ring of {size} entries");
                IoError::new(what, cause, "give a power of two, and enough memory")
            })
        };
        if let Some(umem) = umem {
            register(self, umem)?;
        }
        if sizes.fill > 0 {
            sized("fill", sizes.fill, set_xdp_umem_fill_ring_size(&self.fd, sizes.fill))?;
            sized("completion", sizes.completion, set_xdp_umem_completion_ring_size(&self.fd, sizes.completion))?;
        }
        if sizes.rx > 0 {
            sized("RX", sizes.rx, set_xdp_rx_ring_size(&self.fd, sizes.rx))?;
        }
        if sizes.tx > 0 {
            sized("TX", sizes.tx, set_xdp_tx_ring_size(&self.fd, sizes.tx))?;
        }
        Ok(())
    }

    /// Binds, waiting for a queue that is just being given back.
    fn bind(&self, place: Queue, flags: SocketAddrXdpFlags, shared: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
        let started = Instant::now();
        loop {
            let address = SocketAddrXdp::new(flags, place.interface, place.queue);
            let result = match shared {
                Some(first) => {
                    rustix::net::bind(&self.fd, &SocketAddrXdpWithSharedUmem { addr: address, shared_umem_fd: first })
                }
                None => rustix::net::bind(&self.fd, &address),
            };
            match result {
                Err(Errno::BUSY) if started.elapsed() < BUSY_DEADLINE => std::thread::sleep(BUSY_PAUSE),
                result => return result,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A queue's first socket with all its rings. The rings come before the socket, so that they are unmapped before it is
/// closed and the queue is free as soon as possible.
pub struct Primary {
    /// Frames lent to the kernel.
    pub fill: FillRing,
    /// Frames the kernel has sent.
    pub completion: CompletionRing,
    /// Frames received, unless the RX size was 0.
    pub rx: Option<RxOwner>,
    /// Frames to send, unless the TX size was 0.
    pub tx: Option<TxRing>,
    /// What the driver gave.
    pub mode: BindMode,
    /// Why, as a sentence.
    pub why: String,
    /// Where it is bound.
    pub place: Queue,
    /// The socket.
    pub socket: Socket,
}

/// A further class's socket on a queue: an RX ring and nothing else.
pub struct ClassSocket {
    /// Frames received.
    pub rx: RxOwner,
    /// The socket.
    pub socket: Socket,
}

/// A queue's socket to send with: a TX ring and nothing else.
pub struct TransmitSocket {
    /// Frames to send.
    pub tx: TxRing,
    /// The socket.
    pub socket: Socket,
}

/// Registers the UMEM and binds the first socket of a queue. `frags`: accept frames of several descriptors, for which
/// the attached program must be an `xdp.frags` one.
///
/// # Errors
/// A busy queue (with who may hold it), missing rights, a queue that does not exist, an interface that is down.
pub fn primary(umem: &Umem, sizes: &Sizes, place: Queue, wish: BindWish, frags: bool) -> Result<Primary> {
    let base = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP
        | if frags { SocketAddrXdpFlags::XDP_USE_SG } else { SocketAddrXdpFlags::empty() };
    let mut why = "asked for copy mode".to_owned();
    if wish == BindWish::ZeroCopyElseCopy {
        // A socket whose bind failed is not used again: each try gets a fresh one.
        let socket = Socket::new()?;
        socket.set_up(Some(umem), sizes)?;
        match socket.bind(place, base | SocketAddrXdpFlags::XDP_ZEROCOPY, None) {
            Ok(()) => return finish(socket, sizes, place, "the driver supports zero-copy".to_owned()),
            Err(cause @ (Errno::BUSY | Errno::PERM | Errno::NODEV | Errno::NETDOWN)) => {
                return Err(bind_error(place, cause));
            }
            Err(cause) => why = format!("the driver refuses zero-copy on this queue ({})", describe(cause)),
        }
    }
    let socket = Socket::new()?;
    socket.set_up(Some(umem), sizes)?;
    socket.bind(place, base | SocketAddrXdpFlags::XDP_COPY, None).map_err(|cause| bind_error(place, cause))?;
    finish(socket, sizes, place, why)
}

/// Binds the first socket of another queue or interface to the UMEM that `first` registered, with fill and completion
/// rings of its own. Mode and flags are those of `first`; where the second driver cannot do them the kernel refuses, and
/// [`primary`] on the same UMEM is the way.
///
/// # Errors
/// As [`primary`].
pub fn sharing(first: &Socket, sizes: &Sizes, place: Queue) -> Result<Primary> {
    let socket = Socket::new()?;
    socket.set_up(None, sizes)?;
    socket
        .bind(place, SocketAddrXdpFlags::XDP_SHARED_UMEM, Some(first.as_fd()))
        .map_err(|cause| bind_error(place, cause))?;
    finish(socket, sizes, place, "as the socket whose UMEM it shares".to_owned())
}

/// A socket that only sends, on another interface, from the same UMEM: shared where the kernel agrees, otherwise
/// registered once more.
///
/// # Errors
/// As [`primary`].
pub fn sender(umem: &Umem, first: &Socket, ring: u32, place: Queue, wish: BindWish) -> Result<Primary> {
    // A fill ring is compulsory even for a socket that receives nothing.
    let sizes = Sizes { fill: 64, completion: ring, rx: 0, tx: ring };
    match sharing(first, &sizes, place) {
        Err(error) if !matches!(error.errno(), Some(Errno::BUSY | Errno::PERM)) => {
            primary(umem, &sizes, place, wish, false)
        }
        result => result,
    }
}

/// Binds a further class's socket to the queue of `first`; `rx` is the size of its ring.
///
/// # Errors
/// As [`primary`].
pub fn class(first: &Primary, rx: u32) -> Result<ClassSocket> {
    let (socket, raw) = further(first, &Sizes { fill: 0, completion: 0, rx, tx: 0 })?;
    let offsets = ring_offsets(raw.rx)?;
    let rx = RxOwner::new(map_ring(&socket, offsets.length(rx), XDP_PGOFF_RX_RING)?, offsets, rx)?;
    Ok(ClassSocket { rx, socket })
}

/// Binds a socket that only sends to the queue of `first`; `tx` is the size of its ring. What it sends is completed on the
/// ring of `first`.
///
/// It is apart from those that receive because nobody waits for it: in copy mode the kernel tells whoever waits for a socket
/// of every single frame that it has sent, and that took 7 % of the time of sending (Linux 6.18, `sock_wfree`).
///
/// # Errors
/// As [`primary`].
pub fn transmit(first: &Primary, tx: u32) -> Result<TransmitSocket> {
    let (socket, raw) = further(first, &Sizes { fill: 0, completion: 0, rx: 0, tx })?;
    // An older kernel has no such option and needs more calls; nothing else is different.
    let _ = set_option(&socket, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, SENT_AT_ONCE);
    let offsets = ring_offsets(raw.tx)?;
    let tx = TxRing::new(map_ring(&socket, offsets.length(tx), XDP_PGOFF_TX_RING)?, offsets, tx)?;
    Ok(TransmitSocket { tx, socket })
}

/// A further socket on the queue of `first`, bound, and where its rings lie.
fn further(first: &Primary, sizes: &Sizes) -> Result<(Socket, XdpMmapOffsets)> {
    let socket = Socket::new()?;
    socket.set_up(None, sizes)?;
    socket
        .bind(first.place, SocketAddrXdpFlags::XDP_SHARED_UMEM, Some(first.socket.as_fd()))
        .map_err(|cause| bind_error(first.place, cause))?;
    let offsets = socket.offsets()?;
    Ok((socket, offsets))
}

/// A taker's read-only map of an RX ring.
pub struct ReaderMap {
    /// The ring.
    pub reader: RxReader,
    /// Its mapping, to be sealed.
    pub mapping: Arc<Mapping>,
}

/// Maps the RX ring of `size` descriptors of the socket that was passed as `socket`, for reading. The descriptor is to be
/// closed afterwards: whoever has it can map every ring of the queue.
///
/// # Errors
/// When the descriptor is no AF_XDP socket or its ring has another size.
pub fn map_rx_reader(socket: BorrowedFd<'_>, size: u32) -> Result<ReaderMap> {
    let raw = xdp_mmap_offsets(socket)
        .map_err(|cause| IoError::new("asking for ring offsets", cause, "pass the descriptor of an AF_XDP socket"))?;
    let offsets = ring_offsets(raw.rx)?;
    let mapping = Arc::new(Mapping::map_shared(socket, offsets.length(size), XDP_PGOFF_RX_RING, false)?);
    let reader = RxReader::new(Arc::clone(&mapping) as Arc<dyn Memory>, offsets, size)?;
    Ok(ReaderMap { reader, mapping })
}

/// Maps a lane of `size` descriptors, which its maker passed as `file`, read-only, as [`map_rx_reader`] does a socket's ring.
///
/// # Errors
/// When the file is shorter than a lane of this size, or could still be shortened.
pub fn map_lane_reader(file: BorrowedFd<'_>, size: u32) -> Result<ReaderMap> {
    let mapping = Arc::new(crate::shared::open(file, LaneRing::length(size), false)?);
    let reader = RxReader::new(Arc::clone(&mapping) as Arc<dyn Memory>, LaneRing::OFFSETS, size)?;
    Ok(ReaderMap { reader, mapping })
}

fn register(socket: &Socket, umem: &Umem) -> Result<()> {
    let registration = XdpUmemReg {
        addr: umem.mapping().base().as_ptr() as u64,
        len: umem.length() as u64,
        chunk_size: umem.frame_size(),
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    set_xdp_umem_reg(&socket.fd, registration).map_err(|cause| {
        let what = format!("registering {} frames of {} bytes", umem.frames(), umem.frame_size());
        let cure = if cause == Errno::NOBUFS {
            "grant CAP_IPC_LOCK or raise `ulimit -l` above the UMEM's size (hugepages count as well)"
        } else {
            "needs CAP_NET_RAW and frames of 2048 or 4096 bytes"
        };
        IoError::new(what, cause, cure)
    })
}

/// Maps the rings of a bound socket.
fn finish(socket: Socket, sizes: &Sizes, place: Queue, why: String) -> Result<Primary> {
    let raw = socket.offsets()?;
    let (fill, completion) = (ring_offsets(raw.fr)?, ring_offsets(raw.cr)?);
    let (rx, tx) = (ring_offsets(raw.rx)?, ring_offsets(raw.tx)?);
    let map = |length, offset| map_ring(&socket, length, offset);
    let fill = FillRing::new(map(fill.address_ring_length(sizes.fill), XDP_UMEM_PGOFF_FILL_RING)?, fill, sizes.fill)?;
    let length = completion.address_ring_length(sizes.completion);
    let completion = CompletionRing::new(map(length, XDP_UMEM_PGOFF_COMPLETION_RING)?, completion, sizes.completion)?;
    let rx = match sizes.rx {
        0 => None,
        size => Some(RxOwner::new(map(rx.length(size), XDP_PGOFF_RX_RING)?, rx, size)?),
    };
    let tx = match sizes.tx {
        0 => None,
        size => Some(TxRing::new(map(tx.length(size), XDP_PGOFF_TX_RING)?, tx, size)?),
    };
    let mode = socket.mode()?;
    Ok(Primary { fill, completion, rx, tx, mode, why, place, socket })
}

fn map_ring(socket: &Socket, length: usize, offset: u64) -> Result<Arc<dyn Memory>> {
    Ok(Arc::new(Mapping::map_shared(socket.as_fd(), length, offset, true)?))
}

fn ring_offsets(raw: XdpRingOffset) -> Result<RingOffsets> {
    let Some(flags) = raw.flags else {
        return Err(IoError::invalid("AF_XDP rings", "the kernel has no flags word", "run on Linux 5.4 or newer"));
    };
    // Offsets are a few hundred bytes, so the casts cut nothing.
    Ok(RingOffsets {
        producer: raw.producer as usize,
        consumer: raw.consumer as usize,
        flags: flags as usize,
        descriptors: raw.desc as usize,
    })
}

fn describe(cause: Errno) -> String {
    std::io::Error::from(cause).to_string()
}

/// A refused bind with who or what stands in the way.
fn bind_error(place: Queue, cause: Errno) -> IoError {
    let what = format!("binding AF_XDP to interface {} queue {}", interface_name(place.interface), place.queue);
    let cure = match cause {
        Errno::BUSY => {
            let holders = ring_holders();
            let who = if holders.is_empty() {
                "no process with a mapped socket ring is visible from here".to_owned()
            } else {
                format!("these have socket rings mapped: {}", holders.join(", "))
            };
            format!("another AF_XDP socket holds the queue ({who}); stop that process and try again")
        }
        Errno::PERM | Errno::ACCESS => "grant CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF".to_owned(),
        Errno::NODEV => "name an interface of this network namespace (`ip link`)".to_owned(),
        Errno::NETDOWN => "set the interface up (`ip link set NAME up`)".to_owned(),
        Errno::INVAL => "name a queue that exists (`ethtool -l NAME`); multi-buffer needs Linux 6.6".to_owned(),
        _ => "see `weir doctor`".to_owned(),
    };
    IoError::new(what, cause, cure)
}

fn interface_name(index: u32) -> String {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|any| rustix::net::netdevice::index_to_name(any, index))
        .unwrap_or_else(|_| format!("number {index}"))
}

/// Processes that map a socket's memory (AF_XDP or packet rings), as "PID (NAME)". The kernel does not say who holds a
/// queue, but whoever does has its rings mapped.
fn ring_holders() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut holders = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let Ok(maps) = std::fs::read_to_string(entry.path().join("maps")) else { continue };
        if maps.lines().any(|line| line.contains("socket:[")) {
            let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            holders.push(format!("{pid} ({})", command.trim_end()));
        }
    }
    holders
}
